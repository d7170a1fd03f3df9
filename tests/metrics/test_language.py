"""Rates: what nats, bits and perplexity are of a distribution that is known."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.metrics.language import Rate


@given(st.integers(2, 1000), st.integers(1, 50))
def test_the_uniform_distribution(symbols: int, length: int) -> None:
    """Of V equally likely symbols: ln V nats, log2 V bits, perplexity V."""
    rate = Rate(math.fsum([-math.log(1 / symbols)] * length), length)
    assert rate.nats == pytest.approx(math.log(symbols), rel=1e-12)
    assert rate.bits == pytest.approx(math.log2(symbols), rel=1e-12)
    assert rate.perplexity == pytest.approx(symbols, rel=1e-11)


def test_figures_of_a_text_by_hand() -> None:
    """Probabilities 1/2, 1/4 and 1/8: 1 + 2 + 3 bits over three symbols, perplexity 64 ** (1 / 3) = 4."""
    rate = Rate(-sum(math.log(p) for p in (1 / 2, 1 / 4, 1 / 8)), 3)
    assert rate.bits == pytest.approx(2, abs=1e-15)
    assert rate.nats == pytest.approx(2 * math.log(2), abs=1e-15)
    assert rate.perplexity == pytest.approx(4, abs=1e-14)


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 9)), max_size=6))
def test_rates_add(parts: list[tuple[int, int]]) -> None:
    whole = Rate(0.0, 0)
    for total, symbols in parts:
        whole += Rate(float(total), symbols)
    count = sum(symbols for _, symbols in parts)
    assert whole == Rate(float(sum(total for total, _ in parts)), count)
    if count:
        assert whole.nats == float(Fraction(sum(total for total, _ in parts), count))


def test_nothing_predicted_has_no_rate() -> None:
    rate = Rate(0.0, 0)
    assert all(math.isnan(figure) for figure in (rate.nats, rate.bits, rate.perplexity))


@pytest.mark.parametrize(("nats", "perplexity"), [(0.0, 1.0), (709.0, math.exp(709.0)), (709.8, math.inf)])
def test_the_range_of_a_float(nats: float, perplexity: float) -> None:
    assert Rate(nats, 1).perplexity == perplexity
    assert Rate(math.inf, 1).perplexity == math.inf
