"""What a model adds to the loss because of where it looked.

    (1/P) [ doubly_stochastic sum (1 - sum_t a_ts)^2 + coverage sum min(a_ts, c_ts) + REINFORCE's term ]

elman.attention.penalties has the first two, elman.attention.hard the third with its entropy. P, the number of
symbols, makes the whole a mean for each symbol, as the loss is.
Shapes: T time, N batch, S places, V vocabulary; weights (T, N, S), choices (T, N), rewards (T, N), lengths
(N,), logits (P, V) of the places that are not padding.
"""

import math

import torch
from torch import Tensor, nn

from elman.attention.hard import reinforce
from elman.attention.penalties import coverage, doubly_stochastic
from elman.errors import ConfigError
from elman.padded import length_mask


class AttentionLoss(nn.Module):
    """The term of a batch; `baseline`, the moving average of ln p of a symbol, is for attention that draws.

    The baseline begins at that of V symbols that are all alike, and keeps the part `kept` of itself at each
    update (Xu et al.: 0.9). It is a parameter without a gradient, so that a run keeps it. end: the symbol at
    the end of every target, which attention that draws must know to reward the whole of it. Raises
    ConfigError where it lacks, and for a weight below 0.
    """

    baseline: Tensor | None

    def __init__(
        self,
        doubly: float = 0.0,
        coverage: float = 0.0,
        entropy: float = 0.0,
        kept: float = 0.9,
        *,
        draws: bool,
        symbols: int,
        end: int | None = None,
    ) -> None:
        super().__init__()
        if min(doubly, coverage, entropy) < 0 or not 0 <= kept < 1:
            raise ConfigError(
                "doubly_stochastic, coverage, entropy: weights of at least 0, and baseline: a part of "
                f"at least 0 and below 1; got {doubly}, {coverage}, {entropy}, {kept}"
            )
        if draws and end is None:
            raise ConfigError("hard attention: end= must name the symbol at the end of every target")
        self.doubly = doubly
        self.coverage = coverage
        self.entropy = entropy
        self.kept = kept
        self.end = end
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
        choices: Tensor | None = None,
        logits: Tensor | None = None,
        inputs: Tensor | None = None,
    ) -> Tensor:
        """choices, and logits after the inputs (T, N): where places are drawn."""
        symbols = lengths.sum().clamp(min=1)
        total = weights.new_zeros(())
        if self.doubly:
            total = total + self.doubly * doubly_stochastic(weights, source_lengths)
        if self.coverage:
            total = total + self.coverage * coverage(weights)
        if choices is not None and logits is not None and inputs is not None and self.baseline is not None:
            rewards = self.rewards(logits, inputs, lengths)
            total = total + reinforce(weights, choices, rewards, lengths, self.baseline, self.entropy)
            with torch.no_grad():  # after its use: a baseline must not know these choices
                self.baseline.lerp_((rewards.sum() / symbols).to(self.baseline.dtype), 1 - self.kept)
        return total / symbols

    def rewards(self, logits: Tensor, inputs: Tensor, lengths: Tensor) -> Tensor:
        """ln p (T, N) of the symbols that follow the inputs, the last of which is the end; zero past it."""
        ends = torch.full_like(inputs[:1], self.end or 0)
        following = torch.cat([inputs[1:], ends]).scatter(0, (lengths - 1).clamp(min=0)[None], ends)
        inside = length_mask(lengths, len(inputs))
        # bfloat16 has too few digits for a difference of logarithms
        exact = logits.detach() if logits.dtype == torch.float64 else logits.detach().float()
        found = exact.log_softmax(-1).gather(1, following[inside][:, None])[:, 0]
        return torch.zeros(inputs.shape, dtype=found.dtype, device=found.device).masked_scatter(inside, found)
