"""Hard attention: what is drawn, and the gradient of its estimator against the exact expectation.

The tiny case: one element, T = 2 queries, S = 3 places, so that all 9 sequences of choices can be weighed.
The likelihood r_t = ln p(y_t | choices so far) depends on all contexts so far.
"""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from elman import counter
from elman.attention import HardAttention
from elman.attention.hard import UNDRAWN, let_draw, reinforce

STEPS, PLACES, SIZE = 2, 3, 2
ONE = torch.tensor([STEPS])


def model() -> tuple[HardAttention, Tensor, Tensor]:
    """The attention, queries (T, 1, Q), memory (S, 1, M)."""
    torch.manual_seed(6)
    attention = HardAttention(SIZE, SIZE, score="additive").double().train()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_()
    queries = torch.randn(STEPS, 1, SIZE, dtype=torch.float64)
    return attention, queries, torch.randn(PLACES, 1, SIZE, dtype=torch.float64)


def likelihood(contexts: list[Tensor]) -> Tensor:
    """r (T,) from contexts (M,), each with a part of what was seen before."""
    seen = torch.zeros(SIZE, dtype=torch.float64)
    found = []
    for context in contexts:
        seen = torch.tanh(0.7 * seen + context)
        found.append(torch.log_softmax(seen, 0)[0] * 2)
    return torch.stack(found)


def looked(
    attention: HardAttention, queries: Tensor, memory: Tensor, copies: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """weights (T, n, S), choices (T, n) and rewards (T, n) of `copies` draws."""
    bound = attention.bind(memory.expand(-1, copies, -1))
    past = attention.start(bound, copies)
    weights, choices, contexts = [], [], []
    for query in queries:
        found = attention(query.expand(copies, -1), bound, past)
        past = found.past
        assert found.choice is not None
        weights.append(found.weights)
        choices.append(found.choice)
        contexts.append(found.context)
    rewards = [likelihood([context[n] for context in contexts]) for n in range(copies)]
    return torch.stack(weights), torch.stack(choices), torch.stack(rewards, 1)


def gradient(attention: HardAttention, memory: Tensor, loss: Tensor) -> Tensor:
    parts = torch.autograd.grad(loss, [memory, *attention.parameters()], allow_unused=True)
    shapes = [memory, *attention.parameters()]
    return torch.cat(
        [
            torch.zeros_like(s).flatten() if g is None else g.flatten()
            for s, g in zip(shapes, parts, strict=True)
        ]
    )


def exact(attention: HardAttention, queries: Tensor, memory: Tensor) -> Tensor:
    """The gradient of -E[sum of r], all sequences weighed by their probability, by plain differentiation."""
    total = torch.zeros((), dtype=torch.float64)
    bound = attention.bind(memory)
    weights = [attention.content(query, bound).weights[0] for query in queries]
    for path in itertools.product(range(PLACES), repeat=STEPS):
        probability = torch.stack([weights[t][s] for t, s in enumerate(path)]).prod()
        total = total - probability * likelihood([memory[s, 0] for s in path]).sum()
    return gradient(attention, memory, total)


def forced(
    path: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, attention: HardAttention
) -> Callable[[], None]:
    def choose(weights: Tensor, steps: Tensor) -> Tensor:
        return torch.tensor([path[int(step)] for step in steps])

    monkeypatch.setattr(attention, "choose", choose)
    return monkeypatch.undo


@pytest.mark.parametrize("baseline", [0.0, -1.3])
def test_the_estimators_expectation_is_the_exact_gradient(
    baseline: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sample weighed by its probability; the baseline changes nothing."""
    attention, queries, memory = model()
    memory.requires_grad_()
    wanted = exact(attention, queries, memory)
    expectation = torch.zeros_like(wanted)
    for path in itertools.product(range(PLACES), repeat=STEPS):
        undo = forced(path, monkeypatch, attention)
        weights, choices, rewards = looked(attention, queries, memory)
        assert tuple(choices[:, 0].tolist()) == path
        probability = float(weights.detach().gather(2, choices[:, :, None]).prod())
        term = reinforce(weights, choices, rewards, ONE, torch.tensor(baseline))
        assert float(term.detach()) == 0
        expectation += probability * gradient(attention, memory, term - rewards.sum())
        undo()
    assert float((expectation - wanted).abs().max()) < 1e-13
    assert float(wanted.abs().max()) > 0.1


def test_the_mean_of_many_samples_is_the_exact_gradient_within_its_error() -> None:
    """4000 draws from a fixed key; every part within four standard errors of the exact expectation.

    With 4 the chance of one part in some 20 to lie outside is about a thousandth; the key decides, once.
    """
    attention, queries, memory = model()
    attention.reseed(12)
    memory.requires_grad_()
    wanted = exact(attention, queries, memory)
    copies, parts = 4000, 100
    whole = memory.detach().expand(-1, copies, -1).clone().requires_grad_()
    bound = attention.bind(whole)
    past, weights, choices, seen, rewards = attention.start(bound, copies), [], [], 0, []
    for query in queries:
        found = attention(query.expand(copies, -1), bound, past)
        past = found.past
        weights.append(found.weights)
        choices.append(found.choice)
        seen = torch.tanh(0.7 * seen + found.context)
        rewards.append(torch.log_softmax(seen, 1)[:, 0] * 2)
    stacked = torch.stack(weights), torch.stack(choices), torch.stack(rewards)
    estimates = []
    for part in torch.arange(copies).chunk(parts):
        w, c, r = (x[:, part] for x in stacked)
        term = reinforce(w, c, r, torch.full((len(part),), STEPS), torch.tensor(-1.0))
        grads = torch.autograd.grad(
            (term - r.sum()) / len(part), [whole, *attention.parameters()], retain_graph=True
        )
        estimates.append(torch.cat([grads[0].sum(1).flatten(), *(g.flatten() for g in grads[1:])]))
    found = torch.stack(estimates)
    error = found.std(0) / math.sqrt(parts)
    assert bool(((found.mean(0) - wanted).abs() <= 4 * error + 1e-12).all())
    assert float(error.max()) < 0.1 * float(wanted.abs().max())


def test_draws_follow_the_weights_and_the_seed() -> None:
    attention = HardAttention(SIZE, SIZE).train()
    weights = torch.tensor([0.5, 0.0, 0.3, 0.2, 0.0]).expand(20000, -1)
    steps = torch.zeros(20000, dtype=torch.int64)
    drawn = attention.choose(weights, steps)
    shares = torch.bincount(drawn, minlength=5) / 20000
    assert bool(((shares - weights[0]).abs() <= 4 * (weights[0] * (1 - weights[0]) / 20000).sqrt()).all())
    assert torch.equal(attention.choose(weights, steps), drawn)
    assert not torch.equal(attention.choose(weights, steps + 1), drawn)
    attention.reseed(1)
    assert not torch.equal(attention.choose(weights, steps), drawn)
    uniform = counter.uniform(counter.child(1, 0), torch.arange(3), steps[:3])
    expected = [0 if u < 0.5 else 2 if u < 0.8 else 3 for u in uniform.tolist()]
    assert attention.choose(weights[:3], steps[:3]).tolist() == expected


def test_evaluation_takes_the_likeliest_place() -> None:
    attention, queries, memory = model()
    weights, choices, _ = looked(attention.eval(), queries, memory)
    assert torch.equal(choices, weights.argmax(2))


def test_entropy_and_padding_of_the_term() -> None:
    """Two elements, one with a step less, whose padding is NaN."""
    rows = [[[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]], [[1.0, 0.0, 0.0], [0.1, 0.1, 0.8]]]
    weights = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    choices, lengths = torch.tensor([[0, 1], [0, 2]]), torch.tensor([1, 2])
    rewards = torch.tensor([[-1.0, -2.0], [torch.nan, -0.5]]).double()
    term = reinforce(weights, choices, rewards, lengths, torch.tensor(-1.0), entropy=0.1)
    entropies = math.log(2) - sum(p * math.log(p) for p in (0.2, 0.3, 0.5, 0.1, 0.1, 0.8))
    assert float(term.detach()) == pytest.approx(-0.1 * entropies, abs=1e-12)
    (found,) = torch.autograd.grad(term, weights)
    advantages = {(0, 0, 0): 0.0, (0, 1, 1): -2.5 + 2.0, (1, 1, 2): -0.5 + 1.0}
    for t, n, s in itertools.product(range(2), range(2), range(3)):
        p = float(weights[t, n, s].detach())
        expected = -advantages.get((t, n, s), 0.0) / p if p else 0.0
        if p and t < int(lengths[n]):
            expected += 0.1 * (math.log(p) + 1)
        assert float(found[t, n, s]) == pytest.approx(expected, abs=1e-12)


def test_a_part_of_the_elements_sees_the_expectation_in_training() -> None:
    """The same elements at every step; which they are follows the seed, how many the probability."""
    torch.manual_seed(3)
    attention = HardAttention(SIZE, SIZE, expected=0.3).train()
    bound = attention.bind(torch.randn(PLACES, 4000, SIZE))
    past, wholes = attention.start(bound, 4000), []
    for query in torch.randn(2, 4000, SIZE):
        found = attention(query, bound, past)
        past = found.past
        assert found.choice is not None
        whole = found.choice == UNDRAWN
        mean = torch.einsum("ns,nsm->nm", found.weights, bound.values)
        drawn = bound.values[torch.arange(4000), found.choice.clamp(min=0)]
        torch.testing.assert_close(found.context, torch.where(whole[:, None], mean, drawn))
        wholes.append(whole)
    assert torch.equal(*wholes)
    assert abs(float(wholes[0].float().mean()) - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 4000)
    attention.reseed(1)
    assert not torch.equal(attention(query, bound, attention.start(bound, 4000)).choice == UNDRAWN, wholes[0])
    let_draw(attention, False)
    assert bool((attention(query, bound, attention.start(bound, 4000)).choice == UNDRAWN).all())
    let_draw(attention, True)
    used = attention.eval()(query, bound, attention.start(bound, 4000))
    assert torch.equal(used.choice, used.weights.argmax(1))


def test_an_element_that_saw_the_expectation_adds_nothing() -> None:
    weights = torch.tensor([[[0.5, 0.5], [0.2, 0.8]]], dtype=torch.float64, requires_grad=True)
    choices, rewards = torch.tensor([[UNDRAWN, 0]]), torch.tensor([[-5.0, -1.5]]).double()
    term = reinforce(weights, choices, rewards, torch.tensor([1, 1]), torch.tensor(-1.0), 0.0)
    (found,) = torch.autograd.grad(term, weights)
    torch.testing.assert_close(found, torch.tensor([[[0.0, 0.0], [0.5 / 0.2, 0.0]]]).double())
