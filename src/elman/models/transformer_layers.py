"""The layers of a Transformer: attention of many heads, and what stands around it.

    attend(Q, K, V) = softmax(Q K^T / sqrt(d)) V, in each of h heads of size d = E / h
    encoder layer   x = x + attend(norm(x));   x = x + W_2 relu(W_1 norm(x))
    decoder layer   x = x + attend(norm(x)), to itself before;   x = x + attend(norm(x)), to the memory;
                    x = x + W_2 relu(W_1 norm(x))

Vaswani et al., "Attention is all you need", 2017; the norm before each part and not after it, which needs
less care with the learning rate: Xiong et al. 2020, Nguyen and Salazar 2019.
Shapes: N elements, T places of what looks, S places of what is looked at, E size, h heads, d = E / h, F inner
size, W places that step together; x (N, T, E), memory keys and values (N, 2, h, S, d), bias (N, 1, 1, S): 0,
or -inf where there is nothing to look at.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from elman.errors import ConfigError
from elman.models.rounded import RoundedLinear

Drop = Callable[[Tensor, int], Tensor]
"""x, the number of a place in the layer -> x with dropout there."""


class SelfAttention(nn.Module):
    """Every place looks at the places of its own sequence."""

    def __init__(self, size: int, heads: int, compute: torch.dtype | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.joined = _linear(size, 3 * size, compute, parts=3)
        self.output = _linear(size, size, compute)

    def forward(self, x: Tensor, bias: Tensor | None = None, causal: bool = False) -> Tensor:
        """(N, T, E) -> (N, T, E); causal: to itself and before alone."""
        q, k, v = _split(self.joined(x), 3, self.heads)
        return self.output(_merge(_attend(q, k, v, bias, causal)))

    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """One place more: x (n, E), the keys and values before it (n, 2, h, t, d) -> (n, E), with its own."""
        joined = self.joined(x).view(len(x), 3, self.heads, 1, -1)
        past = torch.cat([past, joined[:, 1:]], 3)
        looked = scaled_dot_product_attention(joined[:, 0], past[:, 0], past[:, 1])
        return self.output(looked.flatten(1)), past


class CrossAttention(nn.Module):
    """Every place looks at a memory, whose keys and values are made once."""

    def __init__(self, size: int, heads: int, compute: torch.dtype | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.query = _linear(size, size, compute)
        self.memory = _linear(size, 2 * size, compute, parts=2)
        self.output = _linear(size, size, compute)

    def bind(self, memory: Tensor) -> Tensor:
        """(N, S, E) -> keys and values (N, 2, h, S, d)."""
        n, places, _ = memory.shape
        return self.memory(memory).view(n, places, 2, self.heads, -1).permute(0, 2, 3, 1, 4).contiguous()

    def forward(self, x: Tensor, bound: Tensor, bias: Tensor | None) -> Tensor:
        """(N, T, E) -> (N, T, E)."""
        (q,) = _split(self.query(x), 1, self.heads)
        return self.output(_merge(_attend(q, bound[:, 0], bound[:, 1], bias, False)))

    def look(self, x: Tensor, bound: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """`forward`, and the weights (N, T, S), the mean of the heads'."""
        (q,) = _split(self.query(x), 1, self.heads)
        weights = _weights(q, bound[:, 0], bias)
        return self.output(_merge(weights @ bound[:, 1])), weights.mean(1)


class EncoderLayer(nn.Module):
    def __init__(self, size: int, heads: int, inner: int, compute: torch.dtype | None = None) -> None:
        super().__init__()
        self.self_norm, self.inner_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attention = SelfAttention(size, heads, compute)
        self.inner, self.outer = _linear(size, inner, compute), _linear(inner, size, compute)

    def forward(self, x: Tensor, bias: Tensor | None, drop: Drop) -> Tensor:
        x = x + drop(self.attention(self.self_norm(x), bias), 0)
        hidden = drop(torch.relu(self.inner(self.inner_norm(x))), 1)
        return x + drop(self.outer(hidden), 2)


class DecoderLayer(nn.Module):
    def __init__(self, size: int, heads: int, inner: int, compute: torch.dtype | None = None) -> None:
        super().__init__()
        self.self_norm, self.cross_norm, self.inner_norm = (nn.LayerNorm(size) for _ in range(3))
        self.attention = SelfAttention(size, heads, compute)
        self.cross = CrossAttention(size, heads, compute)
        self.inner, self.outer = _linear(size, inner, compute), _linear(inner, size, compute)

    def forward(self, x: Tensor, memory: Tensor, bias: Tensor | None, drop: Drop) -> Tensor:
        x = x + drop(self.attention(self.self_norm(x), causal=True), 0)
        x = x + drop(self.cross(self.cross_norm(x), self.cross.bind(memory), bias), 1)
        hidden = drop(torch.relu(self.inner(self.inner_norm(x))), 2)
        return x + drop(self.outer(hidden), 3)

    def step(
        self, x: Tensor, past: Tensor, bound: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One place more of m W rows, W for each of m elements of the memory.

        x (m W, E), past (m W, 2, h, t, d), bound (m, 2, h, S, d), bias (m, 1, 1, S) -> x, past, and where
        they looked in the memory (m W, S).
        """
        looked, past = self.attention.step(self.self_norm(x), past)
        x = x + looked
        query = self.cross_norm(x).view(len(bound), -1, x.shape[1])
        seen, weights = self.cross.look(query, bound, bias)
        x = x + seen.flatten(0, 1)
        return x + self.outer(torch.relu(self.inner(self.inner_norm(x)))), past, weights.flatten(0, 1)


def sinusoids(count: int, size: int) -> Tensor:
    """(count, E) float64: sin and cos of t / 10000^(2 i / E), side by side."""
    if size % 2:
        raise ConfigError(f"Transformer: expected an even size, got {size}")
    rates = 10000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angles = torch.arange(count, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


def _linear(given: int, made: int, compute: torch.dtype | None = None, parts: int = 1) -> RoundedLinear:
    """A linear map with the weights of Glorot and Bengio 2010, each of its `parts` by itself; bias zero."""
    layer = RoundedLinear(given, made, compute)
    for part in layer.weight.detach().chunk(parts):
        nn.init.xavier_uniform_(part)
    nn.init.zeros_(layer.bias)
    return layer


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool) -> Tensor:
    """(N, h, T, d), twice (N, h, S, d) -> (N, h, T, d)."""
    if q.dtype == torch.bfloat16:
        # Of bfloat16 these products are no faster, and oneDNN would keep a kernel for each shape.
        q, k, v = q.float(), k.float(), v.float()
    return scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal)


def _weights(q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias): (N, h, T, S)."""
    scores = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3)
    return (scores if bias is None else scores + bias).softmax(-1)


def _split(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """(N, T, parts E) -> `parts` of (N, h, T, d)."""
    n, time, _ = x.shape
    return x.view(n, time, parts, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def _merge(x: Tensor) -> Tensor:
    """(N, h, T, d) -> (N, T, E)."""
    return x.transpose(1, 2).flatten(2)
