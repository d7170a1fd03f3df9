"""Attention to a window around a position, after Luong, Pham and Manning 2015.

    local-m     p_t = min(t, L - 1)                        a = softmax of the scores within |s - p_t| <= D
    local-p     p_t = L sigmoid(v . tanh(W q))             a_s = that softmax times exp(-2 (s - p_t)^2 / D^2)

The scores are those of attention by content. The Gaussian's deviation is D / 2; as published, what it leaves
of the weights is not divided by its sum, and p_t learns through it alone.
Shapes: N elements, S places, Q size of a query, L (N,) lengths; D in places.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import linear

from elman.attention.base import Attended, Attention, Memory, Past, uniform_
from elman.attention.content import content_attention
from elman.errors import ConfigError


class LocalAttention(Attention, ABC):
    """Attention by content (`score`, with `size` units where it has them) within D = `reach` places.

    Raises ConfigError for a reach below 1 and an unknown score.
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        score: str = "general",
        size: int | None = None,
        reach: int = 10,
    ) -> None:
        super().__init__(query_size, memory_size)
        if reach < 1:
            raise ConfigError(f"local: expected a reach of at least 1 place, got {reach}")
        self.reach = reach
        self.content = content_attention(score, query_size, memory_size, size)
        self.add_position()

    def add_position(self) -> None:
        """Makes the parameters of the position; there are none where nothing is predicted."""

    def keys(self, values: Tensor) -> Tensor:
        return self.content.keys(values)

    def within(self, memory: Memory, position: Tensor) -> tuple[Memory, Tensor]:
        """The memory with what is out of reach of `position` (N, 1) closed, and the way there (N, S)."""
        places = torch.arange(memory.values.shape[1], device=position.device, dtype=position.dtype)
        way = places - position
        return memory._replace(bias=memory.bias.masked_fill(way.abs() > self.reach, -torch.inf)), way

    @abstractmethod
    def forward(self, query: Tensor, memory: Memory, past: Past = ()) -> Attended: ...


class LocalMonotonicAttention(LocalAttention):
    """local-m: the window moves by one place at each step; the past is t (N, 1)."""

    def start(self, memory: Memory, batch_size: int) -> Tensor:
        return memory.values.new_zeros(batch_size, 1)

    def forward(self, query: Tensor, memory: Memory, past: Past = ()) -> Attended:
        last = memory.lengths[:, None].to(past.dtype) - 1
        window, _ = self.within(memory, torch.minimum(past, last))
        context, weights, _, _ = self.content(query, window)
        return Attended(context, weights, past + 1)


class LocalPredictiveAttention(LocalAttention):
    """local-p: the position is predicted from the query."""

    def add_position(self) -> None:
        size = self.query_size
        self.weight_position = uniform_(torch.empty(size, size), size)
        self.vector_position = uniform_(torch.empty(size), size)

    def position(self, query: Tensor, memory: Memory) -> Tensor:
        """p (N, 1), a real number within 0 .. L."""
        score = torch.tanh(linear(query, self.weight_position)) @ self.vector_position
        return (memory.lengths * torch.sigmoid(score))[:, None]

    def forward(self, query: Tensor, memory: Memory, past: Past = ()) -> Attended:
        position = self.position(query, memory)
        window, way = self.within(memory, position)
        weights = self.content(query, window).weights * torch.exp(-2 * (way / self.reach).square())
        return Attended((weights[:, None] @ memory.values)[:, 0], weights, past)
