"""A score of a corpus by the length of its sentences, with intervals.

Sentences are put into bins by length. A corpus score such as BLEU is a function of statistics that add up
over sentences, score(sum_i s_i); a bin's is that of its own sentences. The interval is that of the bootstrap
(Efron 1979; for machine translation: Koehn, "Statistical significance tests for machine translation
evaluation", 2004): as many sentences as the bin has are drawn from it with replacement, many times, and the
interval holds the stated part of the scores that come out.

Shapes: n sentences, F statistics. lengths (n,), statistics (n, F).
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from elman import counter
from elman.errors import ConfigError, ShapeError

SAMPLES = 1000
CONFIDENCE = 0.95


class Bin(NamedTuple):
    """Sentences of `shortest` to `longest` symbols; where there are none, score and interval are NaN."""

    shortest: int
    longest: int
    count: int
    score: float
    low: float
    high: float
    confidence: float = CONFIDENCE


def score_by_length(
    lengths: Sequence[int],
    statistics: Sequence[Sequence[float]] | np.ndarray,
    score: Callable[[np.ndarray], float],
    bounds: Sequence[int],
    *,
    samples: int = SAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> list[Bin]:
    """The score in each bin [b_0, b_1), [b_1, b_2), .. of bounds b, and its interval.

    score: a sum of statistics (F,) -> the figure. A sentence outside all bins counts in none. The same seed
    gives the same intervals.

    Raises ShapeError where lengths and statistics do not fit, ConfigError for bounds that do not rise, no
    samples, or a confidence outside (0, 1).
    """
    table = np.asarray(statistics, dtype=np.float64)
    if table.ndim != 2 or len(table) != len(lengths):
        raise ShapeError(
            f"statistics: expected a row for each of the {len(lengths)} sentences, got shape {table.shape}"
        )
    if len(bounds) < 2 or any(a >= b for a, b in pairwise(bounds)):
        raise ConfigError(f"bounds: expected two or more rising lengths, got {list(bounds)}")
    if samples < 1 or not 0 < confidence < 1:
        raise ConfigError(
            f"expected at least 1 sample and a confidence between 0 and 1, got samples={samples}, "
            f"confidence={confidence}"
        )
    found, size = [], np.asarray(lengths)
    for place, (low, high) in enumerate(pairwise(bounds)):
        rows = table[(size >= low) & (size < high)]
        value, interval = math.nan, (math.nan, math.nan)
        if len(rows):
            value = float(score(rows.sum(0)))
            interval = _interval(rows, score, samples, confidence, counter.child(seed, place))
        found.append(Bin(low, high - 1, len(rows), value, *interval, confidence))
    return found


def even_bounds(lengths: Sequence[int], bins: int = 8) -> list[int]:
    """Bounds of at most so many bins, each with about as many sentences as the others.

    Raises ShapeError for no lengths, ConfigError for no bins.
    """
    if not len(lengths):
        raise ShapeError("lengths: expected at least one sentence, got none")
    if bins < 1:
        raise ConfigError(f"bins: expected at least 1, got {bins}")
    size = np.sort(np.asarray(lengths))
    cuts = [int(size[len(size) * place // bins]) for place in range(bins)]
    return sorted({*cuts, int(size[-1]) + 1})


def _interval(
    rows: np.ndarray, score: Callable[[np.ndarray], float], samples: int, confidence: float, seed: int
) -> tuple[float, float]:
    count = len(rows)
    scores = []
    for sample in torch.arange(samples):  # one by one: all together are as large as a corpus a thousand times
        # In float64: count * uniform of 24 bits is below count, and each row as likely as the grid allows.
        drawn = counter.uniform(seed, sample, torch.arange(count)).double().numpy()
        scores.append(float(score(rows[(drawn * count).astype(np.int64)].sum(0))))
    low, high = np.quantile(scores, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
