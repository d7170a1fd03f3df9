"""What an attention is: scores of a query against the places of a memory, and the mean that they weigh.

    e_s = score(q, k_s)        a = softmax_s(e)        context = sum_s a_s v_s

Keys k are what a kind of attention needs of the memory and no query changes: they are computed once for a
source, by `bind`. What a kind remembers from one query of a sequence to the next (a position, the last
weights) is its past, which a decoder keeps in its state.

Shapes: S places of the memory, N elements, M its size, Q size of a query, A size of a key. Outside, a memory
is (S, N, M) as every sequence is; inside it is (N, S, M), so that no product needs a transposition.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from elman.errors import ShapeError
from elman.padded import check_lengths, length_mask

Past = Any
"""A Tensor (N, ...), or a tuple of such, () where a kind of attention remembers nothing."""


class Memory(NamedTuple):
    """What is looked at: a source for each of N elements, as `Attention.bind` arranges it.

    values (N, S, M), zero past an element's end; keys (N, S, A); bias (N, S), 0 at an element's places and
    -inf past its end, to be added to scores; lengths (N,).
    """

    values: Tensor
    keys: Tensor
    bias: Tensor
    lengths: Tensor

    def rows(self, index: Tensor) -> "Memory":
        """The elements `index` (n,), in that order, repeated where it repeats them."""
        return Memory(*(part[index] for part in self))


class Attended(NamedTuple):
    """context (N, M), weights (N, S), zero past an element's end, and the past.

    The weights sum to one (but those of local-p, as Luong has them). choice (N,): the place that was drawn,
    where the context is that of one place and the weights are its probabilities.
    """

    context: Tensor
    weights: Tensor
    past: Past
    choice: Tensor | None = None


class Attention(nn.Module, ABC):
    """A kind of attention over memories of size M for queries of size Q."""

    draws = False
    """Whether a place is drawn in training, and `choice` given."""

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__()
        for name, size in (("query_size", query_size), ("memory_size", memory_size)):
            if size < 1:
                raise ShapeError(f"{type(self).__name__}: {name} must be at least 1, got {size}")
        self.query_size = query_size
        self.memory_size = memory_size

    @property
    def context_size(self) -> int:
        """Size of a context."""
        return self.memory_size

    def bind(self, values: Tensor, lengths: Tensor | None = None) -> Memory:
        """Arranges a memory (S, N, M) and computes its keys, once for all queries.

        What stands past an element's length reaches nothing. Raises ShapeError for a memory of another size,
        lengths that do not fit and an element without a place to look at.
        """
        if values.dim() != 3 or values.shape[2] != self.memory_size:
            raise ShapeError(
                f"{type(self).__name__}: memory must be (S, N, {self.memory_size}), got {tuple(values.shape)}"
            )
        places, batch = values.shape[:2]
        if lengths is None:
            lengths = torch.full((batch,), places, device=values.device)
        lengths = check_lengths(lengths, places, batch, values.device)
        if batch and not int(lengths.min()):
            row = int((lengths == 0).nonzero()[0])
            raise ShapeError(f"{type(self).__name__}: element {row} of the memory has no place to look at")
        mask = length_mask(lengths, places).t()
        values = torch.where(mask[:, :, None], values.transpose(0, 1), 0).contiguous()
        bias = torch.zeros(batch, places, dtype=values.dtype, device=values.device)
        return Memory(values, self.keys(values), bias.masked_fill_(~mask, -torch.inf), lengths)

    @abstractmethod
    def keys(self, values: Tensor) -> Tensor:
        """values (N, S, M) -> what a query is compared with, (N, S, A)."""

    def start(self, memory: Memory, batch_size: int) -> Past:
        """The past before the first query, for `batch_size` elements."""
        return ()

    def reseed(self, seed: int) -> None:
        """Draws what is drawn later from a new key; nothing to do for most kinds."""

    @abstractmethod
    def forward(self, query: Tensor, memory: Memory, past: Past = ()) -> Attended:
        """query (N, Q): where element n looks in its memory, and what it sees there."""


def uniform_(parameter: Tensor, fan_in: int) -> nn.Parameter:
    """A parameter drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as torch draws those of a linear map."""
    return nn.Parameter(nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5))
