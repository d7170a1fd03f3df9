r"""N-gram models as ARPA files, the text form that all tools read: plain, or gzip where the name ends in .gz.

    \data\                          then `ngram n=count` for each order
    \n-grams:                       for each order its n-grams, one a line:
    log10_prob w1 ... wn log10_weight      the weight may be missing, and is for the highest order
    \end\

A weight is written for each context that goes on, 0 or not. <s>, which nothing foretells, has 10^-99.
"""

import contextlib
import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from elman import kernels
from elman.errors import DataError
from elman.search.ngram import UNITS, NgramModel, Unit
from elman.search.ngram_text import Progress, read_pieces, silent


def read_arpa(
    path: str | Path, unit: Unit = "words", progress: Progress = silent
) -> tuple[NgramModel, list[str]]:
    """The model in an ARPA file, and remarks on what was taken for granted, as where it has no <unk>.

    unit: what its words are, which the file does not tell.

    Raises DataError naming file and line: a malformed line, wrong counts, a section that is missing or out of
    order, a probability above 1, a word or a context that is not there, an n-gram that is there twice.
    """
    reader = kernels.native_module().NgramArpaReader(UNITS.index(unit))
    try:
        for piece in read_pieces(path, lambda share: progress(f"reading {path}", share, "")):
            reader.feed(piece)
        image = reader.finish(lambda share: progress("linking", share, ""))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    image.seal()
    return NgramModel(image, image.address, image.size, str(path)), list(reader.remarks)


def write_arpa(model: NgramModel, path: str | Path, progress: Progress = silent) -> None:
    """Writes an ARPA file, whole or not at all; raises DataError where the disk refuses."""
    path = Path(path)
    beside = path.with_name(f".saving-{path.name}")
    writer = kernels.native_module().NgramArpaWriter(model.native)
    try:
        try:
            with _open(beside, path.suffix == ".gz") as file:
                while piece := writer.next():
                    file.write(piece)
                    progress(f"writing {path}", writer.done, "")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def _open(path: Path, packed: bool) -> Iterator[IO[bytes]]:
    with path.open("wb") as raw:
        if packed:
            # No name and no time in the file: the same model gives the same bytes.
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as file:
                yield file  # type: ignore[misc]
        else:
            yield raw
        raw.flush()
        os.fsync(raw.fileno())
