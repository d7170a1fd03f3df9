"""Hard attention: one place is looked at, drawn in training, and how the drawing learns.

    s ~ a = softmax(e)        context = m_s        at evaluation s = argmax a

A draw has no derivative, so the gradient of the expected log-likelihood is estimated (REINFORCE, Williams
1992; Xu et al. 2015): with r_t = ln p(y_t | s_1 .. s_t), the choice at t answers for what comes from t on,

    d/dw E[sum_t r_t] = E[sum_t d r_t/dw + sum_t (R_t - b_t) d ln a_(s_t)/dw]        R_t = sum_(u >= t) r_u

b_t does not depend on the choices and leaves the expectation as it is: here the moving average of r, for each
of the symbols that R_t counts. The entropy of a is added, so that not one place is chosen too early.
Xu et al. let a half of the elements see the expectation sum_s a_s m_s in place of a draw, which gives the
attention and what is below it a gradient through all places.
Draws are a function of (seed, element, step), so that a resumed run repeats them.
Shapes: T time, N elements, S places; weights (T, N, S), choices (T, N), rewards r (T, N), lengths (N,).
"""

import torch
from torch import Tensor, nn

from elman import counter
from elman.attention.base import Attended, Attention, Memory, Past
from elman.attention.content import content_attention
from elman.errors import ConfigError
from elman.padded import length_mask

UNDRAWN = -1
"""The choice of an element that saw the expectation."""


class HardAttention(Attention):
    """One place, chosen with the weights of attention by content (`score`) as probabilities.

    The past counts steps, (N, 1). In training `choice` is the place that was drawn, at evaluation the one
    with the largest weight. expected: the probability with which an element sees the expectation at all of
    its steps in training; its choices are UNDRAWN. So does every element while `drawing` is False.
    """

    draws = True

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        score: str = "additive",
        size: int | None = None,
        expected: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(query_size, memory_size)
        if not 0 <= expected <= 1:
            raise ConfigError(f"HardAttention: expected is a probability from 0 to 1, got {expected}")
        self.expected = expected
        self.drawing = True
        self.content = content_attention(score, query_size, memory_size, size)
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        self._key, self._whole_key = counter.child(seed, 0), counter.child(seed, 1)

    def keys(self, values: Tensor) -> Tensor:
        return self.content.keys(values)

    def start(self, memory: Memory, batch_size: int) -> Tensor:
        return memory.values.new_zeros(batch_size, 1)

    def choose(self, weights: Tensor, steps: Tensor) -> Tensor:
        """weights (N, S), steps (N,) -> a place for each element, (N,)."""
        if not self.training:
            return weights.argmax(1)
        drawn = counter.uniform(self._key, torch.arange(len(weights), device=weights.device), steps)
        # In proportion to the sum, which rounding keeps from one. In float64 the product stays below it, so
        # that a place of weight zero is never taken.
        reached = weights.detach().double().cumsum(1)
        return torch.searchsorted(reached, drawn[:, None] * reached[:, -1:], right=True)[:, 0]

    def forward(self, query: Tensor, memory: Memory, past: Past = ()) -> Attended:
        mean, weights, _, _ = self.content(query, memory)
        choice = self.choose(weights, past[:, 0].long())
        elements = torch.arange(len(choice), device=choice.device)
        context = memory.values[elements, choice]
        if self.training and (self.expected or not self.drawing):
            level = self.expected if self.drawing else 1.0
            whole = counter.uniform(self._whole_key, elements, torch.zeros_like(elements)) < level
            context = torch.where(whole[:, None], mean, context)
            choice = torch.where(whole, UNDRAWN, choice)
        return Attended(context, weights, past + 1, choice)


def let_draw(model: nn.Module, drawing: bool) -> None:
    """Whether the hard attention of a model, where it has one, draws places while it learns."""
    for part in model.modules():
        if isinstance(part, HardAttention):
            part.drawing = drawing


def reinforce(
    weights: Tensor, choices: Tensor, rewards: Tensor, lengths: Tensor, baseline: Tensor, entropy: float = 0.0
) -> Tensor:
    """A term whose gradient, for the loss -E[sum of rewards], is what the draws contribute; a sum.

    Its value is -entropy times the sum of the entropies; the estimator's own value is zero. baseline: b, a
    number for each symbol. What stands past an element's length, or is UNDRAWN, has no influence.
    """
    mask = length_mask(lengths, len(weights)) & (choices != UNDRAWN)
    advantage = torch.where(mask, rewards.detach() - baseline, 0).flip(0).cumsum(0).flip(0)
    chosen = weights.gather(2, choices.clamp(min=0)[:, :, None])[:, :, 0]
    log_chosen = torch.where(mask, chosen, 1).log()
    spread = -(weights * torch.where(weights > 0, weights, 1).log()).sum(2)
    drawn = advantage * (log_chosen - log_chosen.detach())
    return -(drawn + entropy * torch.where(mask, spread, 0)).sum()
