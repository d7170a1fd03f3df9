"""-ln p(path) of each sequence of a linear-chain CRF, and its gradient, by the native kernels in one call.

    loss_n     = ln Z_n - score(path_n)
    d loss_n   = p(y_t = s, ...) - [path_n has it], for every score: the marginals less what is true

Without paths it is ln Z and the marginals. Every sequence has the same weight in a sum or mean, so the
gradient is made together with the loss, and scaled in the backward pass where what comes from above is not
1. It is made again where the weights are unlike or a second backward pass asks for it.

Shapes: T time, N batch, S tags. scores (T, N, S) float32 or float64, paths (T, N) int64, lengths (N,) int64,
T for all where None; transitions (S, S) from the row's tag, start and end (S,). All are on the CPU. Lafferty,
McCallum and Pereira, "Conditional random fields", 2001.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from elman import kernels
from elman.errors import ShapeError

REDUCTIONS = ("none", "sum", "mean")


class Refused(ShapeError):
    """A score is NaN or inf, or a path leaves the tags or what is legal; the caller finds the place."""


class Tables(NamedTuple):
    """What all sequences share; or their gradient, or, of bool, which of them are legal."""

    transitions: Tensor
    start: Tensor
    end: Tensor


def path_loss(
    scores: Tensor,
    tables: Tables,
    legal: Tables | None,
    paths: Tensor | None,
    lengths: Tensor | None,
    reduction: str = "none",
) -> Tensor:
    """The losses (N,), or their sum or mean over sequences, 0 for none; of shapes that fit.

    What is not legal has probability 0. A sequence of length 0 has loss 0, an impossible path inf. Raises
    Refused.
    """
    return _PathLoss.apply(scores, *tables, legal, paths, lengths, reduction, torch.is_grad_enabled())


class _Given(NamedTuple):
    """What a loss is computed from, contiguous."""

    scores: Tensor
    tables: Tables
    legal: Tables | None
    paths: Tensor | None
    lengths: Tensor | None

    def losses(
        self, weights: Tensor | float, total: bool, gradient: tuple[Tensor, ...] | None = None
    ) -> Tensor:
        """Losses (N,) or their weighted sum; writes the gradient of the weighted sum."""
        scores, tables, legal, paths, lengths = self
        time, batch, size = scores.shape
        losses = scores.new_empty(() if total else (batch,))
        alike = not isinstance(weights, Tensor)
        sound = kernels.native_module().path_loss(
            time, batch, size, torch.get_num_threads(), scores.data_ptr(), scores.dtype == torch.float64,
            0 if paths is None else paths.data_ptr(), 0 if lengths is None else lengths.data_ptr(),
            [table.data_ptr() for table in tables], tables.start.dtype == torch.float64,
            (0, 0, 0) if legal is None else [table.data_ptr() for table in legal],
            0 if alike else weights.data_ptr(), weights if alike else 0.0, total, losses.data_ptr(),
            (0, 0, 0, 0) if gradient is None else [part.data_ptr() for part in gradient],
            kernels.instructions(family="chain"),
        )  # fmt: skip
        if not sound:
            raise Refused("a score is NaN or inf, or a path leaves the tags or what is legal")
        return losses

    def room(self) -> tuple[Tensor, ...]:
        """For a gradient, not set to anything."""
        return tuple(torch.empty_like(part) for part in (self.scores, *self.tables))


def _given(
    scores: Tensor, tables: Tables, legal: Tables | None, paths: Tensor | None, lengths: Tensor | None
) -> _Given:
    wide = torch.float64 if tables.transitions.dtype == torch.float64 else torch.float32
    return _Given(
        scores.contiguous(),
        Tables(*(table.to(wide).contiguous() for table in tables)),
        legal,
        None if paths is None else paths.contiguous(),
        None if lengths is None else lengths.contiguous(),
    )


class _PathLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        transitions: Tensor,
        start: Tensor,
        end: Tensor,
        legal: Tables | None,
        paths: Tensor | None,
        lengths: Tensor | None,
        reduction: str,
        differentiable: bool,
    ) -> Tensor:
        given = _given(scores, Tables(transitions, start, end), legal, paths, lengths)
        ctx.gradient = given.room() if differentiable and any(ctx.needs_input_grad) else None
        ctx.legal, ctx.total = legal, reduction != "none"
        ctx.weight = 1.0 / max(scores.shape[1], 1) if reduction == "mean" else 1.0
        ctx.save_for_backward(scores, transitions, start, end, paths, lengths)
        return given.losses(ctx.weight, ctx.total, ctx.gradient)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyrefly: ignore[bad-override]
        scores, *tables, paths, lengths = ctx.saved_tensors  # torch refuses here what was changed since
        above = grad_outputs[0]
        alike = ctx.total or not len(above) or bool((above == above[0]).all())
        # The gradient is given away, not copied: a second pass over the same graph makes its own.
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None or not alike:
            given = _given(scores, Tables(*tables), ctx.legal, paths, lengths)
            gradient = given.room()
            given.losses(ctx.weight if alike else above.double().contiguous(), False, gradient)
        factor = float(above.reshape(-1)[0]) if alike and above.numel() else 1.0
        if alike and factor != 1.0:
            for part in gradient:
                part.mul_(factor)
        found = (part.to(like.dtype) for part, like in zip(gradient, (scores, *tables), strict=True))
        return (*found, None, None, None, None, None)
