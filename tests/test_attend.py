"""Looks at a memory against the formulas, place by place, in float64."""

import math

import pytest
import torch
from torch import Tensor

from elman.attend import attend_additive, attend_dot

TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}


def barred(lengths: list[int], places: int) -> Tensor:
    """The bias (N, S) that leaves each element its first places."""
    bias = torch.zeros(len(lengths), places, dtype=torch.float64)
    for n, length in enumerate(lengths):
        bias[n, length:] = -torch.inf
    return bias


def by_hand(scores: list[float], values: Tensor) -> tuple[Tensor, list[float]]:
    """The sum of these places that their scores weigh."""
    total = sum(math.exp(score) for score in scores)
    weights = [math.exp(score) / total for score in scores]
    return sum(w * value for w, value in zip(weights, values, strict=True)), weights  # pyrefly: ignore


@pytest.mark.parametrize("lengths", [[4, 4, 4], [4, 1, 2]])
@pytest.mark.parametrize("additive", [True, False])
def test_it_is_the_formula(additive: bool, lengths: list[int]) -> None:
    torch.manual_seed(0)
    q, v = torch.randn(3, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    keys, values = torch.randn(3, 4, 5, dtype=torch.float64), torch.randn(3, 4, 2, dtype=torch.float64)
    bias = barred(lengths, 4)
    look = attend_additive(q, keys, v, bias, values) if additive else attend_dot(q, keys, bias, values)
    for n, length in enumerate(lengths):
        scores = [
            float(v @ torch.tanh(q[n] + key)) if additive else float(q[n] @ key) for key in keys[n, :length]
        ]
        context, weights = by_hand(scores, values[n, :length])
        torch.testing.assert_close(look[0][n], context, **TOLERANCE)
        expected = torch.tensor([*weights, *[0.0] * (4 - length)], dtype=torch.float64)
        torch.testing.assert_close(look[1][n], expected, **TOLERANCE)


def test_its_gradients() -> None:
    torch.manual_seed(0)
    sizes = [(3, 5), (3, 4, 5), (5,), (3, 4, 2)]
    q, keys, v, values = (torch.randn(*size, dtype=torch.float64, requires_grad=True) for size in sizes)
    bias = barred([4, 1, 3], 4)
    torch.autograd.gradcheck(lambda q, k, v, m: attend_additive(q, k, v, bias, m), (q, keys, v, values))
    torch.autograd.gradcheck(lambda q, k, m: attend_dot(q, k, bias, m), (q, keys, values))
