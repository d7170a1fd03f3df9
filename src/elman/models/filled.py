"""Rows filled up, so that products come in few shapes.

oneDNN, by which torch multiplies bfloat16 and weights that are laid out before, compiles a kernel for every
shape that it meets and keeps it: half a megabyte for each count of rows and each product. Batches of
sequences and searches hardly ever have the count of those before, and memory would grow with every one.
Shapes: x (..., C); R rows, the product of what stands before C, rounded up.
"""

from torch import Tensor
from torch.nn.functional import pad


def filled(x: Tensor, multiple: int) -> Tensor:
    """(..., C) -> (R, C): its rows, and zeros up to a multiple of so many."""
    rows = x.reshape(-1, x.shape[-1])
    missing = -len(rows) % multiple
    return pad(rows, (0, 0, 0, missing)) if missing else rows


def unfilled(y: Tensor, like: Tensor) -> Tensor:
    """(R, H) -> (..., H): the rows of `like` (..., C) alone."""
    return y[: like.shape[:-1].numel()].view(*like.shape[:-1], y.shape[1])
