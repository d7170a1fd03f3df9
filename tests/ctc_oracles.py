"""CTC by enumeration: every alignment of a short input, in float64.

logits (T, C) -> the probability of each labelling, or the score of each sentence of a lexicon.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Labelling = tuple[int, ...]


def probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def collapse(path: Sequence[int]) -> Labelling:
    return tuple(c for t, c in enumerate(path) if c and (t == 0 or path[t - 1] != c))


@cache
def paths(time: int, classes: int) -> NDArray[np.int64]:
    """All paths, (C^T, T)."""
    return np.array(list(itertools.product(range(classes), repeat=time)), dtype=np.int64).reshape(-1, time)


@cache
def collapsed(time: int, classes: int) -> tuple[list[Labelling], NDArray[np.int64]]:
    """The labellings of all paths, each once, and which of them each path is of."""
    places: dict[Labelling, int] = {}
    index = [places.setdefault(collapse(path), len(places)) for path in paths(time, classes).tolist()]
    return list(places), np.array(index)


def labellings(logits: NDArray[np.float64]) -> dict[Labelling, float]:
    """The probability of every labelling that any alignment has."""
    time, classes = logits.shape
    y = probabilities(logits) if time else np.zeros((0, classes))
    each = y[np.arange(time), paths(time, classes)].prod(1)
    known, index = collapsed(time, classes)
    sums = np.bincount(index, weights=each, minlength=len(known))
    return dict(zip(known, sums.tolist(), strict=True))


def best_alignment(logits: NDArray[np.float64], labelling: Labelling) -> tuple[int, ...]:
    """The likeliest path of a labelling."""
    y = probabilities(logits)
    wanted = [path for path in paths(*logits.shape).tolist() if collapse(path) == labelling]
    return tuple(max(wanted, key=lambda path: math.prod(float(y[t, c]) for t, c in enumerate(path))))


def readings(
    labelling: Labelling, spellings: Mapping[str, Sequence[Labelling]], separator: int | None
) -> list[tuple[str, ...]]:
    """The ways to read a labelling as words, with a separator after each but perhaps the last."""
    found: list[tuple[str, ...]] = []
    if not labelling:
        return [()]
    for word, ways in spellings.items():
        for way in ways:
            if labelling[: len(way)] != way:
                continue
            rest = labelling[len(way) :]
            if separator is not None and rest:
                if rest[0] != separator:
                    continue
                rest = rest[1:]
            found += [(word, *more) for more in readings(rest, spellings, separator)]
    return found


def sentences(
    logits: NDArray[np.float64],
    spellings: Mapping[str, Sequence[Labelling]],
    separator: int | None,
    model: Callable[[tuple[str, ...]], float],
) -> dict[tuple[str, ...], float]:
    """ln p(c | x) + model(words) of every sentence, its spellings added up."""
    sums: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for labelling, p in labellings(logits).items():
        for words in readings(labelling, spellings, separator):
            sums[words].append(p)
    return {words: math.log(math.fsum(terms)) + model(words) for words, terms in sums.items()}


class Bigram:
    """A bigram with probabilities from a table (V, V): a Scorer, and a whole text's score."""

    def __init__(self, vocabulary: Sequence[str], table: NDArray[np.float64]) -> None:
        self.vocabulary = {word: number for number, word in enumerate(vocabulary)}
        self.logs = np.log(table)

    def start(self) -> int:
        return self.vocabulary["<s>"]

    def score(self, state: int, word: int, /) -> tuple[float, int]:
        return float(self.logs[state, word]), word

    def text(self, words: Sequence[str]) -> float:
        """Ln p of the words and the end."""
        numbers = [self.vocabulary[word] for word in ("<s>", *words, "</s>")]
        return math.fsum(float(self.logs[pair]) for pair in itertools.pairwise(numbers))
