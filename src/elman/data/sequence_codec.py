"""Codecs of sequences that are written symbol by symbol: with a begin, an end and an unknown symbol.

    normalise(text) = NFC, every run of white space one space, none at the ends; lower case where asked
    decode(encode(text)) = normalise(text), where every symbol of it is known

words: what stands between white space, the most frequent first. characters: those seen, sorted by code. For
subwords see elman.data.subwords. The ids 0, 1, 2 are begin, end and unknown in all of them; `encode` gives
neither begin nor end, and `decode` drops both.

`extended` gives a codec a few words more, those of one text that it does not know: they can then be copied.

A codec is kept as JSON: {"unit": ..., "lowercase": ..., "symbols": [...], ...}. encode: text -> (L,) int64.
"""

import unicodedata
from abc import abstractmethod
from collections import ChainMap, Counter
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from copy import copy
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor

from elman.data.codec import UNKNOWN, Codec
from elman.errors import DataError

BEGIN = "<s>"
END = "</s>"
SPECIAL = (BEGIN, END, UNKNOWN)
"""The first symbols of every codec here."""


class SequenceCodec(Codec):
    """A codec whose first symbols are begin, end and unknown."""

    begin: ClassVar[int] = 0
    end: ClassVar[int] = 1
    unknown: ClassVar[int] = 2

    def __init__(self, symbols: list[str], lowercase: bool = False) -> None:
        super().__init__(symbols)
        self.lowercase = lowercase

    def normalise(self, text: str) -> str:
        """The text as this codec sees it, and gives it back."""
        return normalise(text, self.lowercase)

    def encode(self, text: str, name: str = "text") -> Tensor:
        """ids (L,) int64 of the normalised text, without begin and end.

        Raises DataError naming `name` where the text holds half of a surrogate pair.
        """
        return self.encode_all([text], lambda row: name)[0]

    @abstractmethod
    def encode_all(
        self, texts: Sequence[str], name: Callable[[int], str] = lambda row: f"text {row + 1}"
    ) -> list[Tensor]:
        """`encode` for many texts at once; `name` gives the name of a text by its place in the list."""

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """The text of each symbol of `encode(text)` as it stands there: unknown ones as they are written."""

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """The different symbols of a text that are unknown, in the order in which they stand there."""
        return ()

    def extended(self, words: Sequence[str]) -> Self:
        """The codec with `words` too: the i-th has the id V + i. DataError where nothing is unknown to it."""
        if words:
            raise DataError(f"{self.unit}: no symbol is unknown to this codec, got {', '.join(words)}")
        return self

    def to_json(self) -> dict[str, Any]:
        return {"unit": self.unit, "lowercase": self.lowercase, "symbols": self.symbols}


class _TableCodec(SequenceCodec):
    """Symbols that are found in a text without looking at the vocabulary."""

    separator: ClassVar[str]

    def __init__(self, symbols: list[str], lowercase: bool = False) -> None:
        super().__init__(symbols, lowercase)
        # A text may hold the word <s>; it is not the symbol of that name.
        self._ids: MutableMapping[str, int] = {
            symbol: index for index, symbol in enumerate(symbols) if index >= len(SPECIAL)
        }

    def unknown_words(self, text: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(symbol for symbol in self.split(text) if symbol not in self._ids))

    def extended(self, words: Sequence[str]) -> Self:
        if not words:
            return self
        more = copy(self)
        more.symbols = [*self.symbols, *words]
        numbered = {word: len(self.symbols) + place for place, word in enumerate(words)}
        more._ids = ChainMap(numbered, self._ids)
        return more

    def encode_all(
        self, texts: Sequence[str], name: Callable[[int], str] = lambda row: f"text {row + 1}"
    ) -> list[Tensor]:
        for row, text in enumerate(texts):
            check_text(text, name(row))
        return [
            torch.tensor(
                [self._ids.get(symbol, self.unknown) for symbol in self.split(text)], dtype=torch.int64
            )
            for text in texts
        ]

    def decoder(self, after: int | None = None) -> Callable[[int], str]:
        at_start = after is None or after == self.begin

        def say(index: int) -> str:
            nonlocal at_start
            if index in (self.begin, self.end):
                return ""
            text = self.symbols[index] if at_start else self.separator + self.symbols[index]
            at_start = False
            return text

        return say


@final
class SequenceWords(_TableCodec):
    """One symbol a word between white space."""

    unit = "words"
    separator = " "

    @classmethod
    def train(cls, texts: Iterable[str], size: int, lowercase: bool = False) -> "SequenceWords":
        """The most frequent words, at most `size` symbols in all; ties by code."""
        counts = Counter(word for text in texts for word in normalise(text, lowercase).split())
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        kept = [word for word in ranked if word not in SPECIAL]
        return cls([*SPECIAL, *kept[: max(size - len(SPECIAL), 0)]], lowercase)

    def split(self, text: str) -> list[str]:
        return self.normalise(text).split()


@final
class SequenceCharacters(_TableCodec):
    """One symbol a Unicode character."""

    unit = "characters"
    separator = ""

    @classmethod
    def train(cls, texts: Iterable[str], size: int, lowercase: bool = False) -> "SequenceCharacters":
        """The most frequent characters, at most `size` symbols in all, sorted by code; ties by code."""
        counts = Counter(character for text in texts for character in normalise(text, lowercase))
        ranked = sorted(counts, key=lambda character: (-counts[character], character))
        return cls([*SPECIAL, *sorted(ranked[: max(size - len(SPECIAL), 0)])], lowercase)

    def split(self, text: str) -> list[str]:
        return list(self.normalise(text))


def normalise(text: str, lowercase: bool) -> str:
    """NFC, runs of white space as one space, none at the ends; lower case where asked."""
    text = " ".join(text.split())
    return unicodedata.normalize("NFC", text.lower() if lowercase else text)


def check_text(text: str, name: str) -> None:
    """Raises DataError naming `name` where the text cannot be written in UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{name}: {text[error.start]!r} at character {error.start + 1} is half of a surrogate pair: "
            f"these were bytes that are not UTF-8; convert the text to UTF-8, or leave it out"
        ) from error


def check_symbols(content: Any, name: str) -> tuple[list[str], bool]:
    """Symbols and the use of lower case, of what `to_json` gave; raises DataError naming the file."""
    symbols, lowercase = content.get("symbols"), content.get("lowercase")
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise DataError(f"{name}: expected a list of strings under 'symbols'")
    if not isinstance(lowercase, bool):
        raise DataError(f"{name}: expected true or false under 'lowercase', got {lowercase!r}")
    if tuple(symbols[: len(SPECIAL)]) != SPECIAL:
        raise DataError(f"{name}: expected the symbols {', '.join(SPECIAL)} first under 'symbols'")
    if len(set(symbols)) < len(symbols):
        raise DataError(f"{name}: expected each symbol once under 'symbols'")
    return symbols, lowercase
