"""What the one conformance suite runs over: every cell with every set of options, and ways to compare runs.

A new cell in elman.cells.CELLS is in the suite without a line here; give it its sets of options in OPTIONS.
Everything is float64 and small. Shapes: T time, N batch, C input, H hidden.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

import contract_cells
from elman.cells import CELLS, Cell, ElmanCell, GRUCell, LSTMCell, Stack, State, map_state
from elman.scan import choose, scan

INPUT, HIDDEN = 2, 3

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "elman": [
        {"nonlinearity": "tanh"},
        {"nonlinearity": "relu"},
        {"nonlinearity": "sigmoid"},
        {"nonlinearity": "identity"},
        {"bias": False},
        {"recurrent_bias": False},
    ],
    "gru": [
        {},
        {"update": "write"},
        {"reset": "before"},
        {"reset": "before", "update": "write"},
        {"bias": False},
        {"recurrent_bias": False},
        {"reset": "before", "recurrent_bias": False},
    ],
    "lstm": [
        {},
        {"bias": False},
        {"recurrent_bias": False},
        {"forget_bias": 1.0},
        {"peepholes": True},
        {"projection": 2},
        {"projection": 2, "peepholes": True, "bias": False},
    ],
    "layer_norm_lstm": [{"epsilon": 1e-2}],
}

CONTRACT: tuple[type[Cell], ...] = (
    contract_cells.TwoProducts,
    contract_cells.NormLSTM,
    contract_cells.Jordan,
    contract_cells.Plain,
    contract_cells.LearnedStart,
    contract_cells.Memory,
)


def stacks() -> dict[str, Callable[[], Cell]]:
    """Stacks with dropout everywhere, of torch's cells, of all kinds, residual, and in each other."""
    odds = {"dropout": 0.4, "dropout_in": 0.3, "dropout_out": 0.2, "seed": 5}
    return {
        "stack of one": lambda: Stack([GRUCell(INPUT, HIDDEN)]),
        "stack of torch's": lambda: Stack([LSTMCell(INPUT, 4, projection=3), ElmanCell(3, HIDDEN)], **odds),
        "stack of kinds": lambda: Stack(
            [
                GRUCell(INPUT, HIDDEN, reset="before"),
                contract_cells.Plain(HIDDEN, HIDDEN),
                contract_cells.LearnedStart(HIDDEN, HIDDEN),
                LSTMCell(HIDDEN, HIDDEN, peepholes=True),
            ],
            residual=True,
            **odds,
        ),
        "stack of stacks": lambda: Stack(
            [Stack([GRUCell(INPUT, HIDDEN)], dropout_out=0.5), Stack([ElmanCell(HIDDEN, HIDDEN)], **odds)],
            residual=True,
            dropout=0.3,
        ),
    }


def named(name: str, options: dict[str, Any]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in options.items())])


CASES: dict[str, Callable[[], Cell]] = {
    named(name, options): lambda kind=kind, options=options: kind(INPUT, HIDDEN, **options)
    for name, kind in CELLS.items()
    for options in OPTIONS.get(name, [{}])
}
CASES |= {kind.__name__: lambda kind=kind: kind(INPUT, HIDDEN) for kind in CONTRACT}
CASES |= stacks()
CASES |= {
    f"decoder {order} {attention}": lambda attention=attention, order=order: contract_cells.Decoding(
        INPUT, HIDDEN, attention=attention, order=order
    )
    for attention, order in (("additive", "luong"), ("general", "bahdanau"), ("location", "bahdanau"))
}


def make(name: str, seed: int = 0) -> Cell:
    """The case's cell in float64, in training mode, with large weights: small ones would hide mistakes."""
    torch.manual_seed(seed)
    cell = CASES[name]().double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(1.5)
    return cell


def paths(cell: Cell) -> tuple[str, ...]:
    """The ways to compute the cell that are worth telling apart."""
    parts = list(cell.modules())
    native = any(choose(part).path == "torch" for part in parts if isinstance(part, Cell))
    return ("reference", "auto") if native else ("reference",)


def tensors(state: State) -> list[Tensor]:
    """The tensors of a state in their order."""
    return [state] if isinstance(state, Tensor) else [leaf for part in state for leaf in tensors(part)]


def random_state(cell: Cell, batch: int, seed: int = 3) -> State:
    """A state that is not the initial one: what two steps of random inputs lead to, as leaves."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(2, batch, cell.input_size, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        _, state = scan(cell, inputs, kernels="reference")
    return leaves(state)


def leaves(state: State) -> State:
    """The same state as new leaves of the graph."""
    return map_state(lambda part: part.detach().clone().requires_grad_(part.is_floating_point()), state)


class Run(NamedTuple):
    """What a computation gives: numbers and gradients."""

    outputs: Tensor
    final: list[Tensor]
    gradients: dict[str, Tensor]
    """Of the inputs, of the initial state's parts, and of the cell's parameters; zero where not reached."""


def measure(
    cell: Cell,
    inputs: Tensor,
    state: State,
    compute: Callable[[Tensor, State], tuple[Tensor, State]],
) -> Run:
    """Runs `compute(inputs, state)` and differentiates a fixed random weighting of all it returns."""
    inputs = inputs.detach().clone().requires_grad_()
    state = leaves(state)
    outputs, final = compute(inputs, state)
    results = [part for part in (outputs, *tensors(final)) if part.is_floating_point()]
    weights = weightings(results)
    loss = sum(((part * w).sum() for part, w in zip(results, weights, strict=True)), torch.zeros(()))
    wanted = {"inputs": inputs}
    wanted |= {f"state {k}": part for k, part in enumerate(tensors(state)) if part.requires_grad}
    wanted |= dict(cell.named_parameters())
    assert isinstance(loss, Tensor)
    if loss.requires_grad:
        found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    else:
        found = [None] * len(wanted)
    gradients = {
        name: torch.zeros_like(part) if gradient is None else gradient
        for (name, part), gradient in zip(wanted.items(), found, strict=True)
    }
    return Run(outputs.detach(), [part.detach() for part in tensors(final)], gradients)


def weightings(parts: Sequence[Tensor]) -> list[Tensor]:
    """Random numbers of each one's shape; the same shape and place always gives the same numbers."""
    return [
        torch.randn(part.shape, generator=torch.Generator().manual_seed(place), dtype=torch.float64)
        for place, part in enumerate(parts)
    ]


def close(a: Run, b: Run, tolerance: float = 1e-12) -> None:
    """All numbers and gradients equal up to rounding."""
    equal(a.outputs, b.outputs, tolerance, "outputs")
    for place, (x, y) in enumerate(zip(a.final, b.final, strict=True)):
        equal(x, y, tolerance, f"final state {place}")
    assert a.gradients.keys() == b.gradients.keys()
    for name, gradient in a.gradients.items():
        equal(gradient, b.gradients[name], tolerance, f"gradient of {name}")


def equal(a: Tensor, b: Tensor, tolerance: float = 1e-12, what: str = "") -> None:
    """Same shape and type, and equal to `tolerance`, relative to the largest number where that is above 1."""
    assert a.shape == b.shape, f"{what}: {tuple(a.shape)} and {tuple(b.shape)}"
    assert a.dtype == b.dtype, f"{what}: {a.dtype} and {b.dtype}"
    if a.numel():
        bound = tolerance * max(1.0, float(b.detach().abs().max())) if b.is_floating_point() else 0
        difference = float((a.detach().double() - b.detach().double()).abs().max())
        assert difference <= bound, f"{what}: differ by {difference:.3g}, at most {bound:.3g}"


def one_by_one(
    cell: Cell,
    inputs: Tensor,
    state: State,
    lengths: Sequence[int],
    run: Callable[[Tensor, State, int], tuple[Tensor, State]],
) -> tuple[Tensor, State]:
    """Each element by itself at its own length: run(inputs (L, 1, C), state of one, n) -> outputs, state.

    Puts the outputs in one padded tensor and the states in one batch.
    """
    columns, finals = [], []
    for n, length in enumerate(lengths):
        own = map_state(lambda part, n=n: part[n : n + 1], state)
        outputs, final = run(inputs[:length, n : n + 1], own, n)
        padding = outputs.new_zeros(inputs.shape[0] - length, 1, cell.output_size)
        columns.append(torch.cat([outputs, padding]))
        finals.append(final)
    return torch.cat(columns, 1), map_state(lambda *parts: torch.cat(parts), finals[0], *finals[1:])
