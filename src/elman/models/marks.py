"""Whether a parameter is still what something was made of, such as weights that were laid out for a search.

torch counts what changes a tensor in its version, but not all: its fused optimizers, and whoever writes
through `.data` or a NumPy view, leave no trace. So a mark has some of the numbers too, spread over the whole
parameter, all of them where they are few; and a parameter that has a gradient is being trained, and is never
taken for what it was. What escapes is a change of single numbers behind torch's back.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

SAMPLE = 64
"""Numbers of a parameter that are looked at."""


class Mark(NamedTuple):
    """Where a parameter lies, which of its states that is, and some of its numbers."""

    address: int
    version: int
    shape: torch.Size
    numbers: Tensor


def mark(parameter: Tensor) -> Mark:
    """The mark of a parameter as it is now."""
    return Mark(*_state(parameter), _sample(parameter).clone())


def unchanged(parameter: Tensor, marked: Mark) -> bool:
    """Whether it is what it was when it was marked, as far as can be told."""
    return (
        parameter.grad is None
        and _state(parameter) == marked[:3]
        and parameter.dtype == marked.numbers.dtype
        and torch.equal(_sample(parameter), marked.numbers)
    )


def all_unchanged(parameters: Iterable[Tensor], marks: tuple[Mark, ...]) -> bool:
    """`unchanged` of each."""
    now = tuple(parameters)
    return len(now) == len(marks) and all(map(unchanged, now, marks))


def _state(parameter: Tensor) -> tuple[int, int, torch.Size]:
    version = 0 if parameter.is_inference() else parameter._version
    return parameter.data_ptr(), version, parameter.shape


def _sample(parameter: Tensor) -> Tensor:
    flat = parameter.detach().reshape(-1)
    return flat[:: max(1, -(-len(flat) // SAMPLE))]
