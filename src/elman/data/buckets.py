"""Batches of sequences of like length, each a pure function of the number of the update.

    U = max(1, min(ceil(sum_i c_i / tokens), floor(sum_i c_i / max_i c_i)))        updates in an epoch
    batch of i = floor(U b_i / sum_i c_i),        b_i = sum of c over what stands before i

c_i is the size of example i: the symbols of its source and its target. In each epoch the examples are put in
order of their length, with noise drawn anew, and the row of all their symbols is cut in U equal parts; an
example belongs to the part in which it begins. So every example is met once in an epoch, every epoch has the
same number of updates, no batch is empty, and each has about `tokens` symbols (less than one example more).
The batches of an epoch come in an order drawn anew. All draws are functions of (seed, epoch, example): a
resumed run sees exactly what an uninterrupted one would have seen.

Shapes: E examples. primary, secondary (E,) int64 lengths: what orders first, and among equals.
"""

import math

import torch
from torch import Tensor

from elman import counter
from elman.errors import DataError


class Buckets:
    """The examples of each update. Raises DataError where there is none.

    noise: how far two lengths may differ and still be taken for equal, in symbols; more of it mixes batches
    better and pads them more.
    """

    def __init__(
        self, primary: Tensor, secondary: Tensor, tokens: int, *, seed: int = 0, noise: float = 2.0
    ) -> None:
        if not len(primary):
            raise DataError("batches: expected at least one example, got none")
        self._lengths = primary, secondary
        self._sizes = (primary + secondary).clamp(min=1)
        self._total = int(self._sizes.sum())
        self._seed, self._noise = seed, noise
        most = self._total // int(self._sizes.max())
        self.updates = max(1, min(-(-self._total // tokens), most))
        self._epoch: tuple[int, list[Tensor]] | None = None

    @property
    def largest(self) -> int:
        """Symbols of the largest batch of the first epoch, padded."""
        return max(len(rows) * sum(self._longest(rows)) for rows in self.plan(0))

    @property
    def symbols(self) -> int:
        """The most symbols in a batch of the first epoch, without padding."""
        return max(int(self._sizes[rows].sum()) for rows in self.plan(0))

    @property
    def targets(self) -> int:
        """The most primary symbols in a batch of the first epoch."""
        return max(int(self._lengths[0][rows].sum()) for rows in self.plan(0))

    @property
    def pairs(self) -> int:
        """The most pairs of a primary and a secondary place in a batch of the first epoch, padded."""
        return max(len(rows) * math.prod(self._longest(rows)) for rows in self.plan(0))

    def read(self, update: int) -> Tensor:
        """The examples (n,) int64 of `update` (0, 1, ...), by their place in the data."""
        epoch, place = divmod(update, self.updates)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, self.plan(epoch)
        return self._epoch[1][place]

    def _longest(self, rows: Tensor) -> tuple[int, int]:
        primary, secondary = self._lengths
        return int(primary[rows].max()), int(secondary[rows].max())

    def plan(self, epoch: int) -> list[Tensor]:
        """The batches of an epoch, in the order in which they come."""
        key = counter.child(self._seed, epoch)
        index = torch.arange(len(self._sizes))
        primary, secondary = (
            length.double() + self._noise * counter.uniform(key, torch.tensor(which), index).double()
            for which, length in enumerate(self._lengths)
        )
        # By the second, then by the whole part of the first, keeping the order among equals: two keys.
        order = secondary.argsort(stable=True)
        order = order[primary.floor()[order].argsort(stable=True)]
        before = self._sizes[order].cumsum(0) - self._sizes[order]
        counts = torch.bincount(before * self.updates // self._total, minlength=self.updates)
        batches = order.split(counts.tolist())
        drawn = counter.uniform(key, torch.tensor(2), torch.arange(self.updates))
        return [batches[place] for place in drawn.argsort(stable=True).tolist()]
