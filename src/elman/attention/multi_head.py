"""Multi-head attention by scaled dot products.

    head_i = softmax(Q_i K_i' / sqrt(d) + bias) V_i        output = W_o [head_1; ...; head_h]

Q, K and V are linear maps of queries, keys and values, cut into h heads of d = A / h units each.
Vaswani et al., "Attention is all you need", 2017.
Shapes: N elements, L queries each, S places, A units, h heads; queries (N, L, A), keys and values (N, S, A),
bias broadcast to (N, h, L, S), -inf where a query may not look; weights (N, h, L, S).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from elman.attention.base import Attended, Attention, Memory, Past, uniform_
from elman.errors import ConfigError


def attend_heads(
    queries: Tensor, keys: Tensor, values: Tensor, heads: int, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What the heads see, side by side (N, L, A), and where each looked, (N, h, L, S)."""

    def apart(x: Tensor) -> Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    size = queries.shape[-1] // heads
    scores = apart(queries) @ apart(keys).transpose(2, 3) * size**-0.5
    weights = torch.softmax(scores if bias is None else scores + bias, -1)
    return (weights @ apart(values)).transpose(1, 2).flatten(2), weights


def causal_bias(length: int, like: Tensor, before: int = 0) -> Tensor:
    """(L, before + L): 0 where query l may look, at places up to before + l, and -inf after them."""
    ahead = torch.ones(length, before + length, dtype=torch.bool, device=like.device).triu(before + 1)
    return like.new_zeros(ahead.shape).masked_fill(ahead, -torch.inf)


class MultiHeadAttention(Attention):
    """Several looks at once, for a decoder: one query a step; the weights are the mean of the heads'.

    heads: h. size: A, Q by default; a multiple of h, or ConfigError.
    """

    def __init__(self, query_size: int, memory_size: int, *, heads: int = 4, size: int | None = None) -> None:
        super().__init__(query_size, memory_size)
        self.size = query_size if size is None else size
        self.heads = heads
        if heads < 1 or self.size % heads:
            raise ConfigError(f"multi_head: {self.size} units cannot be cut into {heads} heads")
        self.weight_query = uniform_(torch.empty(self.size, query_size), query_size)
        self.weight_key = uniform_(torch.empty(self.size, memory_size), memory_size)
        self.weight_value = uniform_(torch.empty(self.size, memory_size), memory_size)
        self.weight_output = uniform_(torch.empty(memory_size, self.size), self.size)
        self.bias_query = nn.Parameter(torch.zeros(self.size))
        self.bias_value = nn.Parameter(torch.zeros(self.size))
        self.bias_output = nn.Parameter(torch.zeros(memory_size))

    def keys(self, values: Tensor) -> Tensor:
        """Keys and values of the heads side by side, (N, S, 2 A)."""
        return torch.cat(
            [linear(values, self.weight_key), linear(values, self.weight_value, self.bias_value)], -1
        )

    def forward(self, query: Tensor, memory: Memory, past: Past = ()) -> Attended:
        keys, values = memory.keys.chunk(2, -1)
        queries = linear(query, self.weight_query, self.bias_query)[:, None]
        seen, weights = attend_heads(queries, keys, values, self.heads, memory.bias[:, None, None])
        context = linear(seen[:, 0], self.weight_output, self.bias_output)
        return Attended(context, weights[:, :, 0].mean(1), past)
