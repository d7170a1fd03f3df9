"""Codecs: what the symbols of a text are, and their numbers.

bytes: the 256 byte values. characters: the Unicode characters seen in the training text, in order of their
code. words: what stands between white space, the most frequent first; a line's end is the symbol <eos>, a
word that is not in the vocabulary is <unk>.

A codec is kept in a run folder as JSON: {"unit": ..., "symbols": [...]}. encode: text -> (L,) int64 ids.
"""

import codecs
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from elman.errors import DataError

END_OF_LINE = "<eos>"
UNKNOWN = "<unk>"


class Codec(ABC):
    """Text to ids and back. `symbols[id]` is the text of a symbol."""

    unit: ClassVar[str]

    def __init__(self, symbols: list[str]) -> None:
        self.symbols = symbols

    def __len__(self) -> int:
        return len(self.symbols)

    @abstractmethod
    def encode(self, text: str, name: str = "text") -> Tensor:
        """ids (L,) int64; raises DataError naming `name`, line, column and symbol where one is unknown."""

    @abstractmethod
    def decoder(self, after: int | None = None) -> Callable[[int], str]:
        """A function to be called with one id after the other, which gives the text that each adds.

        after: the id that stands before them, where they go on with a text.
        """

    def decode(self, ids: Iterable[int], after: int | None = None) -> str:
        """The text of `ids`; `after` as for `decoder`."""
        return "".join(map(self.decoder(after), ids))

    def ending(self, text: str) -> list[int]:
        """The ids with which a text that ends in `text` may end: no other one completes it."""
        return [index for index in range(len(self)) if self.decode([index]).endswith(text[-1])]

    def show(self, index: int) -> str:
        """A symbol as people read it: a space, a line's end and control characters made visible."""
        symbol = self.symbols[index]
        return (
            symbol if symbol.isprintable() and not symbol.isspace() else repr(symbol)[1:-1].replace(" ", "␣")
        )

    def to_json(self) -> dict[str, Any]:
        """What a run folder keeps of the codec."""
        return {"unit": self.unit, "symbols": self.symbols}


@final
class ByteCodec(Codec):
    """The 256 byte values of UTF-8 text; every text can be encoded."""

    unit = "bytes"

    def __init__(self, symbols: list[str] | None = None) -> None:
        super().__init__([chr(value) if 32 <= value < 127 else f"\\x{value:02x}" for value in range(256)])

    def encode(self, text: str, name: str = "text") -> Tensor:
        try:
            # Bytes that are not UTF-8 were read as lone surrogates (see elman.data.text), and come back.
            return encode_bytes(text.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError as error:
            raise DataError(
                f"{name}: {_place(text, error.start)}: {text[error.start]!r} is half of a surrogate pair, "
                f"which UTF-8 cannot write; leave it out"
            ) from error

    def decoder(self, after: int | None = None) -> Callable[[int], str]:
        # A character of several bytes comes with the last of them.
        incremental = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda index: incremental.decode(bytes([index]))

    def decode(self, ids: Iterable[int], after: int | None = None) -> str:
        return bytes(ids).decode("utf-8", "replace")

    def ending(self, text: str) -> list[int]:
        if text[-1] == "\ufffd":  # what is said of bytes that are not UTF-8, at whichever of them this shows
            return list(range(128, 256))
        return list(text[-1].encode("utf-8", "surrogatepass")[-1:])

    def to_json(self) -> dict[str, Any]:
        return {"unit": self.unit, "symbols": []}


@final
class CharacterCodec(Codec):
    """One symbol a Unicode character, sorted by code."""

    unit = "characters"

    def __init__(self, symbols: list[str]) -> None:
        super().__init__(symbols)
        self._codes = np.array([ord(symbol) for symbol in symbols], dtype=np.uint32)

    @classmethod
    def of(cls, *texts: str) -> "CharacterCodec":
        """The characters that occur in `texts`."""
        return cls(sorted(set().union(*texts)))

    def encode(self, text: str, name: str = "text") -> Tensor:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        ids = np.searchsorted(self._codes, codes).clip(max=max(len(self._codes) - 1, 0))
        wrong = self._codes[ids] != codes if len(self._codes) else np.ones(len(codes), dtype=bool)
        if wrong.any():
            raise unknown_symbol(name, text, int(wrong.argmax()), len(self))
        return torch.from_numpy(ids.astype(np.int64))

    def decoder(self, after: int | None = None) -> Callable[[int], str]:
        return self.symbols.__getitem__


@final
class WordCodec(Codec):
    """One symbol a word between white space, and one for a line's end."""

    unit = "words"

    def __init__(self, symbols: list[str]) -> None:
        super().__init__(symbols)
        self._ids = {symbol: index for index, symbol in enumerate(symbols)}

    @classmethod
    def of(cls, *texts: str, minimum_count: int = 1, maximum_size: int | None = None) -> "WordCodec":
        """The words that occur at least `minimum_count` times, at most `maximum_size` symbols in all.

        Most frequent first, ties by code. <unk> is a symbol where a word was left out or stands in a text.
        """
        counts = Counter(word for text in texts for _, word in _words(text))
        unknown_in_text = counts.pop(UNKNOWN, 0) > 0
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        kept = [word for word in ranked if counts[word] >= minimum_count]
        too_many = maximum_size is not None and len(kept) + unknown_in_text > maximum_size
        if unknown_in_text or too_many or len(kept) < len(ranked):
            kept = [UNKNOWN, *kept[: None if maximum_size is None else maximum_size - 1]]
        return cls(kept)

    def encode(self, text: str, name: str = "text") -> Tensor:
        unknown = self._ids.get(UNKNOWN)
        ids: list[int] = []
        for row, word in _words(text):
            index = self._ids.get(word, unknown)
            if index is None:
                raise DataError(
                    f"{name}: line {row}: the word {word!r} is not among the {len(self)} known ones and the "
                    f"model has no {UNKNOWN}; train with data.minimum_count=2 to get one"
                )
            ids.append(index)
        return torch.tensor(ids, dtype=torch.int64)

    def decoder(self, after: int | None = None) -> Callable[[int], str]:
        at_start = after is None or self.symbols[after] == END_OF_LINE

        def say(index: int) -> str:
            nonlocal at_start
            symbol = self.symbols[index]
            text = "\n" if symbol == END_OF_LINE else symbol if at_start else " " + symbol
            at_start = symbol == END_OF_LINE
            return text

        return say


CODECS: dict[str, type[Codec]] = {"bytes": ByteCodec, "characters": CharacterCodec, "words": WordCodec}
"""The closed table of units that a run folder may name."""


def codec_from_json(content: Any, name: str) -> Codec:
    """The codec that `to_json` described; raises DataError naming the file where it is not one."""
    if not isinstance(content, dict) or content.get("unit") not in list(CODECS):
        raise DataError(f"{name}: expected a codec with unit {', '.join(CODECS)}")
    kind, symbols = CODECS[content["unit"]], content.get("symbols")
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise DataError(f"{name}: expected a list of strings under 'symbols'")
    if kind is CharacterCodec and (symbols != sorted(set(symbols)) or any(len(s) != 1 for s in symbols)):
        raise DataError(f"{name}: expected single characters under 'symbols', each once and sorted by code")
    if kind is WordCodec and len(set(symbols)) < len(symbols):
        raise DataError(f"{name}: expected each word once under 'symbols'")
    return kind(symbols)


def encode_bytes(content: bytes) -> Tensor:
    """(L,) int64 byte values."""
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8).astype(np.int64))


def unknown_symbol(name: str, text: str, position: int, known: int) -> DataError:
    """The error for a character that a codec does not know, with line and column counted from 1."""
    return DataError(
        f"{name}: {_place(text, position)}: the symbol {text[position]!r} is not among the {known} that the "
        f"model knows; leave it out, or train with data.unit=bytes, which knows every text"
    )


def _place(text: str, position: int) -> str:
    """Line and column of a character, counted from 1."""
    before = text[:position]
    return f"line {before.count(chr(10)) + 1}, column {position - before.rfind(chr(10))}"


def _words(text: str) -> Iterator[tuple[int, str]]:
    """Each word with its line, counted from 1; <eos> ends every line but a last one that has no end."""
    lines = text.split("\n")
    for row, line in enumerate(lines, 1):
        yield from ((row, word) for word in line.split())
        if row < len(lines):
            yield row, END_OF_LINE
