"""Symbols as inputs give the numbers and gradients of the rows that they name, on every path.

The oracle is the reference in float64 on rows taken one by one; the engine in float32 has to come as near to
it as float32 can.
"""

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import contract_cells
from elman import kernels, native_path
from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell, Stack
from elman.errors import ElmanError, ShapeError
from elman.scan import scan
from elman.tokens import Tokens
from elman.tracing import leaves

SETS = kernels.native_module().scan_kernels() if kernels.native_available() else []
EPS = torch.finfo(torch.float32).eps
native = pytest.mark.skipif(not SETS, reason="there is no native module here")


def results(cell: Cell, inputs: Tokens | Tensor, table: Tensor | None, **options: Any) -> list[Tensor]:
    """Outputs, final state, and gradients of a fixed weighting of them: the table's and the parameters'."""
    outputs, final = scan(cell, inputs, **options)
    found = [outputs, *(part for part in leaves(final) if part.is_floating_point())]
    generator = torch.Generator().manual_seed(7)
    weights = [torch.randn(part.shape, generator=generator, dtype=torch.float64) for part in found]
    loss = sum(
        ((part.double() * w).sum() for part, w in zip(found, weights, strict=True)),
        torch.zeros((), dtype=torch.float64),
    )
    wanted = [*([] if table is None else [table]), *cell.parameters()]
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    zero = [torch.zeros_like(part) if g is None else g for part, g in zip(wanted, gradients, strict=True)]
    return [part.detach() for part in (*found, *zero)]


def one_by_one(ids: Tensor, table: Tensor) -> Tensor:
    """The rows of a batch, each taken by itself; zero where an id has none."""
    rows = [table[s] if 0 <= s < len(table) else torch.zeros_like(table[0]) for s in ids.flatten().tolist()]
    return torch.stack(rows).reshape(*ids.shape, -1)


def compare(
    make: Any,
    ids: Tensor,
    symbols: int,
    *,
    onehot: bool = False,
    tolerance: float = 60 * EPS,
    **options: Any,
) -> None:
    """Tokens by `options` in float32 against rows by the reference in float64."""
    torch.manual_seed(1)
    cell, exact = make(), make().double()
    exact.load_state_dict({name: value.double() for name, value in cell.state_dict().items()})
    table = None if onehot else torch.randn(symbols, cell.input_size)
    rows = (torch.eye(symbols) if table is None else table).double().requires_grad_(not onehot)
    if table is not None:
        table.requires_grad_()
    same = {name: options[name] for name in ("lengths", "reverse", "resets") if name in options}
    wanted = results(exact, one_by_one(ids, rows), None if onehot else rows, kernels="reference", **same)
    got = results(cell, Tokens(ids, table), table, **options)
    for place, (one, other) in enumerate(zip(got, wanted, strict=True)):
        assert one.shape == other.shape
        error = (one.double() - other).abs().max().item() if other.numel() else 0.0
        scale = max(1.0, other.abs().max().item()) if other.numel() else 1.0
        assert error <= tolerance * scale, f"result {place}: {error / scale / EPS:.1f} roundings"


KINDS: dict[str, Any] = {
    "lstm": LSTMCell,
    "gru": GRUCell,
    "cho": lambda c, h: GRUCell(c, h, reset="before"),
    "relu": lambda c, h: ElmanCell(c, h, nonlinearity="relu"),
    "peephole": lambda c, h: LSTMCell(c, h, peepholes=True),
    "two products": contract_cells.TwoProducts,
}


@native
@settings(max_examples=30)
@given(
    kind=st.sampled_from(list(KINDS)), hidden=st.integers(1, 40), columns=st.integers(1, 20),
    symbols=st.integers(1, 60), onehot=st.booleans(), time=st.integers(1, 9), data=st.data(),
    threads=st.integers(1, 3), way=st.sampled_from(SETS or [""]), reverse=st.booleans(),
)  # fmt: skip
def test_the_engine_at_any_shape(
    kind: str, hidden: int, columns: int, symbols: int, onehot: bool, time: int, data: Any, threads: int,
    way: str, reverse: bool,
) -> None:  # fmt: skip
    sizes = data.draw(st.lists(st.integers(0, time), min_size=1, max_size=9))
    lengths = data.draw(st.sampled_from([None, torch.tensor(sizes)]))
    generator = torch.Generator().manual_seed(time + symbols)
    ids = torch.randint(symbols, (time, len(sizes)), generator=generator)
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_path, "SMALL", 0)  # threads also where there is little to do
        patch.setenv("ELMAN_INSTRUCTIONS", way)
        try:
            torch.set_num_threads(threads)
            compare(
                lambda: KINDS[kind](symbols if onehot else columns, hidden), ids, symbols, onehot=onehot,
                lengths=lengths, reverse=reverse, kernels="native", tolerance=150 * EPS,
            )  # fmt: skip
        finally:
            torch.set_num_threads(before)


class Raw(Cell):
    """Reads its input in the step, by a product and by itself, and prepares nothing."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight = contract_cells.weight(hidden_size, input_size)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.zeros(batch_size, self.hidden_size)

    def step(self, x: Tensor, state: Tensor, record: Any = None) -> tuple[Tensor, Tensor]:
        h = torch.tanh(x @ self.weight.T + 0.5 * state) * torch.sigmoid(x[:, : self.hidden_size])
        return h, h


class Unreadable(Raw):
    """Prepares in a way that only torch computes."""

    def prepare(self, inputs: Tensor) -> Any:
        return torch.sin(inputs)


@native
@pytest.mark.parametrize("kind", [Raw, Unreadable])
@pytest.mark.parametrize("onehot", [False, True])
@pytest.mark.parametrize("symbols", [37, 300])
def test_what_programs_read_of_the_input_itself(kind: Any, onehot: bool, symbols: int) -> None:
    ids = torch.randint(symbols, (12, 7), generator=torch.Generator().manual_seed(0))
    columns = symbols if onehot else 30
    for lengths in (None, torch.tensor([12, 0, 3, 7, 12, 1, 9])):
        compare(lambda: kind(columns, 20), ids, symbols, onehot=onehot, lengths=lengths, kernels="native")


@pytest.mark.parametrize("path", ["reference", "torch", *(["native"] if SETS else [])])
@pytest.mark.parametrize("onehot", [False, True])
@pytest.mark.parametrize("symbols", [5, 40])
def test_every_path_with_lengths_resets_and_both_directions(path: str, onehot: bool, symbols: int) -> None:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(symbols, (6, 4), generator=generator)
    lengths = torch.tensor([6, 0, 3, 5])
    resets = torch.rand(6, 4, generator=generator) < 0.2
    columns = symbols if onehot else 3
    make = lambda: LSTMCell(columns, 9)  # noqa: E731
    every: tuple[dict[str, Any], ...] = (
        {},
        {"lengths": lengths, "reverse": True},
        {"resets": resets},
        {"lengths": lengths, "resets": resets, "reverse": True},
    )
    for options in every:
        compare(make, ids, symbols, onehot=onehot, kernels=path, **options)


@native
def test_gradients_are_the_same_numbers_each_time() -> None:
    """Many positions of few symbols, on more threads than one: sums have a fixed order."""
    torch.manual_seed(0)
    table = torch.randn(3, 32, requires_grad=True)
    ids = torch.randint(3, (12, 40))
    for path in ("native", "reference", "torch"):
        cell = GRUCell(32, 64)
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            runs = [results(cell, Tokens(ids, table), table, kernels=path) for _ in range(3)]
        finally:
            torch.set_num_threads(before)
        for again in runs[1:]:
            assert all(torch.equal(one, other) for one, other in zip(runs[0], again, strict=True))


@native
def test_a_graph_that_is_kept_gives_the_same_gradients_again() -> None:
    torch.manual_seed(0)
    cell, table = LSTMCell(3, 5), torch.randn(4, 3, requires_grad=True)
    outputs, _ = scan(cell, Tokens(torch.randint(4, (6, 2)), table), kernels="native")
    wanted = [table, *cell.parameters()]
    first = torch.autograd.grad(outputs.sum(), wanted, retain_graph=True)
    second = torch.autograd.grad(outputs.sum(), wanted)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


class TestStack:
    """A stack takes symbols at its lowest cell, where no mask and no sum wants a row of each position."""

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"residual": True},
            {"dropout": 0.4, "residual": True},
            {"dropout_in": 0.4},
            {"dropout_in": 0.4, "residual": True, "dropout_out": 0.3},
        ],
    )
    @pytest.mark.parametrize("onehot", [False, True])
    def test_it_is_the_stack_of_rows(self, options: dict[str, Any], onehot: bool) -> None:
        ids = torch.randint(8, (6, 4), generator=torch.Generator().manual_seed(3))
        inner = Stack([GRUCell(8, 8), LSTMCell(8, 5)], seed=4, **options)
        for path in ("auto", "reference"):
            for made in (inner, Stack([inner, ElmanCell(5, 8)], residual=True)):
                compare(lambda made=made: deepcopy(made), ids, 8, onehot=onehot, kernels=path)

    def test_residual_and_plain_differ(self) -> None:
        """The sum with the rows is not forgotten."""
        ids = torch.zeros(2, 1, dtype=torch.int64)
        plain, residual = (Stack([GRUCell(4, 4)], residual=wanted) for wanted in (False, True))
        residual.load_state_dict(plain.state_dict())
        expected = scan(plain, Tokens(ids))[0] + torch.eye(4)[0]
        torch.testing.assert_close(scan(residual, Tokens(ids))[0], expected)


def test_only_as_many_rows_as_there_are_positions_are_prepared() -> None:
    table, few = torch.randn(50, 3), torch.tensor([[4, 40], [4, 0]])
    ids, rows = Tokens(few, table).rows(3, table)
    assert torch.equal(rows, table[[0, 4, 40]])
    assert torch.equal(rows[ids], table[few])
    many = torch.randint(50, (10, 5))
    ids, rows = Tokens(many, table).rows(3, table)
    assert rows is table
    assert ids is many
    _, onehot = Tokens(few).rows(50, table)
    assert torch.equal(onehot, torch.eye(50)[[0, 4, 40]])


class TestErrors:
    @pytest.mark.parametrize("path", ["reference", "torch", "native"])
    @pytest.mark.parametrize("onehot", [False, True])
    @pytest.mark.parametrize(("wrong", "place"), [(-1, (1, 2)), (5, (0, 0)), (1 << 40, (3, 1))])
    def test_an_id_without_a_row_is_named_with_its_place(
        self, path: str, onehot: bool, wrong: int, place: tuple[int, int]
    ) -> None:
        ids = torch.zeros(4, 3, dtype=torch.int64)
        ids[place] = wrong
        tokens = Tokens(ids, None if onehot else torch.randn(5, 2))
        cell = GRUCell(5 if onehot else 2, 3)
        t, n = place
        told = rf"ids\[{t}, {n}\] is {wrong}, expected 0 to 4, one of 5 symbols"
        for whole in (cell, Stack([cell])):
            with pytest.raises(ShapeError, match=told):
                scan(whole, tokens, kernels=path)
        with pytest.raises(ShapeError, match=told):
            scan(cell, tokens, kernels=path, reverse=True)

    def test_ids_in_the_padding_may_be_anything(self) -> None:
        ids, lengths = torch.tensor([[1, 0], [-7, 2], [9, 1]]), torch.tensor([1, 3])
        cell, table = LSTMCell(2, 3), torch.randn(3, 2, requires_grad=True)
        for path in ("reference", "torch", *(["native"] if SETS else [])):
            clean = results(cell, Tokens(ids.clamp(0, 2), table), table, lengths=lengths, kernels=path)
            wild = results(cell, Tokens(ids, table), table, lengths=lengths, kernels=path)
            assert all(torch.equal(one, other) for one, other in zip(clean, wild, strict=True))

    @pytest.mark.parametrize(
        ("ids", "table", "told"),
        [
            (torch.zeros(3, 2), None, r"ids must be integers \(T, N\), got torch.float32 \(3, 2\)"),
            (torch.zeros(3, 2, dtype=torch.bool), None, "got torch.bool"),
            (torch.zeros(3, dtype=torch.int64), None, r"got torch.int64 \(3,\)"),
            (
                torch.zeros(3, 2, dtype=torch.int64),
                torch.zeros(4),
                r"floats \(V, C\), got torch.float32 \(4,\)",
            ),
            (torch.zeros(3, 2, dtype=torch.int64), torch.zeros(0, 2), r"floats \(V, C\), got .* \(0, 2\)"),
            (torch.zeros(3, 2, dtype=torch.int64), torch.zeros(4, 2, dtype=torch.int32), "got torch.int32"),
            (torch.zeros(3, 2, dtype=torch.int64), torch.zeros(4, 2, device="meta"), "the table on meta"),
        ],
    )
    def test_axes_types_and_devices(self, ids: Tensor, table: Tensor | None, told: str) -> None:
        with pytest.raises(ShapeError, match=told):
            Tokens(ids, table)

    @pytest.mark.parametrize(
        ("table", "told"),
        [
            (torch.zeros(4, 3), r"the table must be \(V, 2\) for this GRUCell, got \(4, 3\)"),
            (torch.zeros(4, 2).double(), r"the table is torch.float64 on cpu"),
        ],
    )
    def test_a_table_that_does_not_fit_the_cell(self, table: Tensor, told: str) -> None:
        with pytest.raises(ShapeError, match=told):
            scan(GRUCell(2, 3), Tokens(torch.zeros(3, 2, dtype=torch.int64), table))

    def test_lengths_and_resets_are_looked_at_as_ever(self) -> None:
        tokens = Tokens(torch.zeros(3, 2, dtype=torch.uint8))
        with pytest.raises(ElmanError, match=r"lengths: element 1 is 4"):
            scan(GRUCell(2, 3), tokens, lengths=torch.tensor([1, 4]))
        with pytest.raises(ElmanError, match=r"resets must be bool \(3, 2\)"):
            scan(GRUCell(2, 3), tokens, resets=torch.zeros(3, 1, dtype=torch.bool))


@pytest.mark.parametrize("path", ["reference", "torch", "auto", *(["native"] if SETS else [])])
@pytest.mark.parametrize("shape", [(0, 2), (3, 0)])
def test_no_steps_and_no_elements(path: str, shape: tuple[int, int]) -> None:
    cell, ids = LSTMCell(4, 3), torch.zeros(shape, dtype=torch.int64)
    for tokens in (Tokens(ids), Tokens(ids, torch.randn(9, 4))):
        outputs, final = scan(cell, tokens, kernels=path)
        assert outputs.shape == (*shape, 3)
        assert torch.equal(final.h, torch.zeros(shape[1], 3))


def test_intermediates_are_recorded() -> None:
    cell, table = LSTMCell(2, 3), torch.randn(4, 2)
    ids = torch.tensor([[1, 0], [3, 2]])
    _, _, shown = scan(cell, Tokens(ids, table), record=("c",))
    _, _, expected = scan(cell, table[ids], record=("c",))
    torch.testing.assert_close(shown["c"], expected["c"])
