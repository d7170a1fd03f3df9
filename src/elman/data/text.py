"""Text files: read whole, checked, and named in every complaint.

A document is a file; a corpus is documents one after the other. tokens (L,) in the smallest integer type that
holds the vocabulary; starts (D,) int64, the position of each document's first symbol.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elman.data.codec import Codec
from elman.errors import DataError


@dataclass(frozen=True)
class Document:
    """One file's text; bytes that are not UTF-8 stand in it as lone surrogates where they were allowed."""

    path: str
    text: str
    sha256: str
    size: int
    """In bytes."""

    def to_json(self) -> dict[str, Any]:
        """What a run folder remembers of a file: enough to notice that it has changed."""
        return {"path": self.path, "size": self.size, "sha256": self.sha256}


@dataclass(frozen=True)
class Corpus:
    """Documents as one row of ids."""

    tokens: Tensor
    starts: Tensor

    def __len__(self) -> int:
        return len(self.tokens)


def read_document(path: str | Path, unit: str) -> Document:
    """Reads a text file. With unit "bytes" any content will do; otherwise it must be UTF-8 text.

    Raises DataError, naming the file, where it is missing, not a file, unreadable, empty, binary or badly
    encoded (with the row and the offset of the first bad byte).
    """
    content = read_bytes(path)
    if not content:
        raise DataError(f"{path}: the file is empty; expected text")
    digest = hashlib.sha256(content).hexdigest()
    if unit == "bytes":
        return Document(str(path), content.decode("utf-8", "surrogateescape"), digest, len(content))
    advice = "convert it to UTF-8, or train on bytes with data.unit=bytes"
    if (nul := content.find(b"\0")) >= 0:
        raise DataError(f"{path}: a NUL byte at offset {nul}: this is a binary file, expected text; {advice}")
    text = decode_utf8(content, path, advice).replace("\r\n", "\n")
    if not text:
        raise DataError(f"{path}: nothing but a byte order mark in it; expected text")
    return Document(str(path), text, digest, len(content))


def decode_utf8(content: bytes, path: str | Path, advice: str) -> str:
    """The text of a file's content, without a byte order mark.

    Raises DataError with the row and the offset of the first byte that is not UTF-8, and the advice.
    """
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {row}: byte {content[error.start]:#04x} at offset {error.start} is not UTF-8; "
            f"{advice}"
        ) from error


def read_bytes(path: str | Path) -> bytes:
    """The content of a file; raises DataError naming it where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the name and the folder") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: this is a folder; name the files in it, as in {path}/*") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def encode_documents(documents: Sequence[Document], codec: Codec) -> Corpus:
    """The documents' ids one after the other, and where each begins.

    Raises DataError where a symbol is unknown to the codec, or a document has no symbols at all.
    """
    parts: list[Tensor] = []
    starts: list[int] = []
    position = 0
    small = torch.uint8 if len(codec) <= 256 else torch.int32
    for document in documents:
        ids = codec.encode(document.text, document.path).to(small)
        if not len(ids):
            raise DataError(f"{document.path}: no {codec.unit} in it; expected text")
        parts.append(ids)
        starts.append(position)
        position += len(ids)
    return Corpus(torch.cat(parts), torch.tensor(starts))


def split_corpus(corpus: Corpus, fraction: float) -> tuple[Corpus, Corpus]:
    """The last `fraction` of a corpus, by position, for validation; the part before it for training."""
    cut = len(corpus) - round(len(corpus) * fraction)
    first = corpus.starts[corpus.starts < cut]
    second = corpus.starts[corpus.starts >= cut] - cut
    if cut < len(corpus) and (not len(second) or int(second[0])):
        second = torch.cat([torch.zeros(1, dtype=torch.int64), second])
    return Corpus(corpus.tokens[:cut], first), Corpus(corpus.tokens[cut:], second)
