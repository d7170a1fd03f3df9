"""Steps of a search on the native engine against the cell's own step in float64."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import linear

from elman import kernels
from elman.attention import ATTENTIONS
from elman.cells import CELLS, State, map_state
from elman.cells.decoder import AttentionCell
from elman.errors import KernelError, ShapeError
from elman.streaming import Stepper, lacks_steps, stepper
from elman.tracing import leaves

pytestmark = pytest.mark.skipif(not kernels.native_available(), reason="there is no native module here")
SETS = kernels.native_module().scan_kernels() if kernels.native_available() else []
HALVES = kernels.native_module().scan_bf16_kernels() if kernels.native_available() else []


def decoder(kind: str, order: str, name: str, size: int, hidden: int, layers: int = 1) -> AttentionCell:
    torch.manual_seed(3)
    cells = [CELLS[name](hidden if layer else size, hidden) for layer in range(layers)]
    wide = hidden if kind == "dot" else hidden + 3
    return AttentionCell(cells, ATTENTIONS[kind](hidden, wide), order=order).eval().requires_grad_(False)


def state_of(cell: AttentionCell, rows: int) -> State:
    generator = torch.Generator().manual_seed(5)
    blank = cell.bind(torch.zeros(1, 1, cell.attention.memory_size)).initial_state(rows)
    return map_state(lambda part: torch.randn(part.shape, generator=generator), blank)


def by_definition(
    cell: AttentionCell, memory: Tensor, lengths: Tensor, head: tuple[Tensor, Tensor], x: Tensor,
    state: State, source: Tensor,
) -> tuple[Tensor, Tensor, list[Tensor]]:  # fmt: skip
    """Logits, weights and the state, in float64; each row has a copy of its own memory."""
    exact = decoder_like(cell).double()
    bound = exact.bind(memory.double(), lengths).rows(source)
    shown: dict[str, Tensor] = {}
    output, after = bound.step(
        bound.prepare(x.double()[None])[0], map_state(lambda part: part.double(), state), shown
    )
    return linear(output, head[0].double(), head[1].double()), shown["attention"], leaves(after)


def decoder_like(cell: AttentionCell) -> AttentionCell:
    kind = next(name for name, made in ATTENTIONS.items() if type(cell.attention) is made)
    name = next(name for name, made in CELLS.items() if type(cell.cells[0]) is made)
    other = decoder(kind, cell.order, name, cell.input_size, cell.query_size, len(cell.cells))
    other.load_state_dict(cell.state_dict())
    return other


def check(
    cell: AttentionCell, *, rows: int, sources: int, places: int, symbols: int, **options: Any
) -> tuple[float, float]:
    """The largest differences of logits and of all else from the definition, over three steps."""
    generator = torch.Generator().manual_seed(rows * 31 + places)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    memory = random(places, sources, cell.attention.memory_size)
    lengths = torch.randint(1, places + 1, (sources,), generator=generator)
    head = random(symbols, cell.output_size), random(symbols)
    bound = cell.bind(memory, lengths)
    one = cell.bind(torch.zeros(1, 1, cell.attention.memory_size))
    steps = Stepper(one, head, one.memory, **options).over(bound.memory)
    state, others, far = state_of(cell, rows), 0.0, 0.0
    for _ in range(3):
        source = torch.randint(0, sources, (rows,), generator=generator)
        x = random(rows, cell.input_size)
        told = steps(x, state, source)
        logits, weights, after = by_definition(cell, memory, lengths, head, x, state, source)
        assert told.weights is not None
        assert told.logits.shape == (rows, symbols)
        pairs = [(told.weights, weights), *zip(leaves(told.state), after, strict=True)]
        others = max(others, *(float((a - b).abs().max()) for a, b in pairs))
        far = max(far, float((told.logits - logits).abs().max()) / max(1.0, float(logits.abs().max())))
        state = told.state
    return far, others


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("kind", ["additive", "dot", "general", "concat"])
@pytest.mark.parametrize("order", ["luong", "bahdanau"])
def test_it_equals_the_step(order: str, kind: str, name: str) -> None:
    rough = 20 if name == "layer_norm_lstm" else 1  # dividing by a deviation makes roundings larger
    for layers in (1, 2):
        cell = decoder(kind, order, name, 5, 7, layers)
        assert max(check(cell, rows=6, sources=3, places=5, symbols=9)) < rough * 3e-6


@settings(max_examples=40)
@given(
    kind=st.sampled_from(["additive", "dot"]), order=st.sampled_from(["luong", "bahdanau"]),
    name=st.sampled_from(["gru", "lstm"]), rows=st.integers(1, 70), sources=st.integers(1, 5),
    places=st.integers(1, 20), size=st.integers(1, 40), hidden=st.integers(1, 70),
    symbols=st.integers(1, 300), threads=st.integers(1, 3), few=st.sampled_from([0, 200]),
    way=st.sampled_from(SETS or [""]),
)  # fmt: skip
def test_any_shape(
    kind: str, order: str, name: str, rows: int, sources: int, places: int, size: int, hidden: int,
    symbols: int, threads: int, few: int, way: str,
) -> None:  # fmt: skip
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stepper, "FEW", few)  # which divides the units, or the rows
        patch.setattr("elman.native_path.SMALL", 1)
        torch.set_num_threads(threads)
        cell = decoder(kind, order, name, size, hidden)
        found = check(
            cell, rows=rows, sources=sources, places=places, symbols=symbols, instructions=way
        )  # fmt: skip
        torch.set_num_threads(before)
    assert max(found) < 1e-5


@pytest.mark.parametrize("way", HALVES)
def test_bfloat16_rounds_what_is_multiplied(way: str) -> None:
    cell = decoder("additive", "luong", "lstm", 20, 40)
    shape: dict[str, Any] = {"rows": 11, "sources": 4, "places": 7, "symbols": 50}
    logits, others = check(cell, **shape, weights="bfloat16", instructions=way)
    assert 1e-4 < logits < 0.05
    assert 1e-4 < others < 0.05


def test_a_row_does_not_depend_on_the_others() -> None:
    """To the last bit, however many rows there are and whichever threads do them."""
    cell = decoder("additive", "luong", "gru", 24, 48)
    memory, head = torch.randn(6, 4, 51), (torch.randn(100, 48), torch.randn(100))
    bound = cell.bind(memory, torch.tensor([6, 2, 3, 6]))
    steps = Stepper(bound.rows(torch.tensor([0])), head, bound.rows(torch.tensor([0])).memory).over(
        bound.memory
    )
    x, state, source = torch.randn(200, 24), state_of(cell, 200), torch.arange(200) % 4
    together = steps(x, state, source)
    assert together.weights is not None
    for rows in ([7], [0, 199], list(range(3, 60))):
        index = torch.tensor(rows)
        alone = steps(x[index], map_state(lambda part, index=index: part[index], state), source[index])
        assert alone.weights is not None
        assert torch.equal(alone.logits, together.logits[index])
        assert torch.equal(alone.weights, together.weights[index])
        for one, other in zip(leaves(alone.state), leaves(together.state), strict=True):
            assert torch.equal(one, other[index])


def test_a_cell_that_does_not_attend() -> None:
    cell, head = CELLS["lstm"](5, 7).requires_grad_(False), (torch.randn(9, 7), torch.randn(9))
    steps, x, state = Stepper(cell, head).over(None), torch.randn(4, 5), cell.initial_state(4)
    told = steps(x, state)
    output, after = cell.step(cell.prepare(x[None])[0], state)
    assert told.weights is None
    assert torch.allclose(told.output, output, atol=1e-6)
    assert torch.allclose(told.logits, linear(output, *head), atol=1e-5)
    assert torch.allclose(told.state.c, after.c, atol=1e-6)
    assert steps(x[:0], map_state(lambda part: part[:0], state)).logits.shape == (0, 9)


def test_later_changes_are_not_seen() -> None:
    cell, head = CELLS["gru"](5, 7).requires_grad_(False), (torch.randn(9, 7), torch.randn(9))
    steps, x, state = Stepper(cell, head).over(None), torch.randn(4, 5), cell.initial_state(4)
    before = steps(x, state).logits
    next(cell.parameters()).zero_()
    head[0].zero_()
    assert torch.equal(steps(x, state).logits, before)


def test_what_does_not_fit() -> None:
    cell = decoder("additive", "luong", "gru", 5, 7)
    bound = cell.bind(torch.randn(3, 2, 10))
    head = torch.randn(9, 7), torch.randn(9)
    one = cell.bind(torch.zeros(1, 1, 10))
    made = Stepper(one, head, one.memory)
    steps, x, state = made.over(bound.memory), torch.randn(4, 5), state_of(cell, 4)
    good = torch.tensor([0, 1, 0, 1])
    for inputs, given_state, source, message in (
        (x[:, :3], state, good, r"expected inputs \(n, 5\)"),
        (x.double(), state, good, r"expected inputs \(n, 5\)"),
        (x, state, None, "the source of each of 4 rows"),
        (x, state, good[:2], "the source of each of 4 rows"),
        (x, state, good.int(), "the source of each of 4 rows"),
        (x, state, good + 1, r"sources lie within 1 .. 2, expected 0 .. 1"),
        (x, state, good - 1, r"sources lie within -1 .. 0, expected 0 .. 1"),
        (x, state_of(cell, 3), good, r"a part of the state must be \(4, 7\)"),
        (x, map_state(lambda part: part.double(), state), good, r"must be \(4, 7\) in float32"),
    ):
        with pytest.raises(ShapeError, match=message):
            steps(inputs, given_state, source)
    with pytest.raises(ShapeError, match=r"expected values \(N, S, 10\)"):
        made.over(decoder("additive", "luong", "gru", 5, 9).bind(torch.randn(3, 2, 12)).memory)
    with pytest.raises(ShapeError, match=r"expected a head \(9, 7\)"):
        Stepper(one, (torch.randn(9, 8), head[1]), one.memory)
    other = decoder("location", "luong", "gru", 5, 7).bind(torch.zeros(1, 1, 10))
    assert "pad" in str(lacks_steps(other, other.memory))
    with pytest.raises(KernelError, match=r"steps: AttentionCell: .*pad"):
        Stepper(other, head, other.memory)
    with pytest.raises(KernelError, match="looks at more than the one memory"):
        Stepper(one, head, bound.memory)
