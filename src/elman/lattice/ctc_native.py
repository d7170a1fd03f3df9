"""CTC's loss with its gradient, and the best alignment, by the native kernels (csrc/ctc).

The kernel computes the gradient together with the loss, from what it has just read; backward hands it out.
Everything that the kernels are given is checked before (ctc_batch): they trust pointers and sizes.
Shapes: T frames, N batch, C classes; logits and their gradient (T, N, C) float32.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman import kernels
from elman.errors import ElmanError
from elman.lattice.ctc_batch import Batch, refuse_not_finite

Reference = Callable[[Tensor, Batch, str, float], Tensor]
SMALL = 1 << 15
"""Numbers (frames x classes and frames x states) below which a second thread costs more than it brings."""
_SERVED = (torch.float32, torch.bfloat16, torch.float16)


def lacks(logits: Tensor) -> str | None:
    """Why the kernels do not serve these logits; None where they do."""
    if not kernels.native_available():
        return kernels.native_status()
    if logits.device.type != "cpu":
        return f"the native kernel is for the CPU, not {logits.device}"
    if logits.dtype not in _SERVED:
        return f"the native kernel computes in float32, not {logits.dtype}"
    plain = type(logits) in (Tensor, torch.nn.Parameter) and not torch.compiler.is_compiling()
    # vmap, grad and the like wrap tensors that have no address.
    if not plain or torch._C._are_functorch_transforms_active():
        return "what torch itself traces is left to the reference"
    return None


class Loss(torch.autograd.Function):
    """losses or their sum or mean; the gradient comes with them."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, logits: Tensor, batch: Batch, reduction: str, smoothing: float, reference: Reference
    ) -> Tensor:
        ctx.batch, ctx.reduction, ctx.smoothing, ctx.reference = batch, reduction, smoothing, reference
        wanted = ctx.needs_input_grad[0]
        losses, ctx.gradient = compute(logits, batch, reduction, smoothing, wanted)
        if wanted:
            ctx.save_for_backward(logits)
        if reduction == "none":
            return losses.to(logits.dtype)
        total = losses.sum() if reduction == "sum" else losses.mean()
        return total.to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, *wanted: Any) -> tuple[Tensor | None, ...]:
        (d_loss,) = wanted
        (logits,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # gradients of this gradient are wanted
            loss = ctx.reference(logits, ctx.batch, ctx.reduction, ctx.smoothing)
            return torch.autograd.grad(loss, logits, d_loss, create_graph=True)[0], None, None, None, None
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:  # a second backward; the first gave its tensor away
            gradient = compute(logits, ctx.batch, ctx.reduction, ctx.smoothing, True)[1]
        # The gradient is this function's own until it is returned, and may be changed in place.
        if ctx.reduction == "none":
            gradient = gradient if bool((d_loss == 1).all()) else gradient.mul_(d_loss[:, None])
        elif d_loss.item() != 1:
            gradient = gradient.mul_(d_loss)
        return gradient.to(logits.dtype), None, None, None, None


def compute(
    logits: Tensor, batch: Batch, reduction: str, smoothing: float, with_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Losses (N,) and, if wanted, the gradient of their sum or mean, all float32."""
    native = kernels.native_module()
    values = logits.detach().float().contiguous()
    time, count, classes = values.shape
    gradient = kernels.storage(*values.shape) if with_gradient else None
    losses = torch.empty(count)
    work = time * count * (classes + 2 * batch.targets.shape[1])
    native.ctc_loss(
        [time, count, classes, batch.targets.shape[1]],
        values.data_ptr(),
        batch.targets.data_ptr(),
        batch.input_lengths.data_ptr(),
        batch.target_lengths.data_ptr(),
        losses.data_ptr(),
        0 if gradient is None else gradient.data_ptr(),
        1 / count if reduction == "mean" and count else 1.0,
        smoothing,
        1 if work < SMALL else torch.get_num_threads(),
        kernels.instructions(family="ctc"),
    )
    if np.isnan(losses.numpy()).any():
        refuse_not_finite(values, batch)
        raise ElmanError("ctc_loss: NaN from finite logits; please report this as a defect")
    return losses, gradient


def best_paths(scores: Tensor, batch: Batch) -> Tensor:
    """The states (T, N) int64 of the paths of highest score (T, N, C); -1 past an element's
    end and where no path is possible.
    """
    values = scores.detach().float().contiguous()
    time, count, classes = values.shape
    path = torch.empty(time, count, dtype=torch.int64)
    kernels.native_module().ctc_align(
        [time, count, classes, batch.targets.shape[1]],
        values.data_ptr(),
        batch.targets.data_ptr(),
        batch.input_lengths.data_ptr(),
        batch.target_lengths.data_ptr(),
        path.data_ptr(),
        torch.get_num_threads(),
        kernels.instructions(family="ctc"),
    )
    return path
