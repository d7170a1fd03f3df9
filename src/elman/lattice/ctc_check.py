"""The preflight of CTC: every target of a data set that its frames cannot give, before a model is trained.

A file has one example a line, how many frames the network gives for it and its target:

    NAME.jsonl   {"frames": 240, "target": "hello"}    {"frames": 240, "target": [8, 5, 12, 12, 15]}
    NAME.tsv     240 <tab> hello

A text stands for its characters, a list for ids of classes, where 0 is the blank. Further keys and columns
are not looked at; empty lines are left out.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from elman.errors import DataError
from elman.lattice.ctc_batch import check_targets

SUFFIXES = (".jsonl", ".tsv")


@dataclass(frozen=True)
class Report:
    """What was found in a file: the number of its examples and, by line from 1, what is wrong with some."""

    examples: int
    problems: list[tuple[int, str]]


def check_file(path: str | Path, classes: int | None = None) -> Report:
    """Checks a whole file; classes: C, which ids of targets are held against.

    Raises DataError naming file and line where it cannot be read as one of the two forms.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path}: expected a file named {' or '.join('*' + s for s in SUFFIXES)}")
    count, problems = 0, []
    for line, frames, target, known in _examples(path):
        count += 1
        found = check_targets([(frames, target)], classes if known else None)
        problems += [(line, problem.message) for problem in found]
    return Report(count, problems)


def _examples(path: Path) -> Iterator[tuple[int, int, Sequence[int], bool]]:
    """(line, frames, target, whether its labels are classes)."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, text in enumerate(lines, 1):
                if text.strip():
                    where = f"{path}:{number}"
                    read = _from_json if path.suffix == ".jsonl" else _from_columns
                    frames, target = read(where, text.rstrip("\r\n"))
                    if isinstance(target, str):
                        yield number, frames, [ord(letter) + 1 for letter in target], False
                    else:
                        yield number, frames, target, True
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text in UTF-8: {error}") from error


def _from_json(where: str, text: str) -> tuple[int, str | list[int]]:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    frames = row.get("frames") if isinstance(row, dict) else None
    target = row.get("target") if isinstance(row, dict) else None
    ids = isinstance(target, list) and all(type(label) is int for label in target)
    if type(frames) is not int or not (ids or isinstance(target, str)):
        raise DataError(
            f'{where}: expected {{"frames": a whole number, "target": a text or a list of ids}}, got '
            f"{text[:80]}"
        )
    return frames, target


def _from_columns(where: str, text: str) -> tuple[int, str | list[int]]:
    columns = text.split("\t")
    try:
        return int(columns[0]), columns[1]
    except (ValueError, IndexError):
        raise DataError(f"{where}: expected frames, a tab and the target, got {text[:80]!r}") from None
