"""The loss of symbols against their logits, with label smoothing.

    objective = (1 / P) sum_p [(1 - e) (ln Z_p - z_py) + e (ln Z_p - mean_k z_pk)]
    Z_p = sum_k exp(z_pk)
    d objective / d z_pk = (exp(z_pk) / Z_p - (1 - e) [k = y] - e / V) / P

e is the smoothing (Szegedy et al. 2016). Loss and gradient are made in one pass over the logits, which are
large: by the native module, or by torch block by block where that does not serve.
Shapes: P places, V symbols; logits (P, V), targets (P,) int64.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from elman import kernels
from elman.errors import ShapeError

BLOCK = 1 << 19
"""Logits that torch computes at a time: they stay in the cache."""

SMALL = 1 << 15
"""Logits up to which one thread is enough."""

TYPES = (torch.float32, torch.bfloat16)


def symbol_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """The objective, (), and the sum of -ln p(y), () float64, unsmoothed and without a gradient.

    The objective is of the logits' type, of float32 where that is bfloat16. Second derivatives are not given.

    Raises ShapeError for shapes that do not fit and targets that are no symbols.
    """
    if logits.dim() != 2 or targets.shape != logits.shape[:1]:
        raise ShapeError(
            f"symbol_loss: expected logits (P, V) and targets (P,), got {tuple(logits.shape)} and "
            f"{tuple(targets.shape)}"
        )
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < logits.shape[1]:
        row = int(((targets < 0) | (targets >= logits.shape[1])).nonzero()[0])
        raise ShapeError(f"symbol_loss: target {row} is {int(targets[row])}, of {logits.shape[1]} symbols")
    return _SymbolLoss.apply(logits, targets, smoothing)


class _SymbolLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        native, gradient = _is_native(logits), None
        if ctx.needs_input_grad[0]:
            gradient = _kept(logits) if native else torch.empty_like(logits)
        nats, spread = (_native if native else _blocks)(logits, targets, smoothing, gradient)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        total = nats.sum()
        ctx.mark_non_differentiable(total)
        objective = (1 - smoothing) * total + (smoothing * spread.sum() if smoothing else 0)
        kind = torch.float32 if logits.dtype == torch.bfloat16 else logits.dtype
        return (objective / max(len(targets), 1)).to(kind), total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyrefly: ignore[bad-override]
        (gradient,) = ctx.saved_tensors
        # As a rule the derivative of what is computed last, one; a pass over all logits is worth a look.
        return gradient if float(grad_outputs[0]) == 1 else gradient * grad_outputs[0], None, None


def _is_native(logits: Tensor) -> bool:
    return (
        kernels.native_available()
        and kernels.mode() in ("auto", "native")
        and logits.device.type == "cpu"
        and logits.dtype in TYPES
        and logits.numel() > 0
        and logits.is_contiguous()
    )


def _kept(like: Tensor) -> Tensor:
    """As torch.empty_like, in memory that the next gradient gets again: to touch new memory takes as long."""
    if like.dtype == torch.float32:
        return kernels.storage(*like.shape)
    words = (like.numel() + 1) // 2
    return kernels.storage(words).view(like.dtype)[: like.numel()].view(like.shape)


def _native(
    logits: Tensor, targets: Tensor, smoothing: float, gradient: Tensor | None
) -> tuple[Tensor, Tensor]:
    """nats and spread (P,) float64; the gradient is written where it is wanted."""
    wanted = targets.to(torch.int64).contiguous()
    nats, spread = torch.empty(2, len(logits), dtype=torch.float64)
    kernels.native_module().symbol_loss(
        logits.data_ptr(), 0 if gradient is None else gradient.data_ptr(), wanted.data_ptr(), nats.data_ptr(),
        spread.data_ptr(), len(logits), logits.shape[1], logits.dtype == torch.bfloat16, smoothing,
        1 / len(logits), 1 if logits.numel() < SMALL else torch.get_num_threads(),
        kernels.instructions(family="loss"),
    )  # fmt: skip
    return nats, spread


def _blocks(
    logits: Tensor, targets: Tensor, smoothing: float, gradient: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As `_native`."""
    places, symbols = logits.shape
    nats, spread = torch.zeros(2, places, dtype=torch.float64, device=logits.device)
    count = max(1, BLOCK // symbols)
    for start in range(0, places, count):
        rows = slice(start, start + count)
        block, wanted = logits[rows], targets[rows, None]
        block = block if block.dtype == torch.float64 else block.float()
        log_z = block.logsumexp(1, keepdim=True)
        nats[rows] = (log_z - block.gather(1, wanted))[:, 0].double()
        spread[rows] = (log_z[:, 0] - block.mean(1)).double()
        if gradient is not None:
            p = (block - log_z).exp_()
            p -= smoothing / symbols
            p.scatter_add_(1, wanted, torch.full_like(log_z, smoothing - 1))
            gradient[rows] = p.div_(places).to(gradient.dtype)
    return nats, spread
