"""One symbol after the other, drawn from what the model expects.

    p_k proportional to exp(logits_k / temperature), kept for the top_k likeliest symbols, and of these for
    the fewest whose probabilities add up to at least top_p (Holtzman et al. 2020); the next symbol is the
    inverse of p's cumulative sum at u, u a uniform number that depends on (seed, position, stream) alone.

Shapes: N streams, or sources; V vocabulary, S source positions. logits (N, V), ids (N,) int64.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from elman import counter
from elman.cells import State, map_state
from elman.errors import ConfigError, ShapeError
from elman.search.hypothesis import Hypothesis, Trail

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
        if self.temperature == 0:
            return logits.argmax(1)  # what the rest would find, without adding up one and many zeros
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


@torch.no_grad()
def sample_sequences(
    step: Step,
    logits: Tensor,
    state: State,
    *,
    length: int | Tensor,
    sampling: Sampling,
    samples: int = 1,
    stop: Collection[int] = (),
    seed: int = 0,
    sources: Tensor | None = None,
    attention: Callable[[State], Tensor | None] | None = None,
    source_lengths: Tensor | None = None,
) -> list[list[Hypothesis]]:
    """For each of N sources `samples` sequences, drawn until a stop symbol or to `length` (one, or (N,)).

    logits (N, V): of the first symbol; state: of N rows, repeated along the first axis of its tensors; rows
    that have ended leave the batch. A draw is a function of (seed, position, source, sample), the source by
    its number in `sources` (N,), 0 to N - 1 by default: what a source gives does not depend on the others.
    log_prob and score are under the model itself, at temperature 1. attention, source_lengths: as in
    `beam_search`. Raises ConfigError for sizes out of range, ShapeError where lengths are not (N,) integers.
    """
    limits = limits_of(length, logits)
    if samples < 1 or (len(limits) and int(limits.min()) < 1):
        raise ConfigError(
            f"sample: expected samples and length of at least 1, got samples={samples}, length={length}"
        )
    device = limits.device
    owner = torch.arange(len(limits), device=device).repeat_interleave(samples)
    numbers = torch.arange(samples, device=device).repeat(len(limits))
    names = owner if sources is None else sources.to(device)[owner]
    live, ends, stops = torch.arange(len(owner), device=device), limits[owner], torch.tensor(sorted(stop))
    totals = torch.zeros(len(owner), dtype=torch.float64, device=device)
    logits, state = logits[owner], map_state(lambda part: part.index_select(0, owner), state)
    trail, time, ended = Trail(), 0, []
    while len(live):
        places = {row: place for place, row in enumerate(live.tolist())}
        trail.look(None if attention is None else attention(state), places, 1)
        ids = sampling.choose(logits, counter.uniform(seed, torch.tensor(time), names[live], numbers[live]))
        totals[live] += logits.double().log_softmax(1).gather(1, ids[:, None])[:, 0]
        trail.append(torch.zeros_like(ids)[:, None], ids[:, None])
        done = torch.isin(ids, stops.to(ids)) | (ends[live] == time + 1)
        ended += [(row, time, last) for row, last in torch.stack([live, ids], 1)[done].tolist()]
        left, time = (~done).nonzero()[:, 0], time + 1
        live, ids = live[left], ids[left]
        if len(live):
            kept = map_state(lambda part, left=left: part.index_select(0, left), state)
            logits, state = step(ids, kept)
    found: list[list[Hypothesis]] = [[] for _ in range(len(limits))]
    for row, end, last in sorted(ended):
        total, source = float(totals[row]), row // samples
        sequence, rows = trail.ids(row, end, 0, last)
        size = None if source_lengths is None else int(source_lengths[source])
        found[source].append(
            Hypothesis(sequence, total, total, last in stop, trail.attention(row, rows, size))
        )
    return found


def limits_of(length: int | Tensor, logits: Tensor) -> Tensor:
    """(N,) from one limit or N; ShapeError where it is neither."""
    n, device = len(logits), logits.device
    limits = length.to(device) if isinstance(length, Tensor) else torch.full((n,), length, device=device)
    if limits.shape != (n,) or limits.is_floating_point():
        raise ShapeError(
            f"length: expected an integer or ({n},) of them, got {tuple(limits.shape)} of {limits.dtype}"
        )
    return limits
