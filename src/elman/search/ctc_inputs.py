"""What every decoder of CTC outputs checks first."""

import torch
from torch import Tensor

from elman import kernels
from elman.data.alphabet import Alphabet
from elman.errors import DataError, ShapeError
from elman.padded import check_lengths


def check_inputs(logits: Tensor, lengths: Tensor | None, alphabet: Alphabet) -> tuple[Tensor, list[int]]:
    """logits (T, N, C) contiguous on the CPU in float32 or float64, and the length of each utterance.

    Half precision becomes float32. Raises ShapeError naming what is wrong with a shape, type or length, and
    DataError naming utterance and frame for a NaN, +inf, or a frame of nothing but -inf.
    """
    if logits.dim() != 3 or not logits.is_floating_point():
        raise ShapeError(
            f"logits: expected (T, N, C) of a floating type, got {tuple(logits.shape)} {logits.dtype}"
        )
    if logits.shape[2] != len(alphabet):
        raise ShapeError(
            f"logits: expected C = {len(alphabet)} classes, as the alphabet has, got {logits.shape[2]}"
        )
    logits = logits.detach().cpu()
    if logits.dtype not in (torch.float32, torch.float64):
        logits = logits.float()
    time, batch = logits.shape[:2]
    if lengths is None:
        frames = [time] * batch
    else:
        frames = check_lengths(lengths.cpu(), time, batch, logits.device).tolist()
    logits = logits.contiguous()
    for n, length in enumerate(frames):
        check_numbers(logits[:length, n], f"utterance {n}")
    return logits, frames


def check_numbers(logits: Tensor, name: str, first: int = 0) -> None:
    """Raises DataError for a frame that no distribution belongs to; logits (T, C), T counted from `first`."""
    frame = _bad_frame(logits)
    if frame >= 0:
        raise DataError(
            f"{name}: frame {first + frame}: expected finite logits, or -inf for an impossible class, got "
            f"{_trouble(logits[frame])}; look at the network or the file that they come from"
        )


def _bad_frame(logits: Tensor) -> int:
    """The first frame with a NaN, +inf, or nothing above -inf; -1 where there is none."""
    if not logits.numel():
        return -1
    if kernels.native_available() and logits.stride(1) == 1:
        twofold = logits.dtype == torch.float64
        return kernels.native_module().beam_bad_frame(
            logits.data_ptr(), logits.shape[0], logits.stride(0), logits.shape[1], twofold
        )
    # Comparisons with a NaN are false; the greatest of a frame is a NaN where any is.
    top = logits.amax(1)
    bad = ~((top < torch.inf) & (top > -torch.inf))
    return int(bad.int().argmax()) if bool(bad.any()) else -1


def _trouble(frame: Tensor) -> str:
    if bool(frame.isnan().any()):
        return f"a NaN for class {int(frame.isnan().int().argmax())}"
    if bool((frame == torch.inf).any()):
        return f"+inf for class {int(frame.argmax())}"
    return "-inf for every class"
