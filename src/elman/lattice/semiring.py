"""What a sum over paths adds up: the one difference between likelihood, best path and the K best.

    semiring   values of a set of paths               a + b              a x b
    Log        ln sum exp(score), K = 1               ln(e^a + e^b)      a + b
    Best(K)    the K largest scores, best first       the K largest      a + b
               of both sets together

A path's score is a sum of natural logarithms, -inf where the path is impossible. A value is K numbers on
the last axis; a set of no paths is -inf in each. Goodman, "Semiring parsing", 1999.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Semiring(ABC):
    """How values of disjoint sets of paths become the value of their union."""

    width: int
    """K, the numbers of a value."""

    @abstractmethod
    def sum(self, values: Tensor) -> Tensor:
        """(..., P, K) the values of P sets -> (..., K) the value of their union."""

    def lift(self, scores: Tensor) -> Tensor:
        """(...) the scores of single paths -> (..., K) values."""
        nothing = scores.new_full((*scores.shape, self.width - 1), -torch.inf)
        return torch.cat((scores[..., None], nothing), -1)


class Log(Semiring):
    """Sums of probabilities, as logarithms."""

    width = 1

    def sum(self, values: Tensor) -> Tensor:
        return log_sum_exp(values, -2)


class Best(Semiring):
    """The K largest scores; K = 1 is the max semiring of Viterbi. Ties keep the order of the sets."""

    def __init__(self, width: int = 1) -> None:
        self.width = width

    def sum(self, values: Tensor) -> Tensor:
        # A stable sort, because a path is found again by its rank among what is summed here.
        return values.flatten(-2).sort(dim=-1, descending=True, stable=True).values[..., : self.width]


def log_sum_exp(scores: Tensor, dim: int) -> Tensor:
    """ln sum exp(scores) over an axis; -inf with a zero gradient where all are -inf.

    torch.logsumexp gives NaN for that gradient, and a gradient of gradients there would be NaN too: both
    selections below stand before the operation that would make it.
    """
    highest = scores.detach().amax(dim, keepdim=True)
    highest = torch.where(highest == -torch.inf, 0.0, highest)
    total = (scores - highest).exp().sum(dim, keepdim=True)
    empty = total == 0
    logarithm = torch.where(empty, 1.0, total).log() + highest
    return torch.where(empty, -torch.inf, logarithm).squeeze(dim)
