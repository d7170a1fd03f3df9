"""Linear maps of numbers rounded to bfloat16: in training about twice as fast where the processor can.

    y = r(x) r(W)^T + r(b)        r rounds to bfloat16; the sums of a product are made in float32

The derivatives are those of the rounded numbers, rounded too, and of the parameters again float32.
Shapes: x (..., C), W (H, C), b (H,), y (..., H).
"""

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from elman.models.filled import filled, unfilled

ROWS = 128
"""Rows are filled up to a multiple of these: few shapes, and little that is computed for nothing."""


def rounded_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The map of rounded numbers, as bfloat16."""
    return _Rounded.apply(x, weight, bias)


@final
class RoundedLinear(nn.Linear):
    """A linear map that rounds where `compute` is bfloat16 and it learns; otherwise it does not."""

    def __init__(self, given: int, made: int, compute: torch.dtype | None = None) -> None:
        super().__init__(given, made)
        self.compute = compute

    def forward(self, input: Tensor) -> Tensor:
        if self.compute is None or not self.training:
            return super().forward(input)
        return rounded_linear(input, self.weight, self.bias)


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows, w = filled(x.to(torch.bfloat16), ROWS), weight.to(torch.bfloat16)
        ctx.save_for_backward(rows, w)
        ctx.types = x.dtype, weight.dtype, bias.dtype
        return unfilled(linear(rows, w, bias.to(torch.bfloat16)), x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        rows, w = ctx.saved_tensors
        given, (x_type, weight_type, bias_type) = filled(dy, ROWS), ctx.types
        dx = dw = db = None
        if ctx.needs_input_grad[0]:
            dx = unfilled(given @ w, dy).to(x_type)
        if ctx.needs_input_grad[1]:
            dw = (given.t() @ rows).to(weight_type)
        if ctx.needs_input_grad[2]:
            db = given.sum(0).to(bias_type)
        return dx, dw, db
