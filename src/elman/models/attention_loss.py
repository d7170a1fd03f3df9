"""What a model adds to the loss because of where it looked.

    (1/P) [ doubly_stochastic sum (1 - sum_t a_ts)^2 + coverage sum min(a_ts, c_ts) + REINFORCE's term ]

elman.attention.penalties has the first two, elman.attention.hard the third with its entropy. P, the number of
symbols, makes the whole a mean for each symbol, as the loss is.
Shapes: T time, N batch, S places; weights (T, N, S), choices (T, N), rewards (T, N), lengths (N,).
"""

import math

import torch
from torch import Tensor, nn

from elman.attention.hard import reinforce
from elman.attention.penalties import coverage, doubly_stochastic

KEPT = 0.9
"""What the moving average of rewards keeps of itself at each update (Xu et al. 2015)."""


class AttentionLoss(nn.Module):
    """The term of a batch; `baseline`, the moving average of ln p of a symbol, is for attention that draws.

    The baseline begins at that of V symbols that are all alike. It is a parameter without a gradient, so that
    a run keeps it.
    """

    baseline: Tensor | None

    def __init__(
        self, doubly: float = 0.0, coverage: float = 0.0, entropy: float = 0.0, *, draws: bool, symbols: int
    ) -> None:
        super().__init__()
        self.doubly = doubly
        self.coverage = coverage
        self.entropy = entropy
        start = torch.tensor(-math.log(symbols)) if draws else None
        self.baseline = None if start is None else nn.Parameter(start, requires_grad=False)

    @property
    def wanted(self) -> bool:
        """Whether there is a term at all."""
        return bool(self.doubly or self.coverage or self.baseline is not None)

    def forward(
        self,
        weights: Tensor,
        lengths: Tensor,
        source_lengths: Tensor,
        choices: Tensor | None,
        rewards: Tensor | None,
    ) -> Tensor:
        """choices and rewards (ln p of a place's symbol, zero past the end): where places are drawn."""
        symbols = lengths.sum().clamp(min=1)
        total = weights.new_zeros(())
        if self.doubly:
            total = total + self.doubly * doubly_stochastic(weights, source_lengths)
        if self.coverage:
            total = total + self.coverage * coverage(weights)
        if choices is not None and rewards is not None and self.baseline is not None:
            total = total + reinforce(weights, choices, rewards, lengths, self.baseline, self.entropy)
            with torch.no_grad():  # after its use: a baseline must not know these choices
                self.baseline.lerp_((rewards.sum() / symbols).to(self.baseline.dtype), 1 - KEPT)
        return total / symbols
