"""What a cell is: one step of a recurrence in plain torch, and the little that surrounds it.

Shapes: T time, N batch, C input, H hidden. A state is a NamedTuple of tensors (N, ...), or a NamedTuple of
states, with the letters of the equations.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from elman.errors import ShapeError
from elman.padded import expand_to
from elman.tokens import Tokens

State = Any
"""A Tensor (N, ...) or a (named) tuple of states."""

Record = dict[str, Tensor]
"""Where a step leaves the intermediates that it was asked to show, by name."""


def map_state(function: Callable[..., Tensor], state: State, *others: State) -> State:
    """Applies `function` to the tensors that stand at the same place of each state; the structure stays."""
    if not isinstance(state, tuple):
        return function(state, *others)
    parts = [map_state(function, *parts) for parts in zip(state, *others, strict=True)]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def detach(state: State) -> State:
    """The same numbers without their history: where truncated BPTT cuts."""
    return map_state(Tensor.detach, state)


def where_state(condition: Tensor, state: State, other: State) -> State:
    """Takes elements n of `state` where `condition` (N,) is True and of `other` where it is False."""
    return map_state(lambda a, b: torch.where(expand_to(condition, a), a, b), state, other)


class Cell(nn.Module, ABC):
    """One step of a recurrence: x_t, state -> output, state.

    `step` is the only definition of the equations. What needs no state is done for all time at once in
    `prepare`; `elman.scan` slices what it returns (a tensor (T, N, ...), or a tuple of them) along time and
    hands each slice to `step`. A cell may do any number of products, normalise rows, or feed outputs back
    through its state. A user's cell needs the two sizes, `initial_state` and `step`, no more.

        class Leaky(Cell):
            def __init__(self, input_size, hidden_size):
                super().__init__(input_size, hidden_size)
                self.weight_ih = nn.Parameter(torch.randn(hidden_size, input_size) / input_size**0.5)

            def initial_state(self, batch_size):
                return self.zeros(batch_size, self.hidden_size)

            def prepare(self, inputs):
                return inputs @ self.weight_ih.T

            def step(self, x, state, record=None):
                h = 0.9 * state + 0.1 * torch.tanh(x)
                return h, h
    """

    records: tuple[str, ...] = ()
    """Names of the intermediates that `step` leaves in `record`; a step that has none need not take it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if size < 1:
                raise ShapeError(f"{type(self).__name__}: {name} must be at least 1, got {size}")
        self.input_size = input_size
        self.hidden_size = hidden_size

    @property
    def output_size(self) -> int:
        """Size of an output's last axis."""
        return self.hidden_size

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """The state before the first step, for `batch_size` elements."""

    def prepare(self, inputs: Tensor) -> Any:
        """The part of the equations without state: inputs (T, N, C) -> (T, N, ...) or a tuple of such.

        What comes out at a position depends on the input there alone: `scan` prepares a sequence in chunks,
        and the symbols of Tokens once each, as (V, 1, C), whatever their order and places.
        """
        return inputs

    @abstractmethod
    def step(self, x: Any, state: State, record: Record | None = None) -> tuple[Tensor, State]:
        """One step: x, a slice (N, ...) of what `prepare` returned -> output (N, output_size), state.

        Where `record` is given, the step leaves its intermediates there under the names in `records`.
        """

    def reset_parameters(self) -> None:
        """Draws every parameter from U(-1/sqrt(H), 1/sqrt(H)), in order of registration, as torch does."""
        bound = 1 / math.sqrt(self.hidden_size)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-bound, bound)

    def reset(self, state: State, where: Tensor) -> State:
        """The initial state for the elements where `where` (N,) is True, the given state for the others."""
        return where_state(where, self.initial_state(len(where)), state)

    def zeros(self, batch_size: int, size: int) -> Tensor:
        """(batch_size, size) of zeros, of the type and on the device of the cell's parameters."""
        like = next(self.parameters(), torch.empty(0))
        return torch.zeros(batch_size, size, dtype=like.dtype, device=like.device)


class Combinator(Cell):
    """A cell made of cells, which can also say what it does in terms of whole sequences.

    `step` remains the definition; `whole` is the same computation with every inner cell run over all time
    before the next one begins, which is possible where nothing is fed back from a later cell to an earlier
    one.
    """

    @abstractmethod
    def whole(
        self,
        run: Callable[[Cell, Any, State], tuple[Tensor, State]],
        inputs: Tensor | Tokens,
        state: State,
        lengths: Tensor | None,
    ) -> tuple[Tensor, State]:
        """`step` over all time: inputs (T, N, C) or Tokens, state -> outputs (T, N, output_size), last state.

        run(cell, inputs, state) runs an inner cell over all time; lengths (N,) or None where all are T.
        Inputs and what `run` returns are zero past an element's end.
        """


def gate_weights(
    cell: Cell, gates: int, bias: bool, recurrent_bias: bool, recurrent_size: int | None = None
) -> None:
    """Gives a cell torch's four parameters with its `gates` stacked on the first axis.

    weight_ih (G H, C), weight_hh (G H, R), bias_ih (G H), bias_hh (G H); R is `recurrent_size` or H. A bias
    that is not wanted is registered as None. The values are for `reset_parameters` to draw.
    """
    rows = gates * cell.hidden_size
    sizes: dict[str, tuple[int, ...] | None] = {
        "weight_ih": (rows, cell.input_size),
        "weight_hh": (rows, recurrent_size or cell.hidden_size),
        "bias_ih": (rows,) if bias else None,
        "bias_hh": (rows,) if bias and recurrent_bias else None,
    }
    for name, size in sizes.items():
        cell.register_parameter(name, None if size is None else nn.Parameter(torch.empty(size)))
