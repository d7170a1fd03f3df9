"""Beam search: the likeliest sequences under a step function.

    score(s_1 .. s_L) = sum_t ln p(s_t | s_<t) / L^alpha

Kept are the `beam` best unfinished sequences of each length; one that ends in a stop symbol, or reaches the
length limit, is finished. With a beam no smaller than the number of sequences of any length the search is
exhaustive.
Shapes: K beam, V vocabulary. logits (1, V) at the start, (K, V) after.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from elman.cells import State, map_state
from elman.errors import ConfigError
from elman.search.sampling import Step


@dataclass(frozen=True)
class Hypothesis:
    """A sequence of ids with its score; `stopped` is True where it ended by a stop symbol."""

    ids: tuple[int, ...]
    log_prob: float
    score: float
    stopped: bool


def beam_search(
    step: Step,
    logits: Tensor,
    state: State,
    *,
    length: int,
    best: int = 1,
    beam: int | None = None,
    stop: Collection[int] = (),
    alpha: float = 0.0,
) -> list[Hypothesis]:
    """The `best` sequences of at most `length` symbols, best first; ties by ids.

    logits (1, V): of the first symbol; state: of one stream. beam: K, by default 4 `best`, at least 8.
    Raises ConfigError for sizes out of range.
    """
    beam = max(8, 4 * best) if beam is None else beam
    if length < 1 or best < 1 or beam < best or alpha < 0:
        raise ConfigError(
            f"beam search: expected length and best of at least 1, a beam of at least best, and alpha of at "
            f"least 0, got length={length}, best={best}, beam={beam}, alpha={alpha}"
        )
    vocabulary = logits.shape[1]
    stops = torch.zeros(vocabulary, dtype=torch.bool)
    stops[list(stop)] = True
    finished: list[Hypothesis] = []
    prefixes: list[tuple[int, ...]] = [()]
    scores = torch.zeros(1, dtype=torch.float64)
    for size in range(1, length + 1):
        extended = scores[:, None] + logits.double().log_softmax(1)
        last = size == length
        ends = extended if last else extended[:, stops]
        end_ids = torch.arange(vocabulary) if last else stops.nonzero()[:, 0]
        for value, place in zip(*ends.flatten().topk(min(best, ends.numel())), strict=True):
            row, column = divmod(int(place), len(end_ids))
            index = int(end_ids[column])
            log_prob = float(value)
            ids = (*prefixes[row], index)
            finished.append(Hypothesis(ids, log_prob, log_prob / size**alpha, bool(stops[index])))
        finished = sorted(finished, key=lambda h: (-h.score, h.ids))[:best]
        if last:
            break
        extended[:, stops] = -torch.inf
        scores, places = extended.flatten().topk(min(beam, extended.shape[0] * int((~stops).sum())))
        # Without length normalisation a longer sequence is never likelier than its beginning.
        if not len(scores) or (
            alpha == 0 and len(finished) == best and finished[-1].score >= float(scores[0])
        ):
            break
        rows, ids = places // vocabulary, places % vocabulary
        prefixes = [(*prefixes[int(row)], int(index)) for row, index in zip(rows, ids, strict=True)]
        logits, state = step(ids, map_state(lambda part, rows=rows: part[rows], state))
    return finished
