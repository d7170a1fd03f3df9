"""Captions: which sentences belong to which picture, and the checks that both are there.

Captions stand in a text file, gzip or not, in one of three forms:

    IMAGE <tab> CAPTION                   a line a caption
    a header line with the columns image and caption among others, then such lines
    IMAGE#n <tab> CAPTION                 as in Flickr8k.token.txt (Hodosh, Young and Hockenmaier 2013)

The pictures are whatever can be asked for by name (elman.data.pictures).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from elman.data.pairs import Lines, Row, unpack
from elman.data.text import Document, decode_utf8, read_bytes
from elman.errors import DataError

NUMBERED = re.compile(r"(.+)#\d+")
LONGEST = 1000
"""Characters of a caption."""

SHOWN = 3
"""Names told in a message; of the others only the count."""


@dataclass(frozen=True)
class Caption:
    """A sentence about an image, from `row` of its file."""

    image: str
    text: str
    row: int


@dataclass(frozen=True)
class Described:
    """An image, or whatever is asked for by that name, and its sentences."""

    image: str
    captions: tuple[Caption, ...]


@dataclass(frozen=True)
class Paired:
    """Captions and pictures that belong together; what was left out, counted."""

    images: tuple[Described, ...]
    texts: tuple[Caption, ...] = ()
    """Captions whose picture is missing, where they were asked for."""
    missing: int = 0
    """Images that captions name and that are not there."""
    uncaptioned: int = 0
    """Images without a caption."""


class Table(NamedTuple):
    """The captions in a file, in its order; the file; and rows that were left out, by reason."""

    captions: list[Caption]
    lines: Lines
    skipped: Counter[str]


def read_captions(path: str | Path, skip: bool = False, longest: int = LONGEST) -> Table:
    """The captions in a file.

    Raises DataError naming file and row: a missing tab, an empty line, name or caption, a caption of more
    than `longest` characters, bytes that are not UTF-8 (`skip` leaves out such rows); a header without the
    two columns, no caption at all.
    """
    lines = Lines(str(path))
    columns, first = _columns(lines)
    found: list[Caption] = []
    skipped = Counter[str]()
    last = max((row for row, line in enumerate(lines.lines, 1) if line.strip()), default=0)
    for row in range(first, last + 1):
        read = _caption(lines, row, columns, longest)
        if isinstance(read, Caption):
            found.append(read)
        elif skip:
            skipped[read.reason] += 1
        else:
            raise DataError(f"{read.message}; mend it, or set data.skip=true to leave such rows out")
    if not found:
        raise DataError(f"{path}: no caption in it; expected lines of IMAGE, a tab, CAPTION")
    return Table(found, lines, skipped)


class Columns(NamedTuple):
    """Where a row has the image and the caption, of how many columns."""

    image: int
    caption: int
    count: int


def _columns(lines: Lines) -> tuple[Columns, int]:
    """The columns of a table, and the row of its first caption."""
    text = lines.text(1)
    header = [] if isinstance(text, Row) else [name.strip().lower() for name in text.split("\t")]
    if not {"image", "caption"} & set(header):
        return Columns(0, 1, 2), 1
    for name in ("image", "caption"):
        if header.count(name) != 1:
            raise DataError(f"{lines.place(1)}: expected one column named {name!r}, got {', '.join(header)}")
    return Columns(header.index("image"), header.index("caption"), len(header)), 2


def _caption(lines: Lines, row: int, columns: Columns, longest: int) -> Caption | Row:
    """What a row says, or the reason why it says nothing."""
    line, place = lines.text(row), lines.place(row)
    if isinstance(line, Row):
        return line
    if not line.strip():
        return Row(None, "empty", f"{place}: an empty line; expected IMAGE, a tab, CAPTION")
    parts = line.split("\t")
    if len(parts) != columns.count:
        message = f"{place}: {len(parts) - 1} tabs, expected {columns.count - 1}: {line[:60]!r}"
        return Row(None, "without a tab" if len(parts) < columns.count else "with more tabs", message)
    name, text = parts[columns.image].strip(), parts[columns.caption].strip()
    if numbered := NUMBERED.fullmatch(name):
        name = numbered[1]
    if not name or not text:
        return Row(None, "empty", f"{place}: an empty {'image name' if not name else 'caption'}")
    if len(text) > longest:
        return Row(
            None, "too long", f"{place}: a caption of {len(text):,} characters, expected at most {longest:,}"
        )
    return Caption(name, text, row)


def check_names(path: str, names: Sequence[str], known: Collection[str], strict: bool) -> None:
    """Raises DataError for a list that names what is not there: a single such name where `strict`, else all.

    A name that is written in another way would leave its image where the list is to keep it out.
    """
    unknown = [name for name in names if name not in known]
    if unknown and (strict or len(unknown) == len(names)):
        more = f" ({len(unknown):,} such names of {len(names):,})" if len(unknown) > 1 else ""
        advice = "" if len(unknown) == len(names) else ", or set data.missing=skip"
        raise DataError(
            f"{path}: {unknown[0]!r} is neither a picture nor has it a caption{more}; mend the list{advice}"
        )


def read_names(path: str | Path) -> tuple[list[str], Document]:
    """The names in a list file, one a line, as Flickr_8k.testImages.txt is; DataError where there is none."""
    document = _read_text(path)
    names = [line.strip() for line in document.text.split("\n") if line.strip()]
    if not names:
        raise DataError(f"{path}: no name in it; expected one image a line")
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise DataError(f"{path}: {twice!r} stands in it twice; expected each image once")
    return names, document


def pair(
    captions: Sequence[Caption],
    known: Collection[str],
    place: str,
    pictures: str,
    *,
    missing: str = "error",
    uncaptioned: str = "error",
) -> Paired:
    """The images `known` with their captions, in the order in which the captions first name them.

    missing: what to do with a caption whose image is not there: "error", "skip" it, or keep its "text" alone;
    uncaptioned: what to do with an image without a caption: "error" or "skip". place, pictures: the names of
    the captions' file and of what holds the pictures, for messages. Raises DataError.
    """
    known = frozenset(known)
    by_image: dict[str, list[Caption]] = {}
    texts: list[Caption] = []
    absent: dict[str, int] = {}
    for caption in captions:
        if caption.image in known:
            by_image.setdefault(caption.image, []).append(caption)
            continue
        absent.setdefault(caption.image, caption.row)
        if missing == "text":
            texts.append(caption)
    if absent and missing == "error":
        name, row = next(iter(absent.items()))
        raise DataError(
            f"{place}: line {row}: a caption for {name!r}, which is not in {pictures} ({len(absent)} such "
            f"images in all); add them, or set data.missing=skip"
        )
    bare = sorted(known - by_image.keys())
    if bare and uncaptioned == "error":
        more = f" and {len(bare) - SHOWN} more" if len(bare) > SHOWN else ""
        raise DataError(
            f"{pictures}: no caption in {place} for {', '.join(map(repr, bare[:SHOWN]))}{more}; add "
            f"captions, or set data.uncaptioned=skip"
        )
    if not by_image:
        raise DataError(f"{place}: none of its {len(absent)} images is in {pictures}; check the folder")
    images = tuple(Described(name, tuple(found)) for name, found in by_image.items())
    return Paired(images, tuple(texts), len(absent), len(bare))


def _read_text(path: str | Path) -> Document:
    """The text in a file, gzip or not; the digest is of the file as it is."""
    content = read_bytes(path)
    size, digest = len(content), hashlib.sha256(content).hexdigest()
    content = unpack(content, path)
    if not content:
        raise DataError(f"{path}: the file is empty; expected text")
    return Document(str(path), decode_utf8(content, path, "convert the file"), digest, size)
