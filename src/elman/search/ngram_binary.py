"""N-gram models on disk in the form that they have in memory: a file is mapped, not parsed.

The layout is in csrc/ngram/image.h: a header with magic, version, sizes and checksums, and six arrays. The
header and the sizes are compared at each opening, the checksum of the content unless verify=False. Whatever a
file holds, a query never leaves it: every index is held against its bound when it is used.
"""

import mmap
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elman import kernels
from elman.errors import DataError
from elman.search.ngram import NgramModel

MAGIC = b"elman-ng"


@dataclass(frozen=True)
class Opened:
    """A model and how long it took to open it, in seconds."""

    model: NgramModel
    seconds: float


def is_binary(path: str | Path) -> bool:
    """Whether a file begins as a binary model does; raises DataError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the name and the folder") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def open_binary(path: str | Path, verify: bool = True) -> Opened:
    """Maps a model into memory.

    verify: also compare the checksum of all of it, which reads the file once.

    Raises DataError, naming the file, where it is missing, cut off, altered or of another kind.
    """
    begin = time.perf_counter()
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise DataError(f"{path}: the file is empty; expected an n-gram model")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the name and the folder") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    content = np.frombuffer(mapped, dtype=np.uint8)
    try:
        kernels.native_module().ngram_check(content.ctypes.data, content.size, verify)
    except ValueError as error:
        raise DataError(
            f"{path}: not a whole n-gram model: {error}; make it again with elman ngram train or convert"
        ) from error
    model = NgramModel(content, content.ctypes.data, content.size, str(path))
    return Opened(model, time.perf_counter() - begin)


def save_binary(model: NgramModel, path: str | Path) -> None:
    """Writes a model: whole or not at all, beside a file of that name until it takes its place.

    Raises DataError where the disk refuses.
    """
    path = Path(path)
    beside = path.with_name(f".saving-{path.name}")
    try:
        try:
            with beside.open("wb") as file:
                model.write_to(file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
