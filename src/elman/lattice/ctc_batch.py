"""A batch for CTC, checked: targets that can be reached, by row, before anything is computed.

A target of L labels needs a frame for each label and one for a blank between each two equal neighbours:

    frames needed = L + number of i with l_i = l_i-1

Shapes: T frames, N batch, C classes, L target length. logits (T, N, C), targets (N, L), lengths (N,) int64.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from elman import kernels
from elman.errors import DivergedError, ShapeError
from elman.padded import check_lengths, length_mask

BLANK = 0


@dataclass(frozen=True)
class Batch:
    """What a CTC computation may trust: targets (N, L) and lengths (N,), int64, contiguous, within range."""

    targets: Tensor
    input_lengths: Tensor
    target_lengths: Tensor
    time: int

    @property
    def valid(self) -> Tensor:
        """(T, N) bool."""
        return length_mask(self.input_lengths, self.time)


@dataclass(frozen=True)
class Problem:
    """Why a target cannot be trained on; row counts from 0."""

    row: int
    message: str


def check_batch(
    logits: Tensor,
    targets: Tensor,
    input_lengths: Tensor | None = None,
    target_lengths: Tensor | None = None,
) -> Batch:
    """The batch; raises ShapeError naming what does not fit, and the row."""
    if logits.dim() != 3 or not logits.is_floating_point():
        raise ShapeError(
            f"logits: expected floating-point numbers (T, N, C), got {tuple(logits.shape)} {logits.dtype}"
        )
    time, count, classes = logits.shape
    if not classes:
        raise ShapeError(f"logits: expected at least one class, the blank, got {tuple(logits.shape)}")
    if targets.dim() != 2 or targets.shape[0] != count:
        raise ShapeError(
            f"targets: expected ({count}, L), one row for each element of the batch, got "
            f"{tuple(targets.shape)}; torch.nn.utils.rnn.pad_sequence(.., batch_first=True) makes rows"
        )
    if targets.dtype.is_floating_point or targets.dtype.is_complex or targets.dtype == torch.bool:
        raise ShapeError(f"targets: expected integers, got {targets.dtype}")
    device = logits.device
    targets = targets.detach().to(device, torch.int64).contiguous()
    if input_lengths is not None and target_lengths is not None:
        batch = Batch(targets, input_lengths, target_lengths, time)
        if _sound(batch, count, classes):
            return batch
    frames = _lengths("input_lengths", input_lengths, time, count, device)
    lengths = _lengths("target_lengths", target_lengths, targets.shape[1], count, device)
    _check_rows(targets, frames, lengths, classes)
    return Batch(targets, frames, lengths, time)


def _sound(batch: Batch, count: int, classes: int) -> bool:
    """Whether the native module finds everything in order; False where it does not, or cannot be asked.

    One pass over small arrays, which are not worth a dozen calls of torch and NumPy. What is wrong is told by
    those.
    """
    targets, frames, lengths = batch.targets, batch.input_lengths, batch.target_lengths
    for tensor in (targets, frames, lengths):
        plain = tensor.dtype == torch.int64 and tensor.device.type == "cpu" and tensor.is_contiguous()
        if not plain or type(tensor) is not Tensor:
            return False
    if frames.shape != (count,) or lengths.shape != (count,) or not kernels.native_available():
        return False
    if kernels.mode() not in ("auto", "native") or torch._C._are_functorch_transforms_active():
        return False
    if torch.compiler.is_compiling():
        return False
    sizes = [batch.time, count, classes, targets.shape[1]]
    addresses = (tensor.data_ptr() for tensor in (targets, frames, lengths))
    return kernels.native_module().ctc_sound(sizes, *addresses)


def _lengths(name: str, lengths: Tensor | None, most: int, count: int, device: torch.device) -> Tensor:
    if lengths is None:
        return torch.full((count,), most, device=device)
    try:
        return check_lengths(lengths, most, count, device).contiguous()
    except ShapeError as error:
        raise ShapeError(f"{name}: {str(error).removeprefix('lengths: ')}") from None


def _check_rows(targets: Tensor, frames: Tensor, lengths: Tensor, classes: int) -> None:
    # NumPy, because its calls on small arrays cost a fraction of torch's.
    label, last, room = targets.cpu().numpy(), lengths.cpu().numpy(), frames.cpu().numpy()
    places = range(label.shape[1])
    inside = last[:, None] > places
    wrong = ((label <= BLANK) | (label >= classes)) & inside
    if wrong.any():
        row, place = (int(index[0]) for index in wrong.nonzero())
        what = "the blank" if label[row, place] == BLANK else "no class"
        raise ShapeError(
            f"targets: row {row}, label {place} is {label[row, place]}, {what}; expected 1 to {classes - 1}"
        )
    needed = last + ((label[:, 1:] == label[:, :-1]) & inside[:, 1:]).sum(1)
    short = needed > room
    if short.any():
        row = int(short.nonzero()[0][0])
        more = int(short.sum()) - 1
        raise ShapeError(
            f"targets: row {row}: {_too_few(int(last[row]), int(needed[row]), int(room[row]))}"
            f"{f' ({more} more rows like it)' if more else ''}; leave such rows out (elman.check_targets "
            f"names them) or shorten time less"
        )


def _too_few(labels: int, needed: int, frames: int) -> str:
    repeats = needed - labels
    return (
        f"{labels} label{'s' * (labels != 1)} with {repeats} repeat{'s' * (repeats != 1)} "
        f"need{'s' * (labels == 1)} {needed} frame{'s' * (needed != 1)}, there are {frames}"
    )


def frames_needed(target: Sequence[int]) -> int:
    """The fewest frames that a path can have that collapses to the target."""
    return len(target) + sum(a == b for a, b in pairwise(target))


def check_targets(rows: Iterable[tuple[int, Sequence[int]]], classes: int | None = None) -> list[Problem]:
    """Goes through a whole data set of (frames, target) before training and tells every row that cannot work.

    classes: C, where labels are to be held against it. An empty list means that every target can be reached.
    """
    found = []
    for row, (frames, target) in enumerate(rows):
        beyond = [label for label in target if label <= BLANK or (classes is not None and label >= classes)]
        needed = frames_needed(target)
        if frames < 0:
            found.append(Problem(row, f"{frames} frames, expected at least 0"))
        elif beyond:
            limit = f"1 to {classes - 1}" if classes is not None else "at least 1"
            found.append(Problem(row, f"label {beyond[0]}, expected {limit}; {BLANK} is the blank"))
        elif needed > frames:
            found.append(Problem(row, _too_few(len(target), needed, frames)))
    return found


def refuse_not_finite(logits: Tensor, batch: Batch) -> None:
    """Raises DivergedError naming row and frame where a frame's softmax does not exist."""
    values = logits.detach()
    wrong = (values.isnan() | (values == torch.inf)).any(2) | (values == -torch.inf).all(2)
    wrong &= batch.valid
    if bool(wrong.any()):
        row = int(wrong.any(0).nonzero()[0])
        frame = int(wrong[:, row].nonzero()[0])
        here = values[frame, row]
        came = (
            "NaN"
            if bool(here.isnan().any())
            else "inf"
            if bool((here == torch.inf).any())
            else "-inf in all classes"
        )
        raise DivergedError(
            f"logits: row {row}, frame {frame}: {came}; expected finite numbers, or -inf for a class that is "
            f"ruled out; look at the inputs of this row and at the learning rate"
        )
