"""Chains against every path written down, and against finite differences."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from elman import counter
from elman.errors import ShapeError
from elman.lattice.chain import (
    Banded,
    Chain,
    Dense,
    Paths,
    k_best,
    log_partition,
    marginals,
    sample,
    score,
    viterbi,
)
from elman.lattice.semiring import log_sum_exp
from lattice_oracles import chain_paths, log_sum

STATES, TIME = 3, 5
LENGTHS = (5, 3, 1, 0, 4)


def scores(*shape: int, key: int = 1, impossible: float = 0.2) -> Tensor:
    """Scores between -3 and 3, some of them -inf."""
    places = torch.arange(math.prod(shape)).reshape(shape)
    values = (counter.uniform(key, places) * 6 - 3).double()
    return torch.where(counter.uniform(key + 1000, places) < impossible, -torch.inf, values)


def make(banded: bool, lead: tuple[int, ...], key: int, impossible: float = 0.2) -> tuple[Chain, list]:
    """A ragged batch, and for each element its list of all paths."""
    batch = len(LENGTHS)
    emissions = scores(TIME, batch, STATES, key=key, impossible=impossible)
    start, end = (
        scores(STATES, key=key + 1, impossible=impossible),
        scores(batch, STATES, key=key + 2, impossible=impossible),
    )
    ways = 2 if banded else STATES
    given = scores(*lead, STATES, ways, key=key + 3, impossible=impossible)
    transitions = Banded(given) if banded else Dense.of(given)
    steps = given.expand(TIME - 1, batch, STATES, ways).numpy()
    full = steps
    if banded:
        full = np.full((TIME - 1, batch, STATES, STATES), -np.inf)
        for s in range(STATES):
            for d in range(min(s, ways - 1) + 1):
                full[:, :, s - d, s] = steps[:, :, s, d]
    chain = Chain(emissions, transitions, start, end, torch.tensor(LENGTHS))
    found = [
        chain_paths(emissions[:length, n].numpy(), full[:, n], start.numpy(), end[n].numpy())
        for n, length in enumerate(LENGTHS)
    ]
    return chain, found


CASES = [
    (banded, lead, key)
    for banded in (False, True)
    for lead, key in (((), 10), ((5,), 20), ((4, 5), 30), ((4, 5), 40))
]


@pytest.mark.parametrize(("banded", "lead", "key"), CASES)
def test_a_chain_is_the_sum_over_its_paths(banded: bool, lead: tuple[int, ...], key: int) -> None:
    chain, paths = make(banded, lead, key)
    total, (states, steps) = log_partition(chain), marginals(chain)
    best = k_best(chain, 4)
    for n, found in enumerate(paths):
        expected = log_sum([s for s, _ in found])
        assert float(total[n]) == pytest.approx(expected, abs=1e-10)
        weights = [math.exp(s - expected) if expected > -math.inf else 0.0 for s, _ in found]
        by_state, by_step = np.zeros((TIME, STATES)), np.zeros((TIME - 1, STATES, STATES))
        for weight, (_, path) in zip(weights, found, strict=True):
            for t, s in enumerate(path):
                by_state[t, s] += weight
                if t:
                    by_step[t - 1, path[t - 1], s] += weight
        np.testing.assert_allclose(states[:, n].numpy(), by_state, atol=1e-10)
        for s in range(STATES):
            for way in range(steps.shape[-1]):
                came = s - way if banded else way
                expected_steps = by_step[:, came, s] if came >= 0 else np.zeros(TIME - 1)
                np.testing.assert_allclose(steps[:, n, s, way].numpy(), expected_steps, atol=1e-10)
        possible = sorted((s, path) for s, path in found if s > -math.inf)[::-1][:4]
        same_paths(best, n, possible)


def same_paths(best: Paths, n: int, possible: list[tuple[float, tuple[int, ...]]]) -> None:
    for k in range(best.scores.shape[1]):
        length = LENGTHS[n]
        path = best.paths[:, n, k].tolist()
        if k < len(possible):
            assert float(best.scores[n, k]) == pytest.approx(possible[k][0], abs=1e-10)
            assert tuple(path[:length]) == possible[k][1]
            assert path[length:] == [-1] * (TIME - length)
        else:
            assert float(best.scores[n, k]) == -math.inf
            assert path == [-1] * TIME


def test_viterbi_is_the_best_of_all_and_its_score_is_the_paths_own() -> None:
    chain, _ = make(False, (4, 5), 50, impossible=0.0)
    path, value = viterbi(chain)
    torch.testing.assert_close(score(chain, path), value, rtol=0, atol=1e-12)
    assert bool((value <= log_partition(chain) + 1e-12).all())


@pytest.mark.parametrize("banded", [False, True])
def test_the_paths_of_the_k_best_have_their_scores(banded: bool) -> None:
    chain, _ = make(banded, (4, 5), 60)
    best = k_best(chain, 6)
    for k in range(6):
        there = best.scores[:, k] > -torch.inf
        own = score(chain, torch.where(best.paths[..., k] < 0, 0, best.paths[..., k]))
        torch.testing.assert_close(own[there], best.scores[there, k], rtol=0, atol=1e-12)


def test_samples_come_as_often_as_they_are_likely() -> None:
    chain, paths = make(False, (4, 5), 70, impossible=0.1)
    count = 20_000
    drawn = sample(chain, count, key=5)
    for n, found in enumerate(paths):
        total = log_sum([s for s, _ in found])
        seen: dict[tuple[int, ...], int] = {}
        for column in drawn[: LENGTHS[n], n].T.tolist():
            seen[tuple(column)] = seen.get(tuple(column), 0) + 1
        chi, cells = 0.0, 0
        for value, path in found:
            expected = count * math.exp(value - total)
            if value == -math.inf:
                assert path not in seen
            elif expected >= 5:
                chi += (seen.get(path, 0) - expected) ** 2 / expected
                cells += 1
        # Six standard deviations of the chi-squared distribution.
        assert chi < cells + 6 * math.sqrt(2 * cells)


def test_impossible_chains_have_neither_paths_nor_nan() -> None:
    emissions = torch.full((3, 1, 2), -torch.inf, dtype=torch.float64, requires_grad=True)
    chain = Chain(emissions, Dense(torch.zeros(2, 2, dtype=torch.float64)))
    total = log_partition(chain)
    (gradient,) = torch.autograd.grad(total.sum(), emissions, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), emissions)
    assert total.tolist() == [-math.inf]
    assert not gradient.any()
    assert not second.any()
    assert viterbi(chain)[0].flatten().tolist() == [-1, -1, -1]
    assert sample(chain, 2, key=0).flatten().tolist() == [-1] * 6
    assert not marginals(chain).states.any()


def test_gradients_and_their_gradients() -> None:
    impossible = scores(4, 2, 3, key=80, impossible=0.3)
    banded, start = scores(3, 2, key=83, impossible=0), scores(2, 3, key=82, impossible=0)
    dense = scores(3, 2, 3, 3, key=81, impossible=0)
    free = torch.where(impossible == -torch.inf, 0.0, impossible).requires_grad_()

    def total(emissions: Tensor, first: Tensor, dense: Tensor, banded: Tensor) -> tuple[Tensor, Tensor]:
        emissions = torch.where(impossible == -torch.inf, -torch.inf, emissions)
        lengths = torch.tensor([4, 2])
        a = Chain(emissions, Dense(dense), first, None, lengths)
        b = Chain(emissions, Banded(banded), None, first, lengths)
        finite = [torch.where(z == -torch.inf, 0.0, z) for z in (log_partition(a), log_partition(b))]
        return finite[0], finite[1]

    inputs = (free, start.requires_grad_(), dense.requires_grad_(), banded.requires_grad_())
    assert torch.autograd.gradcheck(total, inputs)
    assert torch.autograd.gradgradcheck(total, inputs)
    assert torch.autograd.gradcheck(lambda e: marginals(Chain(e, Dense(dense.detach()))).states, (free,))


def test_padding_has_no_say_even_where_it_is_nan() -> None:
    chain, _ = make(False, (), 90)
    spoiled = chain.emissions.clone()
    for n, length in enumerate(LENGTHS):
        spoiled[length:, n] = math.nan
    spoiled.requires_grad_()
    again = Chain(spoiled, chain.transitions, chain.start, chain.end, chain.lengths)
    torch.testing.assert_close(log_partition(again), log_partition(chain), rtol=0, atol=0)
    assert not torch.autograd.grad(log_partition(again).sum(), spoiled)[0].isnan().any()


def test_log_sum_exp_is_torchs_where_that_is_defined() -> None:
    values = scores(6, 4, 5, key=95).requires_grad_()
    own, torchs = log_sum_exp(values, 1), torch.logsumexp(values, 1)
    torch.testing.assert_close(own, torchs)
    finite = torchs > -torch.inf
    (gradient,) = torch.autograd.grad(own[finite].sum(), values, retain_graph=True)
    (expected,) = torch.autograd.grad(torchs[finite].sum(), values)
    torch.testing.assert_close(gradient, torch.nan_to_num(expected))


EMISSIONS = torch.zeros(3, 2, 4)
STEPS = torch.zeros(4, 4)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Chain(EMISSIONS[0], Dense(STEPS)), r"emissions: expected.*\(T, N, S\), got \(2, 4\)"),
        (lambda: Chain(EMISSIONS.long(), Dense(STEPS)), "floating-point"),
        (lambda: Chain(EMISSIONS[..., :0], Dense(STEPS)), "at least one state"),
        (lambda: Chain(EMISSIONS, Dense(STEPS[:3])), r"transitions: expected \(..., 4, 4\).*got \(3, 4\)"),
        (lambda: Chain(EMISSIONS, Dense(STEPS.expand(3, 4, 4))), r"got \(3,\)"),
        (lambda: Chain(EMISSIONS, Banded(STEPS[:, :0])), "D ways into each"),
        (lambda: Chain(EMISSIONS, Dense(STEPS), start=STEPS), r"start: expected \(4,\) or \(2, 4\)"),
        (lambda: Chain(EMISSIONS, Dense(STEPS), lengths=torch.tensor([4, 1])), "element 0 is 4"),
        (lambda: Chain(EMISSIONS + math.nan, Dense(STEPS)), r"emissions\[0, 0, 0\].*nan"),
        (lambda: Chain(EMISSIONS, Dense(STEPS + math.inf)), r"transitions\[0, 0\].*inf"),
        (lambda: k_best(Chain(EMISSIONS, Dense(STEPS)), 0), "k of at least 1"),
        (lambda: sample(Chain(EMISSIONS, Dense(STEPS)), 0, key=0), "count of at least 1"),
        (lambda: score(Chain(EMISSIONS, Dense(STEPS)), torch.full((3, 2), 4)), "states of 0 to 3"),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        make()
