"""Attention by content against its formulas, written out place by place in float64."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from elman.attention import ATTENTIONS, Attention
from elman.errors import ShapeError

PLACES, BATCH, SIZE = 5, 3, 4
LENGTHS = torch.tensor([5, 1, 3])


def score_additive(a: Attention, q: Tensor, m: Tensor) -> float:
    p = dict(a.named_parameters())
    units = p["weight_query"] @ q + p["weight_key"] @ m + p["bias"]
    return sum(float(v) * math.tanh(float(u)) for v, u in zip(p["vector"], units, strict=True))


def score_concat(a: Attention, q: Tensor, m: Tensor) -> float:
    p = dict(a.named_parameters())
    units = p["weight"] @ torch.cat([q, m])
    return sum(float(v) * math.tanh(float(u)) for v, u in zip(p["vector"], units, strict=True))


def score_dot(_: Attention, q: Tensor, m: Tensor) -> float:
    return sum(float(x) * float(y) for x, y in zip(q, m, strict=True))


def score_general(a: Attention, q: Tensor, m: Tensor) -> float:
    return score_dot(a, q, dict(a.named_parameters())["weight"] @ m)


SCORES: dict[str, Callable[[Attention, Tensor, Tensor], float]] = {
    "additive": score_additive,
    "concat": score_concat,
    "dot": score_dot,
    "general": score_general,
}
every_kind = pytest.mark.parametrize("name", list(SCORES))


def make(name: str) -> Attention:
    torch.manual_seed(4)
    attention = ATTENTIONS[name](SIZE, SIZE).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_()
    return attention


def case() -> tuple[Tensor, Tensor]:
    """Queries (N, Q) and a memory (S, N, M)."""
    generator = torch.Generator().manual_seed(7)
    return (
        torch.randn(BATCH, SIZE, generator=generator, dtype=torch.float64),
        torch.randn(PLACES, BATCH, SIZE, generator=generator, dtype=torch.float64),
    )


@torch.no_grad()
@every_kind
def test_weights_and_contexts_are_those_of_the_formula(name: str) -> None:
    attention = make(name)
    query, memory = case()
    context, weights, past, _ = attention(query, attention.bind(memory, LENGTHS))
    assert past == ()
    for n, length in enumerate(LENGTHS.tolist()):
        scores = [SCORES[name](attention, query[n], memory[s, n]) for s in range(length)]
        whole = sum(math.exp(score) for score in scores)
        expected = [math.exp(score) / whole for score in scores] + [0.0] * (PLACES - length)
        assert weights[n].tolist() == pytest.approx(expected, abs=1e-14)
        for unit in range(SIZE):
            mean = sum(expected[s] * float(memory[s, n, unit]) for s in range(PLACES))
            assert float(context[n, unit]) == pytest.approx(mean, abs=1e-14)


def test_what_does_not_fit_is_told() -> None:
    attention = make("additive")
    _, memory = case()
    with pytest.raises(ShapeError, match=r"memory must be \(S, N, 4\), got \(5, 3, 3\)"):
        attention.bind(memory[:, :, :3])
    with pytest.raises(ShapeError, match="element 1 of the memory has no place"):
        attention.bind(memory, torch.tensor([2, 0, 1]))
    with pytest.raises(ShapeError, match="a query of size 3 has no product with a memory of size 4"):
        ATTENTIONS["dot"](3, 4)
    with pytest.raises(ShapeError, match="memory_size must be at least 1, got 0"):
        ATTENTIONS["additive"](3, 0)
