"""Symbols as inputs: ids in place of rows of numbers.

    x_t = E[s_t]        prepare(x)_t = prepare(E)[s_t]

E holds a row for each symbol: an embedding, or the identity (one-hot). What a cell prepares of its inputs
depends on each position by itself, so it is made once for each symbol and not once for each of T N positions;
backward, the gradients of a symbol's positions are summed before they meet a weight.

Shapes: T time, N batch, V symbols, C input; ids (T, N) int64, table (V, C).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from elman.errors import ShapeError


@dataclass(frozen=True, eq=False)
class Tokens:
    """ids (T, N), integers, and the rows that they name: table (V, C), or None for one-hot, V = C.

    `scan` takes it in place of inputs (T, N, C) and gives the same numbers, and gradients to the table.
    Raises ShapeError where the axes, types or devices do not fit; `scan` raises it for an id without a row.
    """

    ids: Tensor
    table: Tensor | None = None

    def __post_init__(self) -> None:
        ids, table = self.ids, self.table
        if ids.dim() != 2 or ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            raise ShapeError(f"Tokens: ids must be integers (T, N), got {ids.dtype} {tuple(ids.shape)}")
        object.__setattr__(self, "ids", ids.long())
        if table is None:
            return
        if table.dim() != 2 or not table.is_floating_point() or not len(table):
            raise ShapeError(f"Tokens: table must be floats (V, C), got {table.dtype} {tuple(table.shape)}")
        if table.device != ids.device:
            raise ShapeError(f"Tokens: ids are on {ids.device}, the table on {table.device}")

    @property
    def shape(self) -> torch.Size:
        """(T, N)."""
        return self.ids.shape

    @property
    def device(self) -> torch.device:
        return self.ids.device

    def __getitem__(self, steps: slice) -> "Tokens":
        """A stretch of time."""
        return self.with_ids(self.ids[steps])

    def with_ids(self, ids: Tensor) -> "Tokens":
        """Other ids of the same table."""
        return Tokens(ids, self.table)

    def check(self, size: int) -> None:
        """Raises ShapeError naming the first id that has no row; `size` is C, which is V for one-hot."""
        rows = size if self.table is None else len(self.table)
        ids = self.ids
        if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= rows):
            t, n = ((ids < 0) | (ids >= rows)).nonzero()[0].tolist()
            raise ShapeError(
                f"Tokens: ids[{t}, {n}] is {int(ids[t, n])}, expected 0 to {rows - 1}, one of {rows} symbols"
            )

    def dense(self, size: int, like: Tensor) -> Tensor:
        """(T, N, C): a row for each position; one-hot rows are of the type of `like`."""
        if self.table is None:
            return functional.one_hot(self.ids, size).to(like.dtype)
        return functional.embedding(self.ids, self.table)

    def rows(self, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """ids (T, N) and the rows (V, C) that they name, as few as a rule of size makes them.

        The whole table, or, where it has more rows than there are positions, those of the symbols that occur.
        """
        ids, table = self.ids, self.table
        symbols = size if table is None else len(table)
        kept = torch.arange(symbols, device=ids.device)
        if symbols > ids.numel():
            kept, ids = ids.unique(return_inverse=True)
        elif table is not None:
            return ids, table
        return ids, Tokens(kept[:, None], table).dense(size, like)[:, 0]


def at_positions(ids: Tensor, prepared: Tensor) -> Tensor:
    """A part (V, 1, ...) of what was prepared of the rows, at each position: (T, N, ...).

    By way of an embedding, whose gradient is summed in a fixed order.
    """
    found = functional.embedding(ids, prepared.flatten(1))
    return found.reshape(*ids.shape, *prepared.shape[2:])
