"""Lattices by enumeration: every path in turn, in float64 and Python, for grids that can be written down."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def log_sum(scores: Sequence[float]) -> float:
    highest = max(scores, default=-math.inf)
    return (
        highest + math.log(math.fsum(math.exp(s - highest) for s in scores))
        if highest > -math.inf
        else -math.inf
    )


def chain_paths(
    emissions: Array, transitions: Array, start: Array, end: Array
) -> list[tuple[float, tuple[int, ...]]]:
    """(score, path) of each; emissions (T, S), transitions (T - 1, S, S): from the row to the column."""
    time, states = emissions.shape
    found = []
    for path in itertools.product(range(states), repeat=time):
        score = sum(emissions[t, s] for t, s in enumerate(path))
        score += sum(transitions[t - 1, path[t - 1], path[t]] for t in range(1, time))
        if path:
            score += start[path[0]] + end[path[-1]]
        found.append((float(score), path))
    return found


def collapse(path: Sequence[int]) -> tuple[int, ...]:
    """CTC's B: repeats once, then no blanks."""
    return tuple(label for label, _ in itertools.groupby(path) if label != 0)


def ctc_paths(log_probs: Array, target: Sequence[int]) -> list[tuple[float, tuple[int, ...]]]:
    """(ln p, path) of each of the C^T label paths that collapse to the target; log_probs (T, C)."""
    time, classes = log_probs.shape
    paths = itertools.product(range(classes), repeat=time)
    return [
        (math.fsum(log_probs[t, c] for t, c in enumerate(path)), path)
        for path in paths
        if collapse(path) == tuple(target)
    ]
