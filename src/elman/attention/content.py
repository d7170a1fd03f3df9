"""Attention by content: places are scored by what stands there alone.

    additive    e_s = v . tanh(W_q q + W_k m_s + b)        Bahdanau, Cho and Bengio 2015
    concat      e_s = v . tanh(W [q; m_s])                 Luong, Pham and Manning 2015
    dot         e_s = q . m_s                              Luong et al. 2015
    general     e_s = q . W m_s                            Luong et al. 2015

The work of a step is a product of the query and one look, a function of elman.attend: what a native engine
reads whole.
Shapes: N elements, S places, M size of the memory, Q of a query, A of a key.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from elman.attend import attend_additive, attend_dot
from elman.attention.base import Attended, Attention, Memory, Past, uniform_
from elman.errors import ConfigError, ShapeError


class AdditiveAttention(Attention):
    """v . tanh(W_q q + W_k m_s + b), with A = `size` units, Q by default."""

    def __init__(self, query_size: int, memory_size: int, *, size: int | None = None) -> None:
        super().__init__(query_size, memory_size)
        self.size = query_size if size is None else size
        self.weight_query = uniform_(torch.empty(self.size, query_size), query_size)
        self.weight_key = uniform_(torch.empty(self.size, memory_size), memory_size)
        self.bias = nn.Parameter(torch.zeros(self.size))
        self.vector = uniform_(torch.empty(self.size), self.size)

    def keys(self, values: Tensor) -> Tensor:
        return linear(values, self.weight_key, self.bias)

    def forward(self, query: Tensor, memory: Memory, past: Past = ()) -> Attended:
        projected = linear(query, self.weight_query)
        context, weights = attend_additive(projected, memory.keys, self.vector, memory.bias, memory.values)
        return Attended(context, weights, past)


class ConcatAttention(Attention):
    """v . tanh(W [q; m_s]): the additive score with one weight (A, Q + M) and no bias."""

    def __init__(self, query_size: int, memory_size: int, *, size: int | None = None) -> None:
        super().__init__(query_size, memory_size)
        self.size = query_size if size is None else size
        both = query_size + memory_size
        self.weight = uniform_(torch.empty(self.size, both), both)
        self.vector = uniform_(torch.empty(self.size), self.size)

    def keys(self, values: Tensor) -> Tensor:
        return linear(values, self.weight[:, self.query_size :])

    def forward(self, query: Tensor, memory: Memory, past: Past = ()) -> Attended:
        projected = linear(query, self.weight[:, : self.query_size])
        context, weights = attend_additive(projected, memory.keys, self.vector, memory.bias, memory.values)
        return Attended(context, weights, past)


class DotAttention(Attention):
    """q . m_s; the query must have the size of the memory, or ShapeError."""

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__(query_size, memory_size)
        if query_size != memory_size:
            raise ShapeError(
                f"DotAttention: a query of size {query_size} has no product with a memory of size "
                f"{memory_size}; use general"
            )

    def keys(self, values: Tensor) -> Tensor:
        return values

    def forward(self, query: Tensor, memory: Memory, past: Past = ()) -> Attended:
        context, weights = attend_dot(query, memory.keys, memory.bias, memory.values)
        return Attended(context, weights, past)


class GeneralAttention(Attention):
    """q . W m_s."""

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__(query_size, memory_size)
        self.weight = uniform_(torch.empty(query_size, memory_size), memory_size)

    def keys(self, values: Tensor) -> Tensor:
        return linear(values, self.weight)

    def forward(self, query: Tensor, memory: Memory, past: Past = ()) -> Attended:
        context, weights = attend_dot(query, memory.keys, memory.bias, memory.values)
        return Attended(context, weights, past)


CONTENT: dict[str, type[Attention]] = {
    "additive": AdditiveAttention,
    "concat": ConcatAttention,
    "dot": DotAttention,
    "general": GeneralAttention,
}
"""The scores that other kinds of attention build on."""


def content_attention(score: str, query_size: int, memory_size: int, size: int | None) -> Attention:
    """The attention of this name; size: A, where it has one. Raises ConfigError for another name."""
    if score not in CONTENT:
        raise ConfigError(f"score: expected one of {', '.join(CONTENT)}, got {score!r}")
    if size is None:
        return CONTENT[score](query_size, memory_size)
    if score not in ("additive", "concat"):
        raise ConfigError(f"size: a {score} score has no units of its own; leave size out")
    return CONTENT[score](query_size, memory_size, size=size)  # pyrefly: ignore[unexpected-keyword]
