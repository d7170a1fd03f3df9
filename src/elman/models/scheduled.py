"""Scheduled sampling: a decoder that is fed its own symbols at times, while it learns.

    at each step, with probability e the true last symbol is read, else one drawn from the model's own p(y_t)

Bengio, Vinyals, Jaitly and Shazeer, "Scheduled sampling for sequence prediction with recurrent neural
networks", 2015. No gradient goes through a draw. `teaching` is how e falls with the updates, `rate_of` the
rate with which it has fallen to a half after so many.
Shapes: T time, N batch, E embedding; inputs (T, N, 1), the true ids as numbers, which are exact up to 2^24.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from elman import counter
from elman.cells import Cell, State, map_state
from elman.cells.base import Record
from elman.errors import ConfigError

SCHEDULES = ("linear", "exponential", "sigmoid")


def teaching(update: int, schedule: str, rate: float, least: float = 0.0) -> float:
    """e at update 0, 1, ...; never below `least`.

    linear 1 - rate u; exponential rate^u; sigmoid k / (k + exp(u / k)) with k = `rate`. Raises ConfigError
    for another schedule and a rate out of range.
    """
    if schedule not in SCHEDULES:
        raise ConfigError(f"teaching: expected one of {', '.join(SCHEDULES)}, got {schedule!r}")
    if schedule == "sigmoid":
        if rate < 1:
            raise ConfigError(f"teaching: the sigmoid's rate k must be at least 1, got {rate}")
        return max(least, rate / (rate + math.exp(min(update / rate, 700.0))))
    if not 0 <= rate <= 1:
        raise ConfigError(f"teaching: expected a rate from 0 to 1, got {rate}")
    return max(least, 1 - rate * update if schedule == "linear" else rate**update)


def rate_of(schedule: str, half: int) -> float:
    """The rate of `teaching` with which e = 1/2 at update `half`, at least 1; ConfigError as there.

    sigmoid: k ln k = half, by Newton's method from above.
    """
    if schedule not in SCHEDULES or half < 1:
        raise ConfigError(
            f"teaching: expected one of {', '.join(SCHEDULES)} and a half of at least 1, got {schedule!r} and"
            f" {half}"
        )
    if schedule == "linear":
        return 0.5 / half
    if schedule == "exponential":
        return 0.5 ** (1 / half)
    k = half + math.e
    for _ in range(50):
        k -= (k * math.log(k) - half) / (math.log(k) + 1)
    return k


class ScheduledState(NamedTuple):
    """cell: the decoder's; drawn (N, 1): its last own symbol; step (N, 1): how many there have been."""

    cell: State
    drawn: Tensor
    step: Tensor


class ScheduledCell(Cell):
    """A decoder over the symbols that it is told or draws itself.

    embed: ids (N,), steps (N,) -> x (N, E). predict: output, x, what the decoder recorded -> logits (N, V).
    Draws are a function of (seed, element, step). Records what the decoder records, "embedded", x (N, E), and
    "told", whether the true symbol was read, (N,).
    """

    def __init__(
        self,
        cell: Cell,
        embed: Callable[[Tensor, Tensor], Tensor],
        predict: Callable[[Tensor, Tensor, Record], Tensor],
        *,
        probability: float,
        seed: int,
    ) -> None:
        super().__init__(1, cell.hidden_size)
        self.cell = cell
        self.records = (*cell.records, "embedded", "told")
        self.probability = probability
        self._embed, self._predict = embed, predict
        self._coin, self._draw = counter.child(seed, 0), counter.child(seed, 1)

    @property
    def output_size(self) -> int:
        return self.cell.output_size

    def initial_state(self, batch_size: int) -> ScheduledState:
        return ScheduledState(
            self.cell.initial_state(batch_size), self.zeros(batch_size, 1), self.zeros(batch_size, 1)
        )

    def step(
        self, x: Tensor, state: ScheduledState, record: Record | None = None
    ) -> tuple[Tensor, ScheduledState]:
        elements, steps = torch.arange(len(x), device=x.device), state.step[:, 0].long()
        told = (counter.uniform(self._coin, elements, steps) < self.probability) | (steps == 0)
        ids = torch.where(told, x[:, 0], state.drawn[:, 0]).long()
        embedded = self._embed(ids, steps)
        prepared = map_state(lambda part: part[0], self.cell.prepare(embedded[None]))
        shown: Record = {}
        if self.cell.records:
            output, inner = self.cell.step(prepared, state.cell, shown)
        else:
            output, inner = self.cell.step(prepared, state.cell)
        with torch.no_grad():
            drawn = self._drawn(self._predict(output, embedded, shown), elements, steps)
        if record is not None:
            record.update(shown, embedded=embedded, told=told)
        return output, ScheduledState(inner, drawn[:, None].to(x.dtype), state.step + 1)

    def _drawn(self, logits: Tensor, elements: Tensor, steps: Tensor) -> Tensor:
        """A symbol for each element from softmax(logits), in float64 so that none of probability zero is."""
        reached = logits.double().softmax(-1).cumsum(-1)
        level = counter.uniform(self._draw, elements, steps)[:, None] * reached[:, -1:]
        return torch.searchsorted(reached, level, right=True)[:, 0]
