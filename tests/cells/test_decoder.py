"""AttentionCell against its equations in NumPy, in parts, with other rows, and with padding."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from conformance import Run, close, equal, measure, tensors
from elman.attention import ATTENTIONS
from elman.cells import CELLS, ElmanCell, State, map_state
from elman.cells.decoder import AttentionCell, AttentionState
from elman.errors import ConfigError, ShapeError
from elman.scan import scan

TIME, BATCH, PLACES, INPUT, HIDDEN, MEMORY = 5, 3, 4, 2, 3, 3
SOURCE_LENGTHS = torch.tensor([4, 1, 2])
LENGTHS = torch.tensor([5, 0, 3])

CASES: dict[str, dict[str, Any]] = {
    f"{order} {cell} {attention} {layers}": {
        "order": order, "cell": cell, "attention": attention, "layers": layers
    }
    for order, cell, attention, layers in (
        ("luong", "gru", "additive", 1),
        ("luong", "lstm", "dot", 2),
        ("luong", "layer_norm_lstm", "general", 1),
        ("bahdanau", "gru", "additive", 2),
        ("bahdanau", "lstm", "concat", 1),
        ("bahdanau", "elman", "general", 1),
    )
}  # fmt: skip
every_case = pytest.mark.parametrize("name", list(CASES))


def make(name: str, dropout: float = 0.0) -> AttentionCell:
    case = CASES[name]
    torch.manual_seed(3)
    cells = [CELLS[case["cell"]](HIDDEN if layer else INPUT, HIDDEN) for layer in range(case["layers"])]
    attention = ATTENTIONS[case["attention"]](HIDDEN, MEMORY)
    cell = AttentionCell(cells, attention, order=case["order"], dropout=dropout).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(1.5)
    return cell


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def begun(cell: AttentionCell, batch: int = BATCH) -> AttentionState:
    """A state that is not zero."""
    return map_state(lambda part: normal(*part.shape, seed=9), cell.initial_state(batch))


def computed(cell: AttentionCell, inputs: Tensor, memory: Tensor, **options: Any) -> Run:
    """scan over the cell bound to a memory, with gradients; that of the memory among them."""
    memory = memory.clone().requires_grad_()
    bound = cell.bind(memory, SOURCE_LENGTHS)
    state = begun(bound)
    outputs, _ = scan(bound, inputs, state, **options)
    found = measure(
        cell, inputs, state, lambda x, s: scan(cell.bind(memory, SOURCE_LENGTHS), x, s, **options)
    )
    (gradient,) = torch.autograd.grad(outputs.square().sum(), memory)
    return Run(found.outputs, found.final, found.gradients | {"memory": gradient})


def softmax(scores: Any) -> Any:
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


@pytest.mark.parametrize("order", ["luong", "bahdanau"])
def test_a_step_is_its_equations(order: str) -> None:
    """One element after the other, with Elman's cell and the dot score, in NumPy."""
    torch.manual_seed(8)
    cell = AttentionCell([ElmanCell(INPUT, HIDDEN)], ATTENTIONS["dot"](HIDDEN, MEMORY), order=order).double()
    memory, inputs = normal(PLACES, BATCH, MEMORY), normal(TIME, BATCH, INPUT, seed=2)
    outputs, _, shown = scan(cell.bind(memory, SOURCE_LENGTHS), inputs, record=["attention"])
    p = {name: value.detach().numpy() for name, value in cell.named_parameters()}
    for n, places in enumerate(SOURCE_LENGTHS.tolist()):
        source = memory[:places, n].numpy()
        h, weights, fed = (
            np.zeros(HIDDEN),
            np.zeros(places),
            np.zeros(cell.output_size if order == "luong" else MEMORY),
        )
        for t in range(TIME):
            if order == "bahdanau":
                weights = softmax(source @ h)
                fed = weights @ source
            gates = p["cells.0.weight_ih"] @ inputs[t, n].numpy() + p["cells.0.bias_ih"]
            gates = gates + p["weight_feed"] @ fed + p["cells.0.weight_hh"] @ h + p["cells.0.bias_hh"]
            h = np.tanh(gates)
            if order == "luong":
                weights = softmax(source @ h)
                parts = p["weight_context"] @ (weights @ source) + p["weight_output"] @ h
                fed = np.tanh(parts + p["bias_output"])
            expected = fed if order == "luong" else np.concatenate([h, fed])
            assert np.abs(outputs[t, n].detach().numpy() - expected).max() < 1e-13
            assert np.abs(shown["attention"][t, n, :places].detach().numpy() - weights).max() < 1e-13
            assert bool((shown["attention"][t, n, places:] == 0).all())


@every_case
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    cell = make(name)
    memory, inputs = normal(PLACES, BATCH, MEMORY).requires_grad_(), normal(3, BATCH, INPUT, seed=2)
    lengths = LENGTHS.clamp(max=3)

    def compute(memory: Tensor, inputs: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        bound = cell.bind(memory, SOURCE_LENGTHS)
        outputs, final, shown = scan(bound, inputs, begun(bound), lengths=lengths, record=["attention"])
        return outputs, shown["attention"], *tensors(final)

    given = (memory, inputs.requires_grad_(), *cell.parameters())
    assert torch.autograd.gradcheck(compute, given, fast_mode=True)


@every_case
@pytest.mark.parametrize("training", [False, True])
def test_chunks_with_the_state_carried_are_the_whole(name: str, training: bool) -> None:
    cell, memory = make(name, dropout=0.4).train(training), normal(PLACES, BATCH, MEMORY)
    inputs, state = normal(TIME, BATCH, INPUT, seed=2), begun(cell.bind(memory, SOURCE_LENGTHS))

    def at_once(x: Tensor, state: State) -> tuple[Tensor, State]:
        return scan(cell.bind(memory, SOURCE_LENGTHS), x, state, lengths=LENGTHS)

    def in_chunks(x: Tensor, state: State) -> tuple[Tensor, State]:
        bound, pieces = cell.bind(memory, SOURCE_LENGTHS), []
        for start, stop in ((0, 1), (1, 4), (4, 4), (4, TIME)):
            left = (LENGTHS - start).clamp(0, stop - start)
            outputs, state = scan(bound, x[start:stop], state, lengths=left)
            pieces.append(outputs)
        return torch.cat(pieces), state

    close(measure(cell, inputs, state, in_chunks), measure(cell, inputs, state, at_once))


@every_case
def test_padding_of_both_sides_reaches_nothing(name: str) -> None:
    cell = make(name)
    memory, inputs = normal(PLACES, BATCH, MEMORY), normal(TIME, BATCH, INPUT, seed=2)
    wanted = computed(cell, inputs, memory, lengths=LENGTHS)
    memory = memory.masked_fill((torch.arange(PLACES)[:, None] >= SOURCE_LENGTHS)[:, :, None], torch.nan)
    inputs = inputs.masked_fill((torch.arange(TIME)[:, None] >= LENGTHS)[:, :, None], torch.nan)
    close(computed(cell, inputs, memory, lengths=LENGTHS), wanted)


@every_case
def test_rows_are_the_elements_that_they_name(name: str) -> None:
    cell = make(name, dropout=0.5).train()
    bound = cell.bind(normal(PLACES, BATCH, MEMORY), SOURCE_LENGTHS)
    index = torch.tensor([2, 2, 0, 1, 0])
    inputs, state = normal(TIME, BATCH, INPUT, seed=2), begun(bound)
    several = bound.rows(index)
    assert bound.rows(index.clone()) is several
    got, final = scan(several, inputs[:, index], map_state(lambda part: part[index], state))
    wanted, end = scan(bound, inputs, state)
    equal(got, wanted[:, index])
    for a, b in zip(tensors(final), tensors(end), strict=True):
        equal(a, b[index])


def test_masks_between_cells_stay_for_a_sequence_and_change_with_the_seed() -> None:
    """What goes up is thinned by one mask at all steps: units that are dropped reach no output."""
    torch.manual_seed(5)
    cells = [ElmanCell(INPUT, 8), ElmanCell(8, HIDDEN, nonlinearity="identity", recurrent_bias=False)]
    cell = AttentionCell(cells, ATTENTIONS["dot"](HIDDEN, MEMORY), order="bahdanau", dropout=0.5).double()
    memory = normal(PLACES, BATCH, MEMORY)
    kept = []
    for seed in (1, 1, 2):
        cell.reseed(seed)
        below = cells[1].weight_ih
        outputs, _ = scan(cell.bind(memory), normal(TIME, BATCH, INPUT, seed=2))
        (gradient,) = torch.autograd.grad(outputs[:, 0].sum(), below)
        kept.append((gradient != 0).any(0))
    assert torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[0], kept[2])
    assert 0 < int(kept[0].sum()) < 8


def test_what_does_not_fit_is_told() -> None:
    cells, dot = [ElmanCell(INPUT, HIDDEN)], ATTENTIONS["dot"](HIDDEN, MEMORY)
    with pytest.raises(ConfigError, match="order must be one of luong, bahdanau, got 'both'"):
        AttentionCell(cells, dot, order="both")
    with pytest.raises(ShapeError, match="queries of size 3, the last cell gives 4"):
        AttentionCell([ElmanCell(INPUT, 4)], dot)
    with pytest.raises(ShapeError, match="bind it to a memory before it runs"):
        scan(AttentionCell(cells, dot), torch.zeros(1, 1, INPUT))
    with pytest.raises(ShapeError, match="element 1 of the memory has no place"):
        AttentionCell(cells, dot).bind(torch.zeros(2, 2, MEMORY), torch.tensor([1, 0]))
