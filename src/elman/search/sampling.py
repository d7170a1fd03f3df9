"""One symbol after the other, drawn from what the model expects.

    p_k proportional to exp(logits_k / temperature), kept for the top_k likeliest symbols, and of these for
    the fewest whose probabilities add up to at least top_p (Holtzman et al. 2020); the next symbol is the
    inverse of p's cumulative sum at u, u a uniform number that depends on (seed, position, stream) alone.

Shapes: N streams, V vocabulary. logits (N, V), ids (N,) int64.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from elman import counter
from elman.cells import State
from elman.errors import ConfigError

Step = Callable[[Tensor, State], tuple[Tensor, State]]
"""ids (N,), state -> logits (N, V) of the next symbol, state."""


@dataclass(frozen=True)
class Sampling:
    """How to choose. temperature 0 is greedy: the likeliest symbol; 1 is the model's own distribution.

    Raises ConfigError for values out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(
                f"temperature: expected 0 (greedy) or a positive number, got {self.temperature}"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top-k: expected at least 1, got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"top-p: expected more than 0 and at most 1, got {self.top_p}")

    def probabilities(self, logits: Tensor) -> Tensor:
        """logits (N, V) -> probabilities (N, V) float64, those of symbols that may not be chosen zero."""
        logits = logits.double()
        if self.temperature == 0:
            return torch.zeros_like(logits).scatter(1, logits.argmax(1, keepdim=True), 1)
        # The largest becomes 0 before the division: a small temperature must not overflow.
        p = ((logits - logits.amax(1, keepdim=True)) / self.temperature).softmax(1)
        if self.top_k is None and self.top_p is None:
            return p
        ranked, order = p.sort(dim=1, descending=True, stable=True)
        if self.top_k is not None:
            ranked[:, self.top_k :] = 0
        if self.top_p is not None:
            total = ranked.sum(1, keepdim=True)
            before = ranked.cumsum(1) - ranked
            ranked[before >= self.top_p * total] = 0
        kept = torch.zeros_like(p).scatter(1, order, ranked)
        return kept / kept.sum(1, keepdim=True)

    def choose(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """logits (N, V), uniform (N,) in [0, 1) -> ids (N,)."""
        cumulative = self.probabilities(logits).cumsum(1)
        # Scaled to the last sum, which rounding leaves a little off 1; right=True skips zeros.
        place = uniform.double()[:, None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, place, right=True)[:, 0].clamp(max=logits.shape[1] - 1)


def sample(
    step: Step, logits: Tensor, state: State, *, sampling: Sampling, seed: int = 0, start: int = 0
) -> Iterator[tuple[Tensor, Tensor, State]]:
    """Draws symbols without end: yields ids (N,), and the logits (N, V) and state after they were read.

    logits: of the first symbol to draw. start: position of that symbol, to go on with a sequence drawn
    earlier.
    """
    streams = torch.arange(logits.shape[0])
    position = start
    while True:
        ids = sampling.choose(logits, counter.uniform(seed, torch.tensor(position), streams))
        logits, state = step(ids, state)
        yield ids, logits, state
        position += 1
