"""What every kind of attention promises, and each kind's formula in loops, in float64."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from elman.attention import ATTENTIONS, Attended, Attention
from elman.attention.base import Past
from elman.attention.multi_head import attend_heads, causal_bias
from elman.attention.penalties import coverage, doubly_stochastic
from elman.cells import map_state
from elman.errors import ConfigError

STEPS, PLACES, BATCH, SIZE = 3, 6, 3, 4
LENGTHS = torch.tensor([6, 1, 4])

OPTIONS: dict[str, dict[str, Any]] = {
    "local-m": {"reach": 1},
    "local-p": {"reach": 2, "score": "additive", "size": 3},
    "location": {"filters": 2, "width": 3},
    "multi-head": {"heads": 2},
    "hard": {"score": "general"},
}
every_kind = pytest.mark.parametrize("name", list(ATTENTIONS))


def make(name: str) -> Attention:
    torch.manual_seed(4)
    attention = ATTENTIONS[name](SIZE, SIZE, **OPTIONS.get(name, {})).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_()
    return attention


def case(seed: int = 7) -> tuple[Tensor, Tensor]:
    """Queries (T, N, Q) and a memory (S, N, M)."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(STEPS, BATCH, SIZE, generator=generator, dtype=torch.float64),
        torch.randn(PLACES, BATCH, SIZE, generator=generator, dtype=torch.float64),
    )


def looks(
    attention: Attention, queries: Tensor, memory: Tensor, lengths: Tensor | None = LENGTHS
) -> list[Attended]:
    """One after the other, with the past carried."""
    bound = attention.bind(memory, lengths)
    past: Past = attention.start(bound, queries.shape[1])
    found = []
    for query in queries:
        found.append(attention(query, bound, past))
        past = found[-1].past
    return found


@every_kind
def test_weights_are_a_distribution_over_the_places_there_are(name: str) -> None:
    attention = make(name)
    queries, memory = case()
    there = torch.arange(PLACES) < LENGTHS[:, None]
    for found in looks(attention, queries, memory):
        assert found.context.shape == (BATCH, attention.context_size)
        assert found.weights.shape == (BATCH, PLACES)
        assert bool((found.weights[~there] == 0).all())
        assert bool((found.weights >= 0).all())
        sums = found.weights.detach().sum(1)
        assert bool((sums <= 1 + 1e-12).all())
        if name != "local-p":
            assert torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=1e-12)
        if name not in ("multi-head", "hard"):
            seen = torch.einsum("ns,snm->nm", found.weights, memory)
            assert torch.allclose(found.context, seen, rtol=0, atol=1e-12)


@every_kind
def test_padding_reaches_nothing(name: str) -> None:
    """NaN past an element's end leaves numbers and gradients as they are alone, without padding."""
    attention = make(name).eval()
    queries, memory = case()
    past_end = torch.arange(PLACES)[:, None] >= LENGTHS
    dirty = memory.masked_fill(past_end[:, :, None], torch.nan).requires_grad_()
    found = looks(attention, queries, dirty)
    torch.stack([a.context.square().sum() + a.weights.square().sum() for a in found]).sum().backward()
    assert dirty.grad is not None
    assert bool(dirty.grad.isfinite().all())
    assert bool((dirty.grad[past_end] == 0).all())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in attention.parameters())
    for n, length in enumerate(LENGTHS.tolist()):
        alone = looks(attention, queries[:, n : n + 1], memory[:length, n : n + 1], None)
        for one, all_ in zip(alone, found, strict=True):
            assert torch.allclose(one.context[0], all_.context[n], rtol=0, atol=1e-13)
            assert torch.allclose(one.weights[0], all_.weights[n, :length], rtol=0, atol=1e-13)


@every_kind
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    attention = make(name).eval()
    queries, memory = (part.requires_grad_() for part in case())

    def compute(queries: Tensor, memory: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        found = looks(attention, queries, memory)
        return tuple(part for a in found for part in (a.context, a.weights))

    assert torch.autograd.gradcheck(compute, (queries, memory, *attention.parameters()), fast_mode=True)


@every_kind
def test_rows_are_the_elements_that_they_name(name: str) -> None:
    attention = make(name).eval()
    queries, memory = case()
    bound, index = attention.bind(memory, LENGTHS), torch.tensor([2, 0, 2, 1])
    first = attention(queries[0], bound, attention.start(bound, BATCH))
    wanted = attention(queries[1], bound, first.past)
    past = map_state(lambda part: part[index], first.past)
    got = attention(queries[1, index], bound.rows(index), past)
    assert torch.equal(got.context, wanted.context[index])
    assert torch.equal(got.weights, wanted.weights[index])


def softmax(scores: list[float]) -> list[float]:
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


def units(attention: Attention, query: Tensor, place: Tensor) -> Tensor:
    p = dict(attention.named_parameters())
    return p["weight_query"] @ query + p["weight_key"] @ place + p["bias"]


@torch.no_grad()
@pytest.mark.parametrize("name", ["location", "coverage"])
def test_scores_with_what_was_looked_at_before(name: str) -> None:
    attention = make(name)
    queries, memory = case()
    p = dict(attention.named_parameters())
    found = looks(attention, queries, memory)
    for n, length in enumerate(LENGTHS.tolist()):
        last, total = [0.0] * length, [0.0] * length
        for t in range(STEPS):
            scores = []
            for s in range(length):
                if name == "location":
                    around = [last[u] if 0 <= u < length else 0.0 for u in (s - 1, s, s + 1)]
                    seen = p["weight_location"] @ (
                        p["weight_filter"] @ torch.tensor(around, dtype=torch.float64)
                    )
                else:
                    seen = p["weight_location"][:, 0] * total[s]
                scores.append(
                    float(p["vector"] @ torch.tanh(units(attention, queries[t, n], memory[s, n]) + seen))
                )
            last = softmax(scores)
            total = [a + b for a, b in zip(total, last, strict=True)]
            assert found[t].weights[n, :length].tolist() == pytest.approx(last, abs=1e-13)


@torch.no_grad()
def test_the_window_moves_with_the_steps() -> None:
    attention = make("local-m")
    queries, memory = case()
    weight = dict(attention.named_parameters())["content.weight"]
    found = looks(attention, queries, memory)
    for n, length in enumerate(LENGTHS.tolist()):
        for t in range(STEPS):
            places = [s for s in range(length) if abs(s - min(t, length - 1)) <= 1]
            within = softmax([float(queries[t, n] @ weight @ memory[s, n]) for s in places])
            expected = [within[places.index(s)] if s in places else 0.0 for s in range(length)]
            assert found[t].weights[n, :length].tolist() == pytest.approx(expected, abs=1e-13)


@torch.no_grad()
def test_the_window_is_where_the_query_says() -> None:
    attention = make("local-p")
    queries, memory = case()
    p = dict(attention.named_parameters())
    found = looks(attention, queries, memory)
    for n, length in enumerate(LENGTHS.tolist()):
        for t in range(STEPS):
            query = queries[t, n]
            inner = p["vector_position"] @ torch.tanh(p["weight_position"] @ query)
            position = length / (1 + math.exp(-float(inner)))
            places = [s for s in range(length) if abs(s - position) <= 2]
            projected = [
                p["content.weight_query"] @ query + p["content.weight_key"] @ memory[s, n] + p["content.bias"]
                for s in places
            ]
            within = softmax([float(p["content.vector"] @ torch.tanh(x)) for x in projected])
            expected = [
                within[places.index(s)] * math.exp(-((s - position) ** 2) / (2 * (2 / 2) ** 2))
                if s in places
                else 0.0
                for s in range(length)
            ]
            assert found[t].weights[n, :length].tolist() == pytest.approx(expected, abs=1e-13)


@torch.no_grad()
def test_heads_are_those_of_torch() -> None:
    """torch.nn.MultiheadAttention with the same weights: as a decoder's, and for many queries, causal."""
    attention = make("multi-head")
    queries, memory = case()
    p = dict(attention.named_parameters())
    theirs = nn.MultiheadAttention(SIZE, 2, dtype=torch.float64)
    theirs.in_proj_weight.copy_(torch.cat([p["weight_query"], p["weight_key"], p["weight_value"]]))
    theirs.in_proj_bias.copy_(torch.cat([p["bias_query"], torch.zeros(SIZE), p["bias_value"]]))
    theirs.out_proj.weight.copy_(p["weight_output"])
    theirs.out_proj.bias.copy_(p["bias_output"])
    padding = torch.arange(PLACES) >= LENGTHS[:, None]
    wanted, weights = theirs(queries, memory, memory, key_padding_mask=padding)
    for t, found in enumerate(looks(attention, queries, memory)):
        assert torch.allclose(found.context, wanted[t], rtol=0, atol=1e-13)
        assert torch.allclose(found.weights, weights[:, t], rtol=0, atol=1e-13)
    q, k, v = torch.randn(3, BATCH, PLACES, SIZE, dtype=torch.float64)
    seen, _ = attend_heads(q, k, v, 2, causal_bias(PLACES, q))
    a, b, c = (x.unflatten(2, (2, 2)).transpose(1, 2) for x in (q, k, v))
    native = nn.functional.scaled_dot_product_attention(a, b, c, is_causal=True)
    assert torch.allclose(seen, native.transpose(1, 2).flatten(2), rtol=0, atol=1e-13)
    cached, _ = attend_heads(q[:, 4:], k, v, 2, causal_bias(2, q, before=4))
    assert torch.allclose(cached, seen[:, 4:], rtol=0, atol=1e-13)


def test_penalties_are_their_sums() -> None:
    generator = torch.Generator().manual_seed(1)
    weights = torch.rand(STEPS, BATCH, PLACES, generator=generator, dtype=torch.float64)
    weights = torch.where(torch.arange(PLACES) < LENGTHS[:, None], weights, 0)
    once = again = 0.0
    for n, length in enumerate(LENGTHS.tolist()):
        for s in range(length):
            a = [float(weights[t, n, s]) for t in range(STEPS)]
            once += (1 - sum(a)) ** 2
            again += sum(min(a[t], sum(a[:t])) for t in range(STEPS))
    assert float(doubly_stochastic(weights, LENGTHS)) == pytest.approx(once, abs=1e-12)
    assert float(coverage(weights)) == pytest.approx(again, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("local-m", {"reach": 0}, "reach of at least 1 place, got 0"),
        ("local-p", {"score": "north"}, "score: expected one of additive, .*, got 'north'"),
        ("hard", {"score": "dot", "size": 3}, "a dot score has no units of its own"),
        ("location", {"width": 4}, "an odd width, got 10 and 4"),
        ("multi-head", {"heads": 3}, "4 units cannot be cut into 3 heads"),
    ],
)
def test_what_does_not_fit_is_told(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ATTENTIONS[name](SIZE, SIZE, **options)
