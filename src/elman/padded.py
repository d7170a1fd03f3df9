"""Sequences of unequal length in one tensor: data padded at the end, and the lengths that are the truth.

Shapes: T time, N batch. data (T, N, ...), lengths (N,) int64 on the data's device, mask (T, N) bool, True is
valid.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from elman.errors import ShapeError


@dataclass(frozen=True)
class Padded:
    """A batch of sequences, padded at the end to the longest.

    What stands in `data` past an element's length has no meaning; nothing in elman lets it reach a result.

    Raises ShapeError where lengths are not N integers in 0..T.
    """

    data: Tensor
    lengths: Tensor

    def __post_init__(self) -> None:
        if self.data.dim() < 2:
            raise ShapeError(f"Padded: data must be (T, N, ...), got {tuple(self.data.shape)}")
        lengths = check_lengths(self.lengths, self.data.shape[0], self.data.shape[1], self.data.device)
        object.__setattr__(self, "lengths", lengths)

    @classmethod
    def of(cls, sequences: Sequence[Tensor], value: float = 0) -> Self:
        """Pads a list of N tensors (T_n, ...) with `value` to one batch.

        Raises ShapeError for an empty list or elements whose trailing shapes differ.
        """
        if not sequences:
            raise ShapeError("Padded.of: expected at least one sequence, got none")
        tail = sequences[0].shape[1:]
        for row, sequence in enumerate(sequences):
            if sequence.dim() == 0 or sequence.shape[1:] != tail:
                raise ShapeError(
                    f"Padded.of: sequence {row} has shape {tuple(sequence.shape)}, expected (T, "
                    f"{', '.join(str(size) for size in tail)}) as the first one has"
                )
        lengths = torch.tensor([len(sequence) for sequence in sequences], device=sequences[0].device)
        return cls(torch.nn.utils.rnn.pad_sequence(list(sequences), padding_value=value), lengths)

    @property
    def mask(self) -> Tensor:
        """(T, N) bool, True where an element is valid."""
        return length_mask(self.lengths, self.data.shape[0])

    def reverse(self) -> "Padded":
        """Each element reversed within its own length; padding stays at the end."""
        return Padded(reverse_by_length(self.data, self.lengths), self.lengths)

    def last(self) -> Tensor:
        """(N, ...) each element's last valid entry.

        Raises ShapeError where an element is empty: it has no last entry.
        """
        if bool((self.lengths == 0).any()):
            raise ShapeError("Padded.last: an element of length 0 has no last entry")
        return self.data[self.lengths - 1, torch.arange(len(self.lengths), device=self.data.device)]

    def chunks(self, size: int) -> Iterator["Padded"]:
        """Cuts time into pieces of `size` (the last may be shorter), with the lengths that fall in each."""
        if size < 1:
            raise ShapeError(f"Padded.chunks: size must be at least 1, got {size}")
        for start in range(0, self.data.shape[0], size):
            piece = self.data[start : start + size]
            yield Padded(piece, (self.lengths - start).clamp(0, piece.shape[0]))


def check_lengths(lengths: Tensor, time: int, batch: int, device: torch.device) -> Tensor:
    """Lengths as (N,) int64 on `device`; raises ShapeError unless they are `batch` integers in 0..`time`."""
    if lengths.dtype.is_floating_point or lengths.dtype.is_complex or lengths.dtype == torch.bool:
        raise ShapeError(f"lengths: expected integers, got {lengths.dtype}")
    if lengths.shape != (batch,):
        raise ShapeError(
            f"lengths: expected shape ({batch},), one for each element, got {tuple(lengths.shape)}"
        )
    lengths = lengths.to(device=device, dtype=torch.int64)
    if batch and (int(lengths.min()) < 0 or int(lengths.max()) > time):
        row = int(((lengths < 0) | (lengths > time)).nonzero()[0])
        raise ShapeError(
            f"lengths: element {row} is {int(lengths[row])}, expected 0 to {time}, the time axis"
        )
    return lengths


def length_mask(lengths: Tensor, time: int) -> Tensor:
    """(T, N) bool, True where t < lengths[n]."""
    return torch.arange(time, device=lengths.device)[:, None] < lengths[None, :]


def expand_to(mask: Tensor, like: Tensor) -> Tensor:
    """`mask` with trailing axes of size 1 until it has as many axes as `like`."""
    return mask.reshape(mask.shape + (1,) * (like.dim() - mask.dim()))


def reverse_by_length(data: Tensor, lengths: Tensor | None) -> Tensor:
    """(T, N, ...) with each element reversed within its own length; what is past the length stays."""
    if lengths is None:
        return data.flip(0)
    steps = torch.arange(data.shape[0], device=data.device)[:, None]
    source = torch.where(steps < lengths, lengths - 1 - steps, steps)
    if data.dim() == 2:
        return data.gather(0, source)
    return data[source, torch.arange(data.shape[1], device=data.device)]
