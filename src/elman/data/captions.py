"""Captions: which sentences belong to which picture, and the checks that both are there.

Captions stand in a text file, gzip or not, in one of three forms:

    IMAGE <tab> CAPTION                   a line a caption
    a header line with the columns image and caption among others, then such lines
    IMAGE#n <tab> CAPTION                 as in Flickr8k.token.txt (Hodosh, Young and Hockenmaier 2013)

The pictures are whatever can be asked for by name (elman.data.pictures).
"""

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from elman.data.pairs import unpack
from elman.data.text import Document, decode_utf8, read_bytes
from elman.errors import DataError

NUMBERED = re.compile(r"(.+)#\d+")
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


def read_captions(path: str | Path, longest: int = 1000) -> tuple[list[Caption], Document]:
    """The captions in a file, in its order, and the file as a run remembers it.

    Raises DataError naming file and row: a missing tab, an empty name or caption, a caption of more than
    `longest` characters, bytes that are not UTF-8, a header without the two columns, no caption at all.
    """
    document = _read_text(path)
    lines = document.text.split("\n")
    image_column, caption_column, columns, first = 0, 1, 2, 1
    header = [name.strip().lower() for name in lines[0].split("\t")]
    if "image" in header or "caption" in header:
        for name in ("image", "caption"):
            if header.count(name) != 1:
                raise DataError(
                    f"{path}: line 1: expected one column named {name!r}, got {', '.join(header)}"
                )
        image_column, caption_column = header.index("image"), header.index("caption")
        columns, first = len(header), 2
    found: list[Caption] = []
    for row, line in enumerate(lines[first - 1 :], first):
        line = line.removesuffix("\r")
        if not line.strip():
            if row < len(lines) and any(later.strip() for later in lines[row:]):
                raise DataError(f"{path}: line {row}: an empty line; expected IMAGE, a tab, CAPTION")
            break
        parts = line.split("\t")
        if len(parts) != columns:
            raise DataError(
                f"{path}: line {row}: {len(parts) - 1} tabs, expected {columns - 1}: {line[:60]!r}"
            )
        name, text = parts[image_column].strip(), parts[caption_column].strip()
        if numbered := NUMBERED.fullmatch(name):
            name = numbered[1]
        if not name or not text:
            raise DataError(f"{path}: line {row}: an empty {'image name' if not name else 'caption'}")
        if len(text) > longest:
            raise DataError(
                f"{path}: line {row}: a caption of {len(text):,} characters, expected at most {longest:,}"
            )
        found.append(Caption(name, text, row))
    if not found:
        raise DataError(f"{path}: no caption in it; expected lines of IMAGE, a tab, CAPTION")
    return found, document


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
