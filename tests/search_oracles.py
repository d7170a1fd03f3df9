"""A tiny decoder with attention, and searches over it by hand: through everything there is, and by lists.

Shapes: N sources, n rows, S source positions, H hidden, V vocabulary.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class TinyState(NamedTuple):
    """h (n, H), source (n,) and the weights (n, S) by which the next symbol is chosen."""

    h: Tensor
    source: Tensor
    weights: Tensor


class Tiny:
    """h' = tanh(A h + E y), weights = softmax(K h') over the valid positions, logits = B [h'; weights K].

    A recurrent step that looks at a memory of its source; float64, opinions strong enough to differ.
    """

    def __init__(self, seed: int, vocabulary: int, lengths: Sequence[int], hidden: int = 3) -> None:
        draw = torch.Generator().manual_seed(seed)

        def normal(*sizes: int) -> Tensor:
            return torch.randn(*sizes, generator=draw, dtype=torch.float64)

        self.vocabulary, self.lengths = vocabulary, torch.tensor(lengths)
        self.recurrent, self.embedding = normal(hidden, hidden), normal(vocabulary + 1, hidden)
        self.memory = 2 * normal(len(lengths), max(lengths), hidden)
        self.head = 1.5 * normal(vocabulary, 2 * hidden)
        self.first = normal(len(lengths), hidden)
        self.rows: list[int] = []

    def start(self, sources: Sequence[int]) -> tuple[Tensor, TinyState]:
        """logits of the first symbol, and the state, of some of the sources."""
        index = torch.tensor(list(sources))
        begin = torch.full((len(index),), self.vocabulary)
        return self.step(begin, TinyState(self.first[index], index, torch.empty(len(index), 0)))

    def step(self, ids: Tensor, state: TinyState) -> tuple[Tensor, TinyState]:
        self.rows.append(len(ids))
        h = torch.tanh(state.h @ self.recurrent.T + self.embedding[ids])
        memory = self.memory[state.source]
        scores = (memory @ h[:, :, None])[:, :, 0]
        past = torch.arange(memory.shape[1]) >= self.lengths[state.source][:, None]
        weights = scores.masked_fill(past, -torch.inf).softmax(1)
        context = (weights[:, None] @ memory)[:, 0]
        return torch.cat([h, context], 1) @ self.head.T, TinyState(h, state.source, weights)


class Path(NamedTuple):
    """A sequence, its log probability, and where it looked: a row of weights for each symbol."""

    ids: tuple[int, ...]
    log_prob: float
    looked: tuple[tuple[float, ...], ...]


class Walk:
    """One source of a Tiny, read symbol by symbol; what was read once is remembered."""

    def __init__(self, model: Tiny, source: int) -> None:
        self._model = model
        self._size = int(model.lengths[source])
        self._known: dict[tuple[int, ...], Any] = {(): model.start([source])}

    def after(self, ids: tuple[int, ...]) -> tuple[list[float], tuple[float, ...]]:
        """ln p of every next symbol, and the weights that chose it."""
        if ids not in self._known:
            self.after(ids[:-1])
            self._known[ids] = self._model.step(torch.tensor(ids[-1:]), self._known[ids[:-1]][1])
        logits, state = self._known[ids]
        return logits[0].log_softmax(0).tolist(), tuple(state.weights[0, : self._size].tolist())

    def longer(self, path: Path) -> Iterator[Path]:
        """`path` with each symbol."""
        log_probs, weights = self.after(path.ids)
        for index, log_prob in enumerate(log_probs):
            yield Path((*path.ids, index), path.log_prob + log_prob, (*path.looked, weights))

    def all_finished(
        self, length: int, stop: Sequence[int], minimum: int = 1, prefix: Sequence[int] = ()
    ) -> Iterator[Path]:
        """Every sequence that ends at its first stop symbol, or at the length limit, as the rules allow."""
        for size in range(1, length + 1):
            for ids in itertools.product(range(self._model.vocabulary), repeat=size):
                early = any(index in stop for index in ids[:-1])
                ends = size == length or (ids[-1] in stop and size >= minimum)
                if early or not ends or ids[: len(prefix)] != tuple(prefix):
                    continue
                path = Path((), 0.0, ())
                for index in ids:
                    path = next(longer for longer in self.longer(path) if longer.ids[-1] == index)
                yield path


def norm(size: int, alpha: float, normalisation: str) -> float:
    return float(size) ** alpha if normalisation == "power" else (5.0 + size) ** alpha / 6.0**alpha


def score(path: Path, alpha: float = 0.0, normalisation: str = "power", coverage: float = 0.0) -> float:
    """The formula, term by term."""
    covered = [math.fsum(column) for column in zip(*path.looked, strict=True)]
    penalty = math.fsum(math.log(min(total, 1.0)) for total in covered)
    return path.log_prob / norm(len(path.ids), alpha, normalisation) + coverage * penalty


def beam_by_hand(
    walk: Walk,
    *,
    length: int,
    best: int,
    beam: int,
    stop: Sequence[int] = (),
    minimum: int = 1,
    diversity: float = 0.0,
    prefix: Sequence[int] = (),
    stopping: str = "proved",
    **scoring: Any,
) -> list[tuple[float, Path]]:
    """The definition by lists: of each length the `beam` best that are unfinished.

    To the length limit, unless it is to stop where that is likely to be the end.
    """
    finished: list[tuple[float, Path]] = []
    unfinished = [Path((), 0.0, ())]
    for size in range(1, length + 1):
        going: list[tuple[float, Path]] = []
        for path in unfinished:
            children = sorted(walk.longer(path), key=lambda child: -child.log_prob)
            if size <= len(prefix):
                children = [child for child in children if child.ids[-1] == prefix[size - 1]]
            on = [child for child in children if child.ids[-1] not in stop]
            going += [(child.log_prob - diversity * rank, child) for rank, child in enumerate(on)]
            ended = [c for c in children if size == length or (c.ids[-1] in stop and size >= minimum)]
            finished += [(score(child, **scoring), child) for child in ended]
        unfinished = [path for _, path in sorted(going, key=lambda item: -item[0])[:beam]]
        reached = sorted((value for value, _ in finished), reverse=True)[best - 1 : best]
        if stopping == "likely" and unfinished and reached:
            bound = max(path.log_prob for path in unfinished) / norm(
                size + 1, scoring["alpha"], scoring["normalisation"]
            )
            if reached[0] >= bound:
                break
    return sorted(finished, key=lambda item: -item[0])[:best]
