"""What a loss may ask of the weights of a whole sequence.

    doubly stochastic   sum_s (1 - sum_t a_ts)^2                    every place is looked at: Xu et al. 2015
    coverage            sum_t sum_s min(a_ts, c_ts)                 none is twice: See, Liu and Manning 2017
                        c_t = sum_(u < t) a_u

Shapes: T time, N elements, S places; weights (T, N, S), zero past an element's last step and its last place,
as `scan` records them; lengths (N,) of the sources. Each gives the sum over elements.
"""

import torch
from torch import Tensor

from elman.padded import length_mask


def doubly_stochastic(weights: Tensor, lengths: Tensor) -> Tensor:
    """How far the looks at each place are from one in all."""
    missing = (1 - weights.sum(0)).square()
    return torch.where(length_mask(lengths, weights.shape[2]).t(), missing, 0).sum()


def coverage(weights: Tensor) -> Tensor:
    """How much of each look goes to where others went before."""
    return torch.minimum(weights, weights.cumsum(0) - weights).sum()
