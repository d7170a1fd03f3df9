"""The idx format of the MNIST files: arrays of bytes with a header of four bytes and a size for each axis.

    magic 0 0 TYPE AXES, each axis's size (4 bytes, the highest first), the values in row-major order

LeCun, Cortes and Burges, "The MNIST database of handwritten digits", 1998. TYPE 8, unsigned bytes, is the one
that is read; a name that ends in .gz is of a file compressed by gzip.
"""

import math
from pathlib import Path

import torch
from torch import Tensor

from elman.data.pairs import unpack
from elman.data.text import read_bytes
from elman.errors import DataError

UNSIGNED_BYTE = 8


def read_idx(path: str | Path, axes: int) -> Tensor:
    """The array (.., ..) uint8 in an idx file, which must have `axes` axes.

    Raises DataError naming the file where it is missing, damaged, of another type or shape, or over 1 GiB.
    """
    content = unpack(read_bytes(path), path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(f"{path}: not an idx file: it begins with {content[:4]!r}, expected two zero bytes")
    if content[2] != UNSIGNED_BYTE:
        raise DataError(f"{path}: idx values of type {content[2]:#04x}, expected 0x08, unsigned bytes")
    if content[3] != axes:
        raise DataError(f"{path}: an idx array of {content[3]} axes, expected {axes}")
    start = 4 + 4 * axes
    shape = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(axes)]
    if len(content) != start + math.prod(shape):
        raise DataError(
            f"{path}: {' x '.join(map(str, shape))} values make a file of {start + math.prod(shape):,} "
            f"bytes, got {len(content):,}; fetch it again"
        )
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).reshape(shape)
