"""Looks at a memory against the formulas, position by position, in float64."""

import math

import pytest
import torch
from torch import Tensor

from elman.attend import additive_attend, dot_attend

TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}


def by_hand(scores: list[float], values: list[Tensor], width: int) -> tuple[Tensor, list[float]]:
    """The weighted sum of these positions."""
    total = sum(math.exp(score) for score in scores)
    weights = [math.exp(score) / total for score in scores]
    context = torch.zeros(width, dtype=torch.float64)
    for weight, value in zip(weights, values, strict=True):
        context = context + weight * value
    return context, weights


@pytest.mark.parametrize("lengths", [None, [4, 1, 0]])
@pytest.mark.parametrize("additive", [True, False])
def test_it_is_the_formula(additive: bool, lengths: list[int] | None) -> None:
    torch.manual_seed(0)
    q, v = torch.randn(3, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    keys, values = torch.randn(4, 3, 5, dtype=torch.float64), torch.randn(4, 3, 2, dtype=torch.float64)
    given = None if lengths is None else torch.tensor(lengths)
    look = additive_attend(q, v, keys, values, given) if additive else dot_attend(q, keys, values, given)
    for n, length in enumerate(lengths or [4, 4, 4]):
        scores = [
            float(v @ torch.tanh(q[n] + keys[s, n])) if additive else float(q[n] @ keys[s, n])
            for s in range(length)
        ]
        context, weights = by_hand(scores, [values[s, n] for s in range(length)], 2)
        torch.testing.assert_close(look[0][n], context, **TOLERANCE)
        expected = torch.tensor([*weights, *[0.0] * (4 - length)], dtype=torch.float64)
        torch.testing.assert_close(look[1][n], expected, **TOLERANCE)


@pytest.mark.parametrize("lengths", [None, [4, 1, 0]])
def test_its_gradients(lengths: list[int] | None) -> None:
    torch.manual_seed(0)
    sizes = [(3, 5), (5,), (4, 3, 5), (4, 3, 2)]
    q, v, keys, values = (torch.randn(*size, dtype=torch.float64, requires_grad=True) for size in sizes)
    given = None if lengths is None else torch.tensor(lengths)
    torch.autograd.gradcheck(lambda *x: additive_attend(*x, given), (q, v, keys, values))
    torch.autograd.gradcheck(lambda *x: dot_attend(*x, given), (q, keys, values))


def test_what_is_past_a_length_has_no_influence() -> None:
    torch.manual_seed(0)
    q, v, keys, values = torch.randn(2, 3), torch.randn(3), torch.randn(4, 2, 3), torch.randn(4, 2, 3)
    lengths = torch.tensor([2, 3])
    one = additive_attend(q, v, keys, values, lengths)
    keys[3], values[3], keys[2, 0], values[2, 0] = 1e4, -1e4, 50.0, 1e4
    for a, b in zip(one, additive_attend(q, v, keys, values, lengths), strict=True):
        assert torch.equal(a, b)
