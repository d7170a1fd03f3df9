"""Pairs of texts, read from files: a source and what it is to become.

    FILE.tsv ...       in each row  source TAB target
    SOURCES TARGETS    two files that stand line by line beside each other

Both are UTF-8 text, or such text packed by gzip. What is wrong is named by file and row; rows that cannot be
used are left out only where that was asked for, and counted. Two files of unequal length are never used:
where a line is missing, all pairs after it are wrong.
"""

import gzip
import hashlib
import io
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from elman.data.text import read_bytes
from elman.errors import ConfigError, DataError

LARGEST = 1 << 30
"""Bytes: more is not unpacked from a file; a small file may pack a text that no memory holds."""

SHOWN = 40
"""Characters of a line that a message quotes."""

GZIP = b"\x1f\x8b"


class Pair(NamedTuple):
    """A source and its target, and where they stand, for messages."""

    source: str
    target: str
    source_path: str
    target_path: str
    row: int
    """Counted from 1."""

    @property
    def source_place(self) -> str:
        return f"{self.source_path}: line {self.row}"

    @property
    def target_place(self) -> str:
        return f"{self.target_path}: line {self.row}"


@dataclass
class Pairs:
    """What was read; `files`: what a run remembers of them; `skipped`: the rows left out, by reason."""

    pairs: list[Pair]
    files: list[dict[str, Any]]
    skipped: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.pairs)


def read_pairs(paths: Sequence[str | Path], skip: bool = False) -> Pairs:
    """The pairs in TSV files, or in two aligned files.

    Raises ConfigError where the number of files tells neither, DataError naming file and row for anything
    that is missing, damaged, not UTF-8, empty, or no pair; `skip` leaves out such rows (not such files).
    """
    names = [str(path) for path in paths]
    tables = [name.removesuffix(".gz").endswith(".tsv") for name in names]
    if len(names) == 1 or (names and all(tables)):
        read = [Lines(name) for name in names]
        rows: Iterator[Row] = (row for lines in read for row in _table(lines))
    elif len(names) == 2 and not any(tables):
        read = [Lines(name) for name in names]
        rows = _aligned(*read)
    else:
        raise ConfigError(
            f"expected FILE.tsv ..., of rows source TAB target, or two files that stand line by line beside "
            f"each other, got {len(names)} files: {', '.join(names)}"
        )
    pairs, skipped = [], Counter[str]()
    for row in rows:
        if row.pair is not None:
            pairs.append(row.pair)
        elif skip:
            skipped[row.reason] += 1
        else:
            raise DataError(f"{row.message}; mend it, or set data.skip=true to leave such rows out")
    if not pairs:
        raise DataError(f"{', '.join(names)}: no pair in it; expected at least one source and its target")
    return Pairs(pairs, [lines.to_json() for lines in read], skipped)


def unpack(content: bytes, path: str | Path) -> bytes:
    """The text of a file that may be packed by gzip; raises DataError naming it where it is damaged."""
    if not content.startswith(GZIP):
        if str(path).endswith(".gz") and content:
            raise DataError(f"{path}: this is no gzip file, though it is named .gz; rename it, or pack it")
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            text = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is damaged: {error}; fetch or pack it anew") from error
    if len(text) > LARGEST:
        raise DataError(
            f"{path}: {len(content):,} bytes unpack to more than {LARGEST:,}; unpack the file, and cut it in "
            f"parts of that size"
        )
    return text


class Row(NamedTuple):
    """A pair, or the reason why a row is none, in short and in full."""

    pair: Pair | None
    reason: str = ""
    message: str = ""


class Lines:
    """The lines of a file as bytes, and what a run remembers of it."""

    def __init__(self, path: str) -> None:
        self.path = path
        content = read_bytes(path)
        self.size, self.sha256 = len(content), hashlib.sha256(content).hexdigest()
        text = unpack(content, path).removeprefix(b"\xef\xbb\xbf")
        if not text:
            raise DataError(f"{path}: the file is empty; expected text")
        if (nul := text.find(b"\0")) >= 0:
            raise DataError(
                f"{path}: a NUL byte at offset {nul} of the text: this is a binary file, or not UTF-8; "
                f"expected UTF-8 text, or such text packed by gzip"
            )
        self.lines = text.split(b"\n")
        if not self.lines[-1]:
            self.lines.pop()

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "size": self.size, "sha256": self.sha256}

    def place(self, row: int) -> str:
        return f"{self.path}: line {row}"

    def text(self, row: int) -> str | Row:
        """Line `row`, counted from 1, or what is wrong with it."""
        try:
            text = self.lines[row - 1].decode("utf-8").removesuffix("\r")
        except UnicodeDecodeError as error:
            byte = self.lines[row - 1][error.start]
            return Row(
                None,
                "not UTF-8",
                f"{self.place(row)}: byte {byte:#04x} at column {error.start + 1} is not UTF-8",
            )
        return text


def _table(lines: Lines) -> Iterator[Row]:
    """The rows of a file of source TAB target."""
    for row in range(1, len(lines.lines) + 1):
        text = lines.text(row)
        if isinstance(text, Row):
            yield text
            continue
        fields = text.split("\t")
        place = lines.place(row)
        if not text.strip():
            yield Row(None, "empty", f"{place}: the line is empty, expected source TAB target")
        elif len(fields) == 1:
            yield Row(None, "without a tab", f"{place}: no tab in {_quote(text)}, expected source TAB target")
        elif len(fields) > 2:
            yield Row(
                None,
                "with too many tabs",
                f"{place}: {len(fields) - 1} tabs in {_quote(text)}, expected one, as source TAB target",
            )
        else:
            yield _pair(fields[0], fields[1], lines, lines, row)


def _aligned(sources: Lines, targets: Lines) -> Iterator[Row]:
    """The lines of two files side by side; raises DataError where there are more of one than of the other."""
    counts = len(sources.lines), len(targets.lines)
    if counts[0] != counts[1]:
        longer, row = (sources if counts[0] > counts[1] else targets), min(counts) + 1
        text = longer.text(row)
        said = text.message if isinstance(text, Row) else f"{longer.place(row)}: {_quote(text)}"
        raise DataError(
            f"{sources.path} has {counts[0]:,} lines and {targets.path} {counts[1]:,}, expected as many; the "
            f"first without a partner is {said}{_first_empty(sources, targets)}"
        )
    for row in range(1, counts[0] + 1):
        source, target = sources.text(row), targets.text(row)
        if isinstance(source, Row):
            yield source
        elif isinstance(target, Row):
            yield target
        else:
            yield _pair(source, target, sources, targets, row)


def _first_empty(*files: Lines) -> str:
    """Where to look for the cause of unequal counts: the first empty line."""
    empty = [(lines.lines.index(b"") + 1, lines.path) for lines in files if b"" in lines.lines]
    return f"; look at the empty line {min(empty)[0]:,} of {min(empty)[1]}" if empty else ""


def _pair(source: str, target: str, sources: Lines, targets: Lines, row: int) -> Row:
    for side, text, lines in (("source", source, sources), ("target", target, targets)):
        if not text.strip():
            return Row(None, f"with an empty {side}", f"{lines.place(row)}: the {side} is empty")
    return Row(Pair(source, target, sources.path, targets.path, row))


def _quote(text: str) -> str:
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")
