"""Text for n-gram models: read in pieces, so that a file may be larger than memory, gzip too."""

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from elman.errors import DataError

PIECE = 1 << 20
GZIP = b"\x1f\x8b"

Progress = Callable[[str, float, str], None]
"""Called now and then in long work: what is being done, the share of it that is, and a rate or nothing."""


def silent(what: str, share: float, rate: str) -> None:
    """A Progress that tells nobody."""


def read_pieces(
    path: str | Path, progress: Callable[[float], None] | None = None, text: bool = True
) -> Iterator[bytes]:
    """The content of a file in pieces, unpacked where it is gzip.

    progress: called with the share of the file that was read. text: whether it has to be UTF-8 without NUL.

    Raises DataError naming the file, and where it can the line, where it is missing, damaged or not text.
    """
    try:
        with open(path, "rb") as raw:
            size = max(raw.seek(0, 2), 1)
            raw.seek(0)
            packed = raw.read(2) == GZIP
            raw.seek(0)
            source: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
            check = _Utf8(path) if text else None
            first = True
            while piece := source.read(PIECE):
                if first:
                    piece, first = piece.removeprefix(codecs.BOM_UTF8), False
                if check:
                    check(piece)
                yield piece
                if progress:
                    progress(raw.tell() / size)
            if check:
                check(b"", final=True)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the name and the folder") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: this is a folder; name the files in it, as in {path}/*.txt") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged or cut-off gzip: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


class _Utf8:
    """Complains of what is not UTF-8 text, by line."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._line = 1

    def __call__(self, piece: bytes, final: bool = False) -> None:
        if (nul := piece.find(b"\0")) >= 0:
            line = self._line + piece.count(b"\n", 0, nul)
            raise DataError(f"{self._path}: line {line}: a NUL byte: this is a binary file, expected text")
        try:
            self._decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            line = self._line + error.object.count(b"\n", 0, error.start)
            bad = error.object[error.start]
            raise DataError(
                f"{self._path}: line {line}: byte {bad:#04x} is not UTF-8; convert the file to UTF-8"
            ) from error
        self._line += piece.count(b"\n")
