"""elman.metrics.lengths: bins against sums written out, intervals against the normal law."""

import math
from itertools import pairwise

import numpy as np
import pytest

from elman.errors import ConfigError, ShapeError
from elman.metrics.lengths import even_bounds, score_by_length


def mean(sums: np.ndarray) -> float:
    return float(sums[0] / sums[1])


def test_a_bin_scores_its_own_sentences() -> None:
    lengths = [1, 4, 5, 9, 10, 30]
    statistics = [[2, 1], [4, 1], [10, 1], [20, 1], [7, 1], [100, 1]]
    bins = score_by_length(lengths, statistics, mean, [1, 5, 10, 12, 20], samples=50)
    assert [(b.shortest, b.longest, b.count, b.score) for b in bins[:3]] == [
        (1, 4, 2, 3.0),
        (5, 9, 2, 15.0),
        (10, 11, 1, 7.0),
    ]
    assert (bins[2].low, bins[2].high) == (7.0, 7.0), "a single sentence has no spread"
    assert bins[3].count == 0
    assert math.isnan(bins[3].score)
    assert all(b.low <= b.score <= b.high for b in bins[:3])


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    """1.96 standard errors to either side, for many sentences and samples."""
    values = np.random.default_rng(3).normal(10, 4, 400)
    (found,) = score_by_length(
        [5] * 400, np.stack([values, np.ones(400)], 1), mean, [1, 10], samples=4000, seed=1
    )
    error = values.std() / 20
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_a_seed_repeats_and_another_does_not() -> None:
    table = np.stack([np.arange(50.0), np.ones(50)], 1)
    first, again, other = (
        score_by_length([3] * 50, table, mean, [0, 9], samples=60, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first[0].low != other[0].low


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(ShapeError, match="a row for each of the 2 sentences"):
        score_by_length([1, 2], [[1.0, 1.0]], mean, [1, 5])
    with pytest.raises(ConfigError, match="two or more rising lengths"):
        score_by_length([1], [[1.0, 1.0]], mean, [5, 5])
    with pytest.raises(ConfigError, match="confidence between 0 and 1"):
        score_by_length([1], [[1.0, 1.0]], mean, [1, 5], confidence=1)


def test_even_bounds_hold_as_many_sentences_each() -> None:
    assert even_bounds([5, 1, 2, 6, 3, 4], 3) == [1, 3, 5, 7]
    assert even_bounds([4] * 9, 3) == [4, 5]  # nothing to divide
    sizes = list(range(1, 101)) * 3
    bounds = even_bounds(sizes, 8)
    counts = [sum(low <= size < high for size in sizes) for low, high in pairwise(bounds)]
    assert sum(counts) == 300
    assert max(counts) - min(counts) <= 3
    for lengths, bins, error in (([], 3, ShapeError), ([1], 0, ConfigError)):
        with pytest.raises(error):
            even_bounds(lengths, bins)
