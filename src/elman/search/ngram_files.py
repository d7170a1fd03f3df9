"""N-gram models by file name: any form is read, the name decides which is written."""

import time
from dataclasses import dataclass
from pathlib import Path

from elman.errors import DataError
from elman.search.ngram import NgramModel, Unit
from elman.search.ngram_arpa import read_arpa, write_arpa
from elman.search.ngram_binary import is_binary, open_binary, save_binary
from elman.search.ngram_text import Progress, silent

ARPA_NAMES = (".arpa", ".arpa.gz")


@dataclass(frozen=True)
class Loaded:
    """A model, and how it was read."""

    model: NgramModel
    form: str
    """binary or ARPA."""
    seconds: float
    remarks: list[str]


def load_ngram(path: str | Path, unit: Unit = "words", progress: Progress = silent) -> Loaded:
    """Reads a model, of whatever form the file is. unit: for ARPA, what its words are.

    Raises DataError where it is missing or not a whole model.
    """
    if is_binary(path):
        opened = open_binary(path)
        return Loaded(opened.model, "binary", opened.seconds, [])
    begin = time.perf_counter()
    model, remarks = read_arpa(path, unit, progress)
    return Loaded(model, "ARPA", time.perf_counter() - begin, remarks)


def open_ngram(path: str | Path, unit: Unit = "words") -> NgramModel:
    """The model in a file, binary or ARPA."""
    return load_ngram(path, unit).model


def save_ngram(model: NgramModel, path: str | Path, progress: Progress = silent) -> None:
    """Writes ARPA where the name ends in .arpa or .arpa.gz, else the binary form.

    Raises DataError for a compressed binary, which could not be mapped, and where the disk refuses.
    """
    check_place(path)
    if Path(path).name.endswith(ARPA_NAMES):
        write_arpa(model, path, progress)
    else:
        save_binary(model, path)


def check_place(path: str | Path) -> None:
    """Raises DataError where no model can be written at `path`, before the work of making one."""
    path = Path(path)
    if path.name.endswith(".gz") and not path.name.endswith(ARPA_NAMES):
        raise DataError(f"{path}: the binary form cannot be compressed; name it .arpa.gz, or leave out .gz")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise DataError(f"{path}: cannot be written: expected the name of a file in a folder that is there")
