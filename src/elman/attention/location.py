"""Attention that knows where it looked before: by the last weights, or by all of them.

    location    e_s = v . tanh(W_q q + W_k m_s + U f_s + b)        f = F * a'        Chorowski et al. 2015
    coverage    e_s = v . tanh(W_q q + W_k m_s + u c_s + b)        c = sum of all a' See, Liu and Manning 2017

a' are the weights at the step before, * a convolution over places: the filters F see `width` places around s.
Shapes: N elements, S places, M size of the memory, Q of a query, A of a key, R filters of W = width places;
weight_filter (R, W), weight_location (A, R or 1); the past (N, S).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from elman.attend import attend_additive
from elman.attention.base import Attended, Attention, Memory, Past, uniform_
from elman.errors import ConfigError


class LocationAttention(Attention):
    """The additive score with features of the last weights around a place.

    filters: R. width: W, odd. Before the first step all weights are zero. Raises ConfigError for sizes out of
    range.
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        size: int | None = None,
        filters: int = 10,
        width: int = 15,
    ) -> None:
        super().__init__(query_size, memory_size)
        if filters < 1 or width < 1 or width % 2 == 0:
            raise ConfigError(f"location: expected filters and an odd width, got {filters} and {width}")
        self.size = query_size if size is None else size
        self.width = width
        self.weight_query = uniform_(torch.empty(self.size, query_size), query_size)
        self.weight_key = uniform_(torch.empty(self.size, memory_size), memory_size)
        self.weight_filter = uniform_(torch.empty(filters, width), width)
        self.weight_location = uniform_(torch.empty(self.size, filters), filters)
        self.bias = nn.Parameter(torch.zeros(self.size))
        self.vector = uniform_(torch.empty(self.size), self.size)

    def keys(self, values: Tensor) -> Tensor:
        return linear(values, self.weight_key, self.bias)

    def start(self, memory: Memory, batch_size: int) -> Tensor:
        return memory.values.new_zeros(batch_size, memory.values.shape[1])

    def forward(self, query: Tensor, memory: Memory, past: Past = ()) -> Attended:
        around = pad(past, (self.width // 2, self.width // 2)).unfold(1, self.width, 1)
        # (A, R) by (R, W) first: the filters themselves are never spread over the places.
        keys = memory.keys + linear(around, self.weight_location @ self.weight_filter)
        projected = linear(query, self.weight_query)
        context, weights = attend_additive(projected, keys, self.vector, memory.bias, memory.values)
        return Attended(context, weights, weights)


class CoverageAttention(Attention):
    """The additive score with the sum of all earlier weights of a place; the past is that sum."""

    def __init__(self, query_size: int, memory_size: int, *, size: int | None = None) -> None:
        super().__init__(query_size, memory_size)
        self.size = query_size if size is None else size
        self.weight_query = uniform_(torch.empty(self.size, query_size), query_size)
        self.weight_key = uniform_(torch.empty(self.size, memory_size), memory_size)
        self.weight_location = uniform_(torch.empty(self.size, 1), self.size)
        self.bias = nn.Parameter(torch.zeros(self.size))
        self.vector = uniform_(torch.empty(self.size), self.size)

    def keys(self, values: Tensor) -> Tensor:
        return linear(values, self.weight_key, self.bias)

    def start(self, memory: Memory, batch_size: int) -> Tensor:
        return memory.values.new_zeros(batch_size, memory.values.shape[1])

    def forward(self, query: Tensor, memory: Memory, past: Past = ()) -> Attended:
        keys = memory.keys + past[:, :, None] * self.weight_location[:, 0]
        projected = linear(query, self.weight_query)
        context, weights = attend_additive(projected, keys, self.vector, memory.bias, memory.values)
        return Attended(context, weights, past + weights)
