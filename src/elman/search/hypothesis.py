"""What a search finds, and the trail of back pointers from which it is read.

A search over a batch never copies what it has said so far: at each time it keeps the symbol of every row and
the row before that it continues, and a sequence is read backwards, once, when the search is over.
Shapes: n sources still searched, W rows of each, S source positions. parents and ids (n, W) int64, weights
(n W', S) of the W' rows of the time before, row w of the i-th source at i W' + w.
"""

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor


@dataclass(frozen=True)
class Hypothesis:
    """A sequence of ids with its score; `stopped` is True where it ended by a stop symbol.

    log_prob: the natural logarithm of its probability under the model; score: what the search ranked it by.
    attention (L, S): where the model looked for each symbol, None where that was not asked for.
    """

    ids: tuple[int, ...]
    log_prob: float
    score: float
    stopped: bool
    attention: Tensor | None = field(default=None, compare=False, repr=False)


@final
class Trail:
    """The symbols and back pointers of all times, and where the model looked before each symbol."""

    def __init__(self) -> None:
        self._places: list[dict[int, int]] = []
        self._parents: list[Tensor] = []
        self._ids: list[Tensor] = []
        self._weights: list[Tensor] = []
        self._widths: list[int] = []
        self._read: dict[int, tuple[list[list[int]], list[list[int]]]] = {}
        self._bank: tuple[Tensor, list[int]] | None = None

    def look(self, weights: Tensor | None, places: dict[int, int], width: int) -> None:
        """Before the symbols of a time: its sources' places, the rows of each, and their weights or None."""
        self._places.append(places)
        self._widths.append(width)
        if weights is not None:
            self._weights.append(weights)

    def append(self, parents: Tensor, ids: Tensor) -> None:
        """The rows of a time, of the sources that `look` was told of: what each continues, and its symbol."""
        self._parents.append(parents)
        self._ids.append(ids)

    def ids(self, source: int, time: int, row: int, last: int) -> tuple[tuple[int, ...], list[int]]:
        """The sequence that ends with symbol `last` after the row `row` of time `time`; the rows it came by.

        The rows are those before each symbol, in order.
        """
        ids, rows = [last], [row]
        for before in range(time - 1, -1, -1):
            if before not in self._read:
                self._read[before] = self._parents[before].tolist(), self._ids[before].tolist()
            parents, symbols = self._read[before]
            place = self._places[before][source]
            ids.append(symbols[place][row])
            row = parents[place][row]
            rows.append(row)
        return tuple(reversed(ids)), rows[::-1]

    def attention(self, source: int, rows: list[int], size: int | None) -> Tensor | None:
        """(L, S) of the sequence that came by `rows`, over the first `size` source positions, or all."""
        if not self._weights:
            return None
        if self._bank is None:
            starts = torch.tensor([0, *(len(part) for part in self._weights)]).cumsum(0).tolist()
            self._bank = torch.cat(self._weights), starts
        bank, starts = self._bank
        index = [
            starts[time] + self._places[time][source] * self._widths[time] + row
            for time, row in enumerate(rows)
        ]
        return bank[torch.tensor(index, device=bank.device), :size]
