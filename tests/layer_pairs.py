"""A layer of torch.nn beside ours with the same weights, and what is compared between them."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from elman import layers

INPUT, HIDDEN = 3, 4
SIZES = [5, 2, 7, 1, 5]
TIME, BATCH = 7, len(SIZES)
LENGTHS = torch.tensor(SIZES)

Layer = Any
"""torch's module or ours: torch has no types for parameters by name."""

Compute = Callable[[Layer, Tensor, Any], tuple[Tensor, Any]]

KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "RNN": (nn.RNN, layers.RNN, {}),
    "RNN relu": (nn.RNN, layers.RNN, {"nonlinearity": "relu"}),
    "LSTM": (nn.LSTM, layers.LSTM, {}),
    "LSTM projected": (nn.LSTM, layers.LSTM, {"proj_size": 2}),
    "GRU": (nn.GRU, layers.GRU, {}),
}
every_kind = pytest.mark.parametrize("kind", list(KINDS))
every_shape = pytest.mark.parametrize(("depth", "both"), list(product((1, 2, 3), (False, True))))


def pair(
    kind: str,
    input_size: int = INPUT,
    hidden: int = HIDDEN,
    depth: int = 1,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> tuple[Layer, Layer]:
    """torch's layer and ours with the same weights."""
    theirs, ours, own = KINDS[kind]
    torch.manual_seed(0)
    reference = theirs(input_size, hidden, depth, dtype=dtype, **own, **options)
    made = ours(input_size, hidden, depth, dtype=dtype, **own, **options)
    made.load_state_dict(reference.state_dict(), strict=True)
    return reference, made


def inputs(time: int = TIME, batch: int = BATCH, size: int = INPUT, seed: int = 1) -> Tensor:
    return torch.randn(time, batch, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def start(layer: Layer, batch: int = BATCH) -> Any:
    """A random initial state in torch's form, for `layer`, as leaves."""
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    width = getattr(layer, "proj_size", 0) or layer.hidden_size
    generator = torch.Generator().manual_seed(2)
    h = torch.randn(rows, batch, width, generator=generator, dtype=torch.float64).requires_grad_()
    if not isinstance(layer, (nn.LSTM, layers.LSTM)):
        return h
    c = torch.randn(rows, batch, layer.hidden_size, generator=generator, dtype=torch.float64)
    return h, c.requires_grad_()


def parts(state: Any) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def plainly(layer: Layer, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    return layer(x, state)


def packed(layer: Layer, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    return pack_by(LENGTHS)(layer, x, state)


def pack_by(lengths: Tensor) -> Compute:
    """Through a PackedSequence and back: how torch's layers take lengths."""

    def compute(layer: Layer, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        first = layer.batch_first
        time = x.shape[1 if first else 0]
        pack = pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False)
        outputs, final = layer(pack, state)
        return pad_packed_sequence(outputs, batch_first=first, total_length=time)[0], final

    return compute


def by_lengths(lengths: Tensor = LENGTHS) -> Compute:
    """By the argument that ours have."""
    return lambda layer, x, state: layer(x, state, lengths=lengths)


def weighting(like: Tensor, place: int) -> Tensor:
    """Random numbers for a part of a result: the same for equal shapes and places, in every type."""
    generator = torch.Generator().manual_seed(place)
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.dtype)


def find(layer: Layer, compute: Compute, x: Tensor, state: Any) -> dict[str, Tensor]:
    """Outputs, final state, and the gradients of a fixed weighting of them, by name."""
    x = x.detach().clone().requires_grad_()
    outputs, final = compute(layer, x, state)
    results = {"outputs": outputs} | {f"final {k}": part for k, part in enumerate(parts(final))}
    terms = [(part * weighting(part, place)).sum() for place, part in enumerate(results.values())]
    wanted = {"x": x, **dict(layer.named_parameters())}
    wanted |= {f"state {k}": part for k, part in enumerate(() if state is None else parts(state))}
    slopes = torch.autograd.grad(torch.stack(terms).sum(), list(wanted.values()))
    found = {name: part.detach() for name, part in results.items()}
    return found | {f"gradient of {name}": slope for name, slope in zip(wanted, slopes, strict=True)}


def close(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = 1e-12) -> None:
    """Every number within `tolerance`, and the names and shapes the same."""
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert value.shape == wanted[name].shape, name
        difference = float((value - wanted[name]).abs().max())
        assert difference <= tolerance, f"{name}: differs by {difference:.3g}"
