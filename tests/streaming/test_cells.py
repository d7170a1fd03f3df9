"""Streams of cells: against the cells' own steps in float64, and against the same quantisation in float64.

Shapes: T time, N streams, C input, H hidden.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from contract_cells import Memory, NormLSTM, TwoProducts
from elman import kernels
from elman.cells import CELLS, Cell, ElmanCell, GRUCell, LSTMCell, Stack, State, map_state
from elman.errors import ConfigError, KernelError, ShapeError
from elman.streaming import PRECISIONS, Precision, Streamer, choose_streams, lacks

pytestmark = pytest.mark.skipif(not kernels.native_available(), reason=kernels.native_status())

SETS = kernels.native_module().stream_kernels() if kernels.native_available() else []

FORMS: dict[str, tuple[type[Cell], dict[str, Any]]] = {
    **{name: (kind, {}) for name, kind in CELLS.items()},
    "relu": (ElmanCell, {"nonlinearity": "relu", "bias": False}),
    "peepholes": (LSTMCell, {"peepholes": True}),
    "projection": (LSTMCell, {"projection": 9}),
    "reset before": (GRUCell, {"reset": "before"}),
    "write": (GRUCell, {"update": "write", "recurrent_bias": False}),
    "two products": (TwoProducts, {}),
    "layer norm": (NormLSTM, {}),
}
"""Every cell of the table, and forms that differ in their stages."""


def stack(form: str, hidden: int, *, residual: bool = False, inputs: int = 5) -> Stack:
    """Two layers; the second has room for a residual connection."""
    kind, options = FORMS[form]
    torch.manual_seed(3)
    lower = kind(inputs, hidden, **options)
    cells = [lower, kind(lower.output_size, hidden, **options)]
    with torch.no_grad():
        for cell in cells:
            for parameter in cell.parameters():
                parameter.uniform_(-1.5, 1.5).div_(1 if parameter.dim() == 1 else parameter.shape[1] ** 0.5)
    return Stack(cells, residual=residual).eval()


def by_steps(cell: Cell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """The definition in float64, one `step` after the other."""
    cell = cell.double()
    state = map_state(lambda x: x.double() if x.is_floating_point() else x, state)
    outputs = []
    with torch.no_grad():
        for x in inputs.double():
            output, state = cell.step(x, state)
            outputs.append(output)
    cell.float()
    return torch.stack(outputs), state


def error(got: tuple[Tensor, State], expected: tuple[Tensor, State]) -> float:
    """The largest difference in outputs and state."""
    worst = [(got[0] - expected[0]).abs().max()]
    map_state(lambda a, b: (worst.append((a - b).abs().max()), a)[1], got[1], expected[1])
    return float(max(worst))


def some(stack: Stack, time: int = 12, streams: int = 4) -> tuple[Tensor, State]:
    torch.manual_seed(5)
    inputs = torch.randn(time, streams, stack.input_size)
    random = map_state(
        lambda x: torch.rand_like(x) if x.is_floating_point() else x + 3, stack.initial_state(streams)
    )
    return inputs, random


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("form", FORMS)
def test_every_cell_equals_its_steps(form: str, instructions: str) -> None:
    for hidden, residual in ((10, True), (17, False), (130, True)):
        cells = stack(form, hidden, residual=residual)
        inputs, state = some(cells)
        got = Streamer(cells, instructions=instructions)(inputs, state)
        assert error(got, by_steps(cells, inputs, state)) < 5e-6


@pytest.mark.parametrize("instructions", SETS)
def test_one_unit(instructions: str) -> None:
    for form in ("lstm", "gru", "relu"):
        cells = stack(form, 1, inputs=1)
        inputs, state = some(cells, streams=1)
        for weights in PRECISIONS:
            got = Streamer(cells, weights=weights, instructions=instructions)(inputs, state)
            with Rounded(weights):
                assert error(got, by_steps(cells, inputs, state)) < 1e-4


class Rounded(TorchFunctionMode):
    """Products as a stream with such weights has them, with the numbers rounded and the rest exact."""

    def __init__(self, weights: Precision) -> None:
        super().__init__()
        self.weights = weights

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is linear:
            return self.product(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if self.weights == "bfloat16":
            weight = weight.bfloat16().double()
        elif self.weights == "int8":
            weight = steps(weight, 127.0)
            size = weight.shape[1]
            x = steps(x, float(min(32767, (2**31 - 1) // (127 * (size + 1)))))
        y = x @ weight.T
        return y if bias is None else y + bias


def steps(x: Tensor, most: float) -> Tensor:
    """Each row in whole numbers of 1 / most of its largest magnitude."""
    scale = x.abs().amax(-1, keepdim=True) / most
    return torch.where(scale > 0, (x / scale).round() * scale, 0)


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_few_bits_are_those_of_the_definition(weights: Precision, instructions: str) -> None:
    for form in ("lstm", "peepholes", "reset before", "projection"):
        cells = stack(form, 33, residual=True)
        inputs, state = some(cells)
        streamer = Streamer(cells, weights=weights, instructions=instructions)
        got = streamer(inputs, state)
        with Rounded(weights):
            rounded = error(got, by_steps(cells, inputs, state))
        assert rounded < 1e-4
        assert error(got, by_steps(cells, inputs, state)) > 10 * rounded  # it is that rounding and no other
        assert streamer.bytes < Streamer(cells, instructions=instructions).bytes * 0.6


def test_whole_numbers_do_not_overflow() -> None:
    """All activations and weights at their largest: the longest sums there can be."""
    for size in (600, 3001):
        cell = ElmanCell(size, 3, nonlinearity="identity", bias=False)
        with torch.no_grad():
            cell.weight_ih.fill_(0.5)
            cell.weight_hh.zero_()
        for instructions in SETS:
            streamer = Streamer(cell, weights="int8", instructions=instructions)
            got, _ = streamer(torch.full((1, 1, size), 3.0))
            assert torch.allclose(got, torch.tensor(size * 1.5), rtol=1e-6)


@pytest.mark.parametrize("weights", PRECISIONS)
@pytest.mark.parametrize("instructions", SETS)
def test_parts_and_neighbours_change_nothing(
    weights: Precision, instructions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = stack("lstm", 21, residual=True)
    inputs, state = some(cells, streams=19)
    streamer = Streamer(cells, weights=weights, instructions=instructions)
    whole, last = streamer(inputs, state)
    monkeypatch.setattr("elman.streaming.streamer.PATIENCE", 0.0)  # a native call for each step
    assert torch.equal(streamer(inputs, state)[0], whole)
    first, middle = streamer(inputs[:5], state)
    second, end = streamer(inputs[5:], middle)
    assert torch.equal(torch.cat([first, second]), whole)
    assert error((first, end), (first, last)) == 0
    for n in (0, 7, 18):
        alone, _ = streamer(inputs[:, n : n + 1], map_state(lambda x, n=n: x[n : n + 1], state))
        assert torch.equal(alone[:, 0], whole[:, n])
    one, after = streamer.step(inputs[0], state)
    assert torch.equal(one, whole[0])
    assert after.step.tolist() == [4] * 19


@pytest.mark.parametrize("instructions", SETS)
def test_threads_change_nothing(instructions: str) -> None:
    cells = stack("lstm", 300, inputs=70)
    inputs, state = some(cells, time=9, streams=18)
    for weights in PRECISIONS:
        streamer = Streamer(cells, weights=weights, instructions=instructions)
        assert streamer.bytes > 3 << 18  # large enough for the engine to ask for help
        whole, last = streamer(inputs, state)
        torch.set_num_threads(3)
        try:
            got = streamer(inputs, state)
            alone = streamer(inputs[:, :1], map_state(lambda x: x[:1], state))[0]
        finally:
            torch.set_num_threads(1)
        assert error(got, (whole, last)) == 0
        assert torch.equal(alone[:, 0], whole[:, 0])


def test_a_state_that_is_taken_apart() -> None:
    torch.manual_seed(1)
    cell = Stack([Joined(4, 9), Joined(9, 6)])
    inputs, state = some(cell, time=7, streams=3)
    for weights, most in (("float32", 5e-6), ("int8", 0.1)):
        streamer = Streamer(cell, weights=weights)
        got = streamer(inputs, state)
        assert error(got, by_steps(cell, inputs, state)) < most
        first, middle = streamer(inputs[:3], state)
        second, end = streamer(inputs[3:], middle)
        assert error((torch.cat([first, second]), end), got) == 0


class Joined(Cell):
    """Two vectors in one tensor of the state: u' = tanh(x + A v), v' = v / 2 + u'."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = torch.nn.Parameter(torch.randn(hidden_size, input_size) / 2)
        self.a = torch.nn.Parameter(torch.randn(hidden_size, hidden_size) / 3)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.zeros(batch_size, 2 * self.hidden_size)

    def prepare(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih)

    def step(self, x: Tensor, state: Tensor, record: Any = None) -> tuple[Tensor, Tensor]:
        _, v = state.chunk(2, -1)
        u = torch.tanh(x + linear(v, self.a))
        v = v / 2 + u
        return v, torch.cat([u, v], -1)


def test_arguments_are_left_as_they_were() -> None:
    cells = stack("gru", 6)
    inputs, state = some(cells)
    kept = map_state(torch.clone, state)
    strided = inputs.transpose(0, 1).contiguous().transpose(0, 1)
    streamer = Streamer(cells)
    got, _ = streamer(strided, state)
    assert torch.equal(got, streamer(inputs, state)[0])
    assert error((inputs, state), (inputs, kept)) == 0


def test_resets_begin_anew() -> None:
    cells = stack("lstm", 6)
    inputs, state = some(cells, streams=3)
    resets = torch.zeros(12, 3, dtype=torch.bool)
    resets[0, 1] = resets[4, 0] = resets[4, 2] = resets[11, 2] = True
    got, _ = Streamer(cells)(inputs, state, resets=resets)
    expected, now = [], state
    for t in range(12):
        now = cells.reset(now, resets[t])
        output, now = by_steps(cells, inputs[t : t + 1], now)
        expected.append(output)
    assert float((got - torch.cat(expected)).abs().max()) < 5e-6


def test_no_steps() -> None:
    cells = stack("lstm", 6)
    outputs, state = Streamer(cells)(torch.empty(0, 2, 5))
    assert outputs.shape == (0, 2, 6)
    assert state.step.tolist() == [0, 0]
    assert Streamer(cells)(torch.empty(3, 0, 5))[0].shape == (3, 0, 6)


def test_masks_are_for_training() -> None:
    kind, _ = FORMS["gru"]
    cells = Stack([kind(4, 6), kind(6, 6)], dropout=0.5, dropout_in=0.5).train()
    inputs = torch.randn(5, 1, 4)
    got = Streamer(cells)(inputs)
    assert error(got, by_steps(cells.eval(), inputs, cells.initial_state(1))) < 5e-6


class TestWhatIsRefused:
    def test_a_step_that_cannot_be_read(self) -> None:
        cell = Memory(3, 4)
        reason = lacks(cell)
        assert reason is not None
        assert type(cell).__name__ in reason
        with pytest.raises(KernelError, match="streams: Memory: "):
            Streamer(cell)
        assert choose_streams(cell).path == "reference"
        with pytest.raises(KernelError, match="weights in int8"):
            choose_streams(cell, "int8")

    def test_the_way_that_was_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cell = CELLS["gru"](3, 4)
        assert choose_streams(cell).path == "native"
        for mode in ("torch", "reference"):
            monkeypatch.setenv(kernels.VARIABLE, mode)
            assert (choose_streams(cell).path, choose_streams(cell).reason) == (
                "reference",
                f"ELMAN_KERNELS={mode}",
            )
            with pytest.raises(KernelError, match=f"ELMAN_KERNELS={mode}"):
                choose_streams(cell, "bfloat16")
        monkeypatch.setenv(kernels.VARIABLE, "native")
        with pytest.raises(KernelError, match=r"torch\.float64"):
            choose_streams(cell.double())

    @pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
    @pytest.mark.parametrize("weights", PRECISIONS)
    def test_weights_that_are_not_finite(self, value: float, weights: Precision) -> None:
        cells = stack("lstm", 6)
        with torch.no_grad():
            cells.cells[1].weight_hh[3, 2] = value
        with pytest.raises(ShapeError, match=r"cells\.1\.weight_hh holds (nan|-?inf) at \(3, 2\)"):
            Streamer(cells, weights=weights)

    def test_states_that_are_not_finite_stay_what_they_are(self) -> None:
        cells = stack("gru", 6)
        inputs, state = some(cells)
        state.layers[0].h[1, 2] = torch.nan
        for weights in PRECISIONS:
            got, _ = Streamer(cells, weights=weights)(inputs, state)
            assert bool(got[:, 1].isnan().all())
            assert bool(got[:, 0].isfinite().all())

    @pytest.mark.parametrize(
        ("act", "kind", "message"),
        [
            (
                lambda s: Streamer(s, weights="int4"),  # pyrefly: ignore[bad-argument-type]
                ConfigError,
                "weights: expected one of float32.* got 'int4'",
            ),
            (lambda s: Streamer(s, instructions="mmx"), ConfigError, "ELMAN_INSTRUCTIONS='mmx'"),
            (lambda s: Streamer(s)(torch.zeros(2, 3)), ShapeError, r"expected inputs \(T, N, 5\)"),
            (lambda s: Streamer(s)(torch.zeros(2, 3, 4)), ShapeError, r"got torch.float32 \(2, 3, 4\)"),
            (lambda s: Streamer(s)(torch.zeros(2, 3, 5).double()), ShapeError, "torch.float64"),
            (lambda s: Streamer(s)(torch.zeros(2, 3, 5, device="meta")), ShapeError, "on meta"),
            (
                lambda s: Streamer(s)(torch.zeros(2, 3, 5), s.initial_state(2)),
                ShapeError,
                r"a state of Stack has .* \(3,\) where",
            ),
            (
                lambda s: Streamer(s)(torch.zeros(2, 3, 5), torch.zeros(3, 6)),
                ShapeError,
                "built as that of Stack",
            ),
            (
                lambda s: Streamer(s)(torch.zeros(2, 3, 5), resets=torch.zeros(2, 2, dtype=torch.bool)),
                ShapeError,
                "resets must be bool",
            ),
            (
                lambda s: Streamer(s).generate(torch.zeros(1, 4), s.initial_state(1), 3),
                ConfigError,
                "Symbols",
            ),
        ],
    )
    def test_arguments(self, act: Callable[[Stack], object], kind: type[Exception], message: str) -> None:
        with pytest.raises(kind, match=message):
            act(stack("lstm", 6))


@pytest.fixture(autouse=True)
def kernels_by_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests name what computes themselves."""
    monkeypatch.delenv(kernels.VARIABLE, raising=False)
    monkeypatch.delenv(kernels.INSTRUCTIONS, raising=False)
