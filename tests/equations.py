"""A cell against its equations in NumPy: outputs, last states, intermediates, by the loops of `oracles`."""

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

import oracles
from conformance import paths, random_state, tensors
from elman.cells import Cell
from elman.scan import scan

TOLERANCE = 1e-13


@st.composite
def situations(draw: st.DrawFn) -> dict[str, Any]:
    """T, lengths, direction and resets: arguments for `check`."""
    time = draw(st.integers(1, 5))
    batch = draw(st.integers(1, 3))
    flags = st.lists(st.booleans(), min_size=batch, max_size=batch)
    return {
        "time": time,
        "lengths": draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch).filter(any)),
        "reverse": draw(st.booleans()),
        "resets": draw(st.none() | st.lists(flags, min_size=time, max_size=time)),
    }


def arrays(cell: Cell) -> dict[str, oracles.Array]:
    return {name: parameter.detach().numpy() for name, parameter in cell.named_parameters()}


def check(
    cell: Cell,
    step: oracles.Step,
    *,
    time: int,
    lengths: list[int],
    reverse: bool,
    resets: list[list[bool]] | None,
) -> None:
    """Asserts that scan gives, on every path and for all records, what `step` gives."""
    batch = len(lengths)
    generator = torch.Generator().manual_seed(time * 7 + batch)
    inputs = torch.randn(time, batch, cell.input_size, generator=generator, dtype=torch.float64)
    state = random_state(cell, batch)
    start = [tuple(part[n].detach().numpy() for part in tensors(state)) for n in range(batch)]
    flags = None if resets is None else np.array(resets)
    outputs, finals, shown = oracles.over_time(
        step, arrays(cell), inputs.numpy(), start, lengths=lengths, reverse=reverse, resets=flags
    )
    options = {
        "lengths": torch.tensor(lengths),
        "reverse": reverse,
        "resets": None if resets is None else torch.tensor(resets),
    }
    for path in paths(cell):
        got, final = scan(cell, inputs, state, kernels=path, **options)
        same(got, outputs)
        for k, part in enumerate(tensors(final)):
            same(part, np.stack([vectors[k] for vectors in finals]))
    got, _, recorded = scan(cell, inputs, state, record=cell.records, **options)
    same(got, outputs)
    assert set(recorded) == set(shown)
    for name, values in recorded.items():
        same(values, shown[name])


def same(got: Tensor, wanted: oracles.Array) -> None:
    np.testing.assert_allclose(got.detach().numpy(), wanted, rtol=TOLERANCE, atol=TOLERANCE)
