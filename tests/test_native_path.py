"""The native engine against the reference: every cell, instruction set, number of threads, shape and length.

The reference is computed in float64; the engine in float32 has to come as near to it as float32 can.
"""

import multiprocessing
import os
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import conformance
import contract_cells
from elman import kernels, native_path
from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell, Stack
from elman.errors import ConfigError, KernelError
from elman.scan import choose, scan
from elman.tracing import leaves
from test_programs import CELLS, Rows

pytestmark = pytest.mark.skipif(not kernels.native_available(), reason="there is no native module here")

SETS = kernels.native_module().scan_kernels() if kernels.native_available() else []
EPS = torch.finfo(torch.float32).eps


def results(
    cell: Cell,
    inputs: Tensor,
    start: list[Tensor],
    lengths: Tensor | None,
    reverse: bool,
    way: str,
    units: bool | None = None,
) -> list[Tensor]:
    """Outputs, final state and every gradient of a fixed weighting, in the type of the inputs.

    way: "reference", or the name of an instruction set. units: whether threads divide the units.
    """
    inputs = inputs.clone().requires_grad_()
    start = [part.clone().requires_grad_() for part in start]
    kind = type(cell.initial_state(1))
    state = start[0] if kind is Tensor else kind(*start) if hasattr(kind, "_fields") else tuple(start)
    if way == "reference":
        outputs, final = scan(cell, inputs, state, lengths=lengths, reverse=reverse, kernels=way)
    else:
        traced = native_path.read(cell, inputs, state)
        outputs, final = native_path.run(
            traced, state, lengths, reverse=reverse, instructions=way, units=units
        )
    found = [outputs, *leaves(final)]
    generator = torch.Generator().manual_seed(7)
    weights = [torch.randn(part.shape, generator=generator, dtype=torch.float64) for part in found]
    wanted = [inputs, *start, *cell.parameters()]
    loss = [part.to(weight.dtype) * weight for part, weight in zip(found, weights, strict=True)]
    gradients = torch.autograd.grad([part.sum() for part in loss], wanted, allow_unused=True)
    zero = [torch.zeros_like(part) if g is None else g for part, g in zip(wanted, gradients, strict=True)]
    return [part.detach() for part in (*found, *zero)]


def compare(
    make: Any,
    time: int,
    batch: int,
    *,
    lengths: list[int] | None = None,
    reverse: bool = False,
    way: str = "",
    threads: int = 1,
    units: bool | None = None,
    tolerance: float = 40 * EPS,
) -> None:
    """`tolerance` is of the largest number of each result."""
    before = torch.get_num_threads()
    torch.manual_seed(1)
    cell, exact = make(), make().double()
    exact.load_state_dict({name: value.double() for name, value in cell.state_dict().items()})
    inputs = torch.randn(time, batch, cell.input_size)
    start = [torch.randn(batch, part.shape[1]) for part in leaves(cell.initial_state(batch))]
    sizes = None if lengths is None else torch.tensor(lengths)
    wanted = results(exact, inputs.double(), [part.double() for part in start], sizes, reverse, "reference")
    try:
        torch.set_num_threads(threads)
        got = results(cell, inputs, start, sizes, reverse, way, units)
    finally:
        torch.set_num_threads(before)
    for place, (one, other) in enumerate(zip(got, wanted, strict=True)):
        scale = max(1.0, float(other.abs().max())) if other.numel() else 1.0
        error = float((one.double() - other).abs().max()) if other.numel() else 0.0
        assert error <= tolerance * scale, f"result {place}: {error / scale / EPS:.1f} roundings"


@pytest.mark.parametrize("way", SETS)
@pytest.mark.parametrize("name", CELLS)
def test_it_equals_the_reference(name: str, way: str) -> None:
    compare(CELLS[name], 7, 5, way=way)
    compare(CELLS[name], 7, 5, way=way, lengths=[3, 7, 0, 1, 7], reverse=True)


@pytest.mark.parametrize("way", SETS)
@pytest.mark.parametrize(
    "make",
    [
        lambda: LSTMCell(20, 50, peepholes=True),
        lambda: LSTMCell(33, 70, projection=19),
        lambda: GRUCell(70, 33),
        lambda: GRUCell(1, 48, reset="before"),
        lambda: ElmanCell(16, 130),
    ],
)
def test_sizes_beyond_one_tile(make: Any, way: str) -> None:
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(0, 13, (60,), generator=generator).tolist()
    compare(make, 12, 60, way=way, threads=2)
    compare(make, 12, 60, way=way, threads=2, lengths=lengths)


@pytest.mark.parametrize("way", SETS)
@pytest.mark.parametrize("make", [lambda: contract_cells.NormLSTM(7, 37), lambda: Rows(7, 37)])
def test_rows_are_reduced_without_their_padding(make: Any, way: str) -> None:
    """Dividing by a row's deviation makes roundings larger, in torch's float32 too."""
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(0, 13, (60,), generator=generator).tolist()
    compare(make, 12, 60, way=way, threads=2, tolerance=300 * EPS)
    compare(make, 12, 60, way=way, threads=2, lengths=lengths, tolerance=300 * EPS)


@given(
    kind=st.sampled_from(["lstm", "gru", "cho", "elman", "peephole", "norm"]), hidden=st.integers(1, 40),
    columns=st.integers(1, 20), time=st.integers(1, 9), data=st.data(), threads=st.integers(1, 3),
    units=st.booleans(), way=st.sampled_from(SETS or [""]), reverse=st.booleans(),
)  # fmt: skip
def test_any_shape(
    kind: str,
    hidden: int,
    columns: int,
    time: int,
    data: Any,
    threads: int,
    units: bool,
    way: str,
    reverse: bool,
) -> None:
    sizes = data.draw(st.lists(st.integers(0, time), min_size=1, max_size=9))
    lengths = data.draw(st.sampled_from([None, sizes]))
    make = {
        "lstm": lambda: LSTMCell(columns, hidden),
        "gru": lambda: GRUCell(columns, hidden),
        "cho": lambda: GRUCell(columns, hidden, reset="before"),
        "elman": lambda: ElmanCell(columns, hidden, nonlinearity="relu"),
        "peephole": lambda: LSTMCell(columns, hidden, peepholes=True),
        "norm": lambda: contract_cells.NormLSTM(columns, hidden),
    }[kind]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_path, "SMALL", 0)  # threads also where there is little to do
        compare(
            make,
            time,
            len(sizes),
            lengths=lengths,
            reverse=reverse,
            way=way,
            threads=threads,
            units=units,
            tolerance=(300 if kind == "norm" else 100) * EPS,
        )


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["ElmanCell", "GRUCell", "LSTMCell", "peepholes", "reset before"])
def test_threads_that_divide_units_change_no_number(
    name: str, compute: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_path, "SMALL", 0)
    torch.manual_seed(3)
    cell = {
        "ElmanCell": lambda: ElmanCell(19, 130),
        "GRUCell": lambda: GRUCell(19, 50),
        "LSTMCell": lambda: LSTMCell(19, 33),
        "peepholes": lambda: LSTMCell(19, 64, peepholes=True),
        "reset before": lambda: GRUCell(19, 70, reset="before"),
    }[name]()
    for lengths in (None, torch.tensor([4, 9, 0])):
        inputs, state = torch.randn(9, 3, 19).requires_grad_(), cell.initial_state(3)
        found = []
        before = torch.get_num_threads()
        try:
            for threads, units in ((1, False), (2, True), (3, True)):
                torch.set_num_threads(threads)
                traced = native_path.read(cell, inputs, state)
                outputs, final = native_path.run(traced, state, lengths, compute=compute, units=units)
                loss = outputs.square().sum() + sum(part.sum() for part in leaves(final))
                found.append(
                    [outputs, *leaves(final), *torch.autograd.grad(loss, [inputs, *cell.parameters()])]
                )
        finally:
            torch.set_num_threads(before)
        for other in found[1:]:
            assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_which_calls_divide_units() -> None:
    def few(cell: Cell, batch: int, threads: int) -> bool:
        traced = native_path.read(cell, torch.zeros(2, batch, 4), cell.initial_state(batch))
        return native_path.divides_units(native_path.forward_plan(traced), batch, threads)

    assert few(LSTMCell(4, 64), 1, 2)
    assert few(GRUCell(4, 256), 4, 2)
    assert not few(LSTMCell(4, 16), 1, 2)  # a meeting costs more than the half of such a step
    assert not few(LSTMCell(4, 64), 5, 2)
    assert not few(LSTMCell(4, 64), 1, 1)
    assert not few(contract_cells.NormLSTM(4, 64), 1, 2)  # its rows are reduced over all units


def test_what_stands_in_the_padding_is_not_read() -> None:
    torch.manual_seed(0)
    cell = LSTMCell(3, 20)
    inputs, lengths = torch.randn(6, 4, 3), torch.tensor([2, 6, 0, 4])
    padded = torch.arange(6)[:, None] >= lengths
    poisoned = torch.where(padded[..., None], torch.nan, inputs).requires_grad_()
    state = cell.initial_state(4)
    outputs, final = native_path.run(native_path.read(cell, poisoned, state), state, lengths)
    expected, wanted = scan(cell, inputs, lengths=lengths, kernels="reference")
    assert torch.allclose(outputs, expected, atol=1e-6)
    assert torch.allclose(final.c, wanted.c, atol=1e-6)
    outputs.sum().backward()
    assert poisoned.grad is not None
    assert (poisoned.grad[padded] == 0).all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in cell.parameters())


def test_the_same_numbers_each_time_whatever_storage_held_before() -> None:
    """Storage comes back from earlier calls with other numbers in it, here with NaN."""
    torch.manual_seed(0)
    cell, inputs = GRUCell(5, 19), torch.randn(8, 3, 5)
    clean = results(cell, inputs, [torch.zeros(3, 19)], torch.tensor([8, 2, 5]), False, SETS[0])
    results(cell, inputs * torch.nan, [torch.zeros(3, 19)], None, False, SETS[0])
    again = results(cell, inputs, [torch.zeros(3, 19)], torch.tensor([8, 2, 5]), False, SETS[0])
    assert all(torch.equal(one, other) for one, other in zip(clean, again, strict=True))


def test_nan_is_not_hidden() -> None:
    for cell in (LSTMCell(2, 3), GRUCell(2, 3), ElmanCell(2, 3, nonlinearity="relu")):
        inputs = torch.zeros(4, 2, 2)
        inputs[1, 0] = torch.nan
        outputs, _ = scan(cell, inputs, kernels="native")
        assert outputs[0].isfinite().all()
        assert outputs[1:, 0].isnan().all()
        assert outputs[:, 1].isfinite().all()


def test_extremes_of_the_nonlinearities() -> None:
    values = torch.tensor(
        [-torch.inf, -1e30, -200, -100, -88, -20, -1e-3, -1e-30, 0, 1e-30, 1e-3, 20, 88, 100, 1e30, torch.inf]
    )
    for name in ("tanh", "sigmoid", "relu"):
        cell = ElmanCell(1, 1, nonlinearity=name, bias=False)
        with torch.no_grad():
            cell.weight_ih.fill_(1)
            cell.weight_hh.fill_(0)
            got, _ = scan(cell, values.reshape(1, -1, 1), kernels="native")
        wanted = getattr(torch, name)(values.double())
        torch.testing.assert_close(got.flatten().double(), wanted, rtol=4 * EPS, atol=1e-37)


def test_a_graph_that_is_kept_gives_the_same_gradients_again() -> None:
    torch.manual_seed(0)
    cell, inputs = LSTMCell(3, 5), torch.randn(4, 2, 3)
    outputs, _ = scan(cell, inputs, kernels="native")
    first = torch.autograd.grad(outputs.sum(), list(cell.parameters()), retain_graph=True)
    second = torch.autograd.grad(outputs.sum(), list(cell.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_where_torch_transforms_the_step_torch_computes_it() -> None:
    torch.manual_seed(0)
    cell, inputs = GRUCell(3, 5), torch.randn(4, 2, 3)
    weights = dict(cell.named_parameters())

    def total(x: Tensor) -> Tensor:
        return torch.func.functional_call(
            Whole(cell), {f"cell.{k}": v for k, v in weights.items()}, (x,)
        ).sum()

    x = inputs.clone().requires_grad_()
    scan(cell, x, kernels="native")[0].sum().backward()
    torch.testing.assert_close(torch.func.grad(total)(inputs), x.grad)
    with torch.inference_mode():
        outputs, _ = scan(cell, inputs, kernels="native")
    torch.testing.assert_close(outputs, scan(cell, inputs, kernels="torch")[0].detach())


class Whole(torch.nn.Module):
    """A scan from the initial state, as a module."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        return scan(self.cell, x)[0]


def test_weights_changed_before_backward_are_told() -> None:
    cell = GRUCell(3, 5)
    outputs, _ = scan(cell, torch.randn(4, 2, 3), kernels="native")
    with torch.no_grad():
        cell.weight_hh.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def in_a_child(queue: Any) -> None:
    """Two threads of the engine's and none of torch's, which hang in a child of one that used them."""
    native_path.SMALL = 0
    compare(lambda: GRUCell(8, 32), 20, 6, threads=2)
    queue.put("equal")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_it_runs_in_a_forked_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_path, "SMALL", 0)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=in_a_child, args=(queue,))
    in_a_child(queue)
    assert queue.get() == "equal"
    child.start()
    child.join(600)
    child.kill()
    child.join()
    assert child.exitcode == 0
    assert queue.get() == "equal"


class TestChoice:
    @pytest.mark.parametrize("name", CELLS)
    def test_auto_takes_the_engine(self, name: str) -> None:
        cell = CELLS[name]()
        assert choose(cell).path == choose(cell, "native").path == "native"

    def test_what_it_does_not_serve_is_left_to_torch(self) -> None:
        choice = choose(GRUCell(3, 5).double())
        assert choice.path == "torch"
        assert "torch has a kernel" in choice.reason
        assert "float32, not torch.float64" in choice.reason

    @pytest.mark.parametrize(
        ("make", "reason"),
        [
            (lambda: GRUCell(3, 5, reset="before").double(), "float32, not torch.float64"),
            (lambda: contract_cells.Plain(3, 5), "uses torch's sin"),
            (lambda: contract_cells.LearnedStart(3, 5), "int64"),
        ],
    )
    def test_what_is_lacking_is_said(self, make: Any, reason: str) -> None:
        cell = make()
        assert choose(cell).path == "reference"
        assert reason in choose(cell).reason
        with pytest.raises(KernelError, match=reason):
            choose(cell, "native")

    def test_a_single_step_is_left_to_torch(self) -> None:
        cell, inputs = GRUCell(3, 5), torch.randn(1, 2, 3)
        assert torch.equal(scan(cell, inputs)[0], scan(cell, inputs, kernels="torch")[0])

    def test_a_single_step_is_left_to_the_reference(self) -> None:
        cell, inputs = GRUCell(3, 5, reset="before"), torch.randn(1, 2, 3)
        one, _ = scan(cell, inputs)
        assert torch.equal(one, scan(cell, inputs, kernels="reference")[0])
        native, _ = scan(cell, inputs, kernels="native")
        assert torch.allclose(one, native, atol=1e-6)

    def test_the_instruction_set_can_be_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ELMAN_INSTRUCTIONS", "baseline")
        assert kernels.instructions() == "baseline"
        monkeypatch.setenv("ELMAN_INSTRUCTIONS", "mmx")
        with pytest.raises(ConfigError, match=r"ELMAN_INSTRUCTIONS='mmx': expected one of .*baseline"):
            scan(GRUCell(3, 5), torch.randn(2, 2, 3), kernels="native")

    @pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's, of its own slower way
    @pytest.mark.parametrize("name", conformance.CASES)
    def test_every_case_of_the_conformance_suite(self, name: str) -> None:
        """On whatever path auto takes in float32, stacks with dropout among them."""
        torch.manual_seed(0)
        cell = conformance.CASES[name]()
        inputs, lengths = torch.randn(5, 3, cell.input_size), torch.tensor([5, 0, 3])
        wanted, _ = scan(cell, inputs, lengths=lengths, kernels="reference")
        got, _ = scan(cell, inputs, lengths=lengths)
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)

    def test_an_engine_asked_for_by_name_reaches_the_cells_of_a_stack(self) -> None:
        with pytest.raises(KernelError, match="Plain: "):
            scan(Stack([GRUCell(3, 5), contract_cells.Plain(5, 5)]), torch.randn(4, 2, 3), kernels="native")
