"""Sampling: each distribution against a direct computation, and draws against the distribution.

Shapes: N streams, V vocabulary.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import oracles
from elman.cells import State
from elman.errors import ConfigError
from elman.search.sampling import Sampling, sample
from language_oracles import fits

LOGITS = (0.3, -1.0, 2.0, 0.3, 1.1, -4.0)

# Eighths, so that equal logits are frequent.
LOGIT_LISTS = st.lists(st.integers(-24, 24).map(lambda x: x / 8), min_size=1, max_size=8)


def direct(
    logits: Sequence[float], temperature: float, top_k: int | None, top_p: float | None
) -> list[float]:
    """The definition, on a list: softmax; the k likeliest; of these the fewest that reach the part p."""
    weights = [math.exp(logit / temperature) for logit in logits]
    p = [weight / math.fsum(weights) for weight in weights]
    kept = sorted(range(len(p)), key=lambda index: (-p[index], index))[:top_k]
    if top_p is not None:
        whole = math.fsum(p[index] for index in kept)
        enough = next(n for n in range(1, len(kept) + 1) if reaches([p[i] for i in kept[:n]], top_p, whole))
        kept = kept[:enough]
    whole = math.fsum(p[index] for index in kept)
    return [p[index] / whole if index in kept else 0.0 for index in range(len(p))]


def reaches(parts: list[float], top_p: float, whole: float) -> bool:
    """Whether parts add up to top_p of the whole, with room for rounding."""
    return math.fsum(parts) >= top_p * whole * (1 - 1e-12)


@given(
    LOGIT_LISTS,
    st.floats(0.1, 5),
    st.none() | st.integers(1, 9),
    st.none() | st.floats(0.01, 1).map(lambda p: p - 1e-4 * math.pi),
)
def test_probabilities_are_those_of_the_definition(
    logits: list[float], temperature: float, top_k: int | None, top_p: float | None
) -> None:
    other = [-logit for logit in logits]
    got = Sampling(temperature, top_k, top_p).probabilities(torch.tensor([logits, other]))
    assert got.dtype == torch.float64
    expected = torch.tensor(
        [direct(row, temperature, top_k, top_p) for row in (logits, other)], dtype=got.dtype
    )
    assert torch.allclose(got, expected, rtol=0, atol=1e-12)


def test_equal_symbols_are_kept_in_order() -> None:
    four = torch.zeros(1, 4)
    assert Sampling(top_k=2).probabilities(four).tolist() == [[0.5, 0.5, 0, 0]]
    assert Sampling(top_p=0.5).probabilities(four).tolist() == [[0.5, 0.5, 0, 0]]
    assert Sampling(top_p=0.51).probabilities(four)[0].count_nonzero() == 3
    assert Sampling(top_p=1.0).probabilities(four)[0].tolist() == [0.25] * 4
    assert Sampling(0.0).probabilities(four).tolist() == [[1, 0, 0, 0]]
    # The part p is of what top_k has left.
    assert Sampling(top_k=2, top_p=0.5).probabilities(four).tolist() == [[1, 0, 0, 0]]


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-308, 5e-324])
def test_a_small_temperature_is_nearly_greedy(temperature: float) -> None:
    logits = torch.tensor([[900.0, -900.0, 901.0]])
    assert Sampling(temperature).probabilities(logits).tolist() == [[0, 0, 1]]


class TestChoose:
    def test_uniform_numbers_choose_by_the_cumulative_sum(self) -> None:
        grid = (torch.arange(20_000) + 0.5) / 20_000
        for sampling in (Sampling(), Sampling(0.5), Sampling(top_k=3), Sampling(top_p=0.7), Sampling(0.0)):
            ids = sampling.choose(torch.tensor([LOGITS]).expand(len(grid), -1), grid)
            assert bool((ids.diff() >= 0).all())
            parts = ids.bincount(minlength=len(LOGITS)) / len(grid)
            expected = sampling.probabilities(torch.tensor([LOGITS]))[0]
            assert (parts - expected).abs().max() < 1.5 / len(grid)

    @given(LOGIT_LISTS, st.integers(1, 9))
    def test_what_has_no_probability_is_never_chosen(self, logits: list[float], top_k: int) -> None:
        sampling = Sampling(top_k=top_k)
        extremes = torch.tensor([0.0, 1 - 2.0**-24])
        ids = sampling.choose(torch.tensor([logits, logits]), extremes)
        assert bool((sampling.probabilities(torch.tensor([logits]))[0][ids] > 0).all())


def fixed(logits: Sequence[float], streams: int) -> tuple[Any, Tensor]:
    """A step that expects the same at each place, and the logits of the first."""
    table = torch.tensor([logits], dtype=torch.float64).expand(streams, -1)
    return lambda ids, state: (table, state + 1), table


def drawn(sampling: Sampling, streams: int, length: int, seed: int = 0, start: int = 0) -> Tensor:
    """(length, streams) ids."""
    step, logits = fixed(LOGITS, streams)
    draws = sample(step, logits, torch.zeros(streams), sampling=sampling, seed=seed, start=start)
    return torch.stack([ids for ids, _, _ in itertools.islice(draws, length)])


class TestSample:
    @pytest.mark.parametrize(
        "sampling",
        [
            Sampling(),
            Sampling(0.4),
            Sampling(3.0),
            Sampling(top_k=2),
            Sampling(top_p=0.8),
            Sampling(2.0, 5, 0.9),
        ],
        ids=str,
    )
    def test_draws_follow_the_distribution(self, sampling: Sampling) -> None:
        ids = drawn(sampling, streams=50, length=400, seed=1)
        p = torch.tensor(direct(LOGITS, sampling.temperature, sampling.top_k, sampling.top_p))
        assert fits(ids.flatten().bincount(minlength=len(p)), p) > 1e-3
        # Pairs that follow each other in time, and those of neighbouring streams, are independent.
        for pairs in (ids[1:] * len(p) + ids[:-1], ids[:, 1:] * len(p) + ids[:, :-1]):
            counts = pairs.flatten().bincount(minlength=len(p) ** 2)
            assert fits(counts, torch.outer(p, p).flatten()) > 1e-3

    def test_another_distribution_would_be_noticed(self) -> None:
        ids = drawn(Sampling(1.1), streams=50, length=400, seed=1).flatten()
        assert fits(ids.bincount(minlength=len(LOGITS)), torch.tensor(direct(LOGITS, 1.0, None, None))) < 1e-6

    def test_each_draw_is_that_of_the_counter_at_its_place(self) -> None:
        cumulative = list(itertools.accumulate(direct(LOGITS, 1.0, None, None)))
        ids = drawn(Sampling(), streams=3, length=40, seed=12345678901, start=7)
        for t, n in itertools.product(range(40), range(3)):
            uniform = oracles.counter_uniform(12345678901, 7 + t, n)
            assert int(ids[t, n]) == sum(uniform >= total for total in cumulative)

    def test_seeds(self) -> None:
        one, again, other = (drawn(Sampling(), 2, 50, seed) for seed in (5, 5, 6))
        assert torch.equal(one, again)
        assert not torch.equal(one, other)

    def test_going_on_is_drawing_at_once(self) -> None:
        parts = torch.cat([drawn(Sampling(), 2, 20), drawn(Sampling(), 2, 30, start=20)])
        assert torch.equal(parts, drawn(Sampling(), 2, 50))

    def test_what_was_drawn_is_read_before_it_is_given(self) -> None:
        # Symbols count down from the state's number: a wrong id, logits or state breaks the row.
        def step(ids: Tensor, state: State) -> tuple[Tensor, State]:
            logits = torch.zeros(len(ids), 5)
            logits[torch.arange(len(ids)), (state - ids) % 5] = 1
            return logits, state + 1

        state, logits = torch.tensor([4, 2]), torch.tensor([[0, 0, 1.0, 0, 0], [1.0, 0, 0, 0, 0]])
        expected = logits
        for ids, got, after in itertools.islice(sample(step, logits, state, sampling=Sampling(0)), 20):
            assert ids.tolist() == expected.argmax(1).tolist()
            expected, state = step(ids, state)
            assert torch.equal(got, expected)
            assert torch.equal(after, state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": -0.1}, "temperature: expected 0 .greedy. or a positive number, got -0.1"),
        ({"temperature": math.inf}, "temperature: .* got inf"),
        ({"temperature": math.nan}, "temperature: .* got nan"),
        ({"top_k": 0}, "top-k: expected at least 1, got 0"),
        ({"top_p": 0.0}, "top-p: expected more than 0 and at most 1, got 0.0"),
        ({"top_p": 1.01}, "top-p: .* got 1.01"),
        ({"top_p": math.nan}, "top-p: .* got nan"),
    ],
)
def test_values_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sampling(**arguments)
