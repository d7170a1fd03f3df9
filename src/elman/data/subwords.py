"""Subwords: byte pair encoding over the bytes of UTF-8, so that no text holds an unknown symbol.

    start from single bytes; again and again join the pair of neighbours that is the most frequent in the
    training text into one symbol, until there are as many symbols as asked for

Sennrich, Haddow and Birch 2016; on bytes, with words cut from punctuation and the space kept at a word's
beginning: Radford et al. 2019. The work is done by the library `tokenizers` (extra elman[translation]); a
codec's file holds nothing but the symbols and the pairs in the order in which they were joined.

Symbols are written with one printable character a byte, as that library does: a byte that is no printable
character of Latin-1 is the character 256 + n for the n-th such byte (a space is "Ġ").
"""

import codecs
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

import torch
from torch import Tensor

from elman.data.sequence_codec import (
    SPECIAL,
    SequenceCharacters,
    SequenceCodec,
    SequenceWords,
    check_symbols,
    check_text,
    normalise,
)
from elman.errors import ConfigError, DataError

SMALLEST = 256 + len(SPECIAL)
"""Symbols: every byte must have one."""


def tokenizers() -> Any:
    """The library; raises ConfigError with the command that installs it where it is missing."""
    try:
        import tokenizers as library  # noqa: PLC0415  an extra: imported where it is used
        from tokenizers import decoders, models, pre_tokenizers, trainers  # noqa: F401, PLC0415
    except ImportError as error:
        raise ConfigError(
            'subwords need the package tokenizers; install it with: pip install "elman[translation]", or use '
            "data.unit=words or data.unit=characters"
        ) from error
    return library


def _printable() -> dict[str, int]:
    """The character that stands for each byte -> the byte."""
    own = [byte for byte in range(256) if chr(byte).isprintable() and not chr(byte).isspace()]
    rest = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + n): byte for n, byte in enumerate(rest)}


BYTE_OF = _printable()


@final
class SubwordCodec(SequenceCodec):
    """Byte pair encoding. merges: the pairs of symbols that are joined, the first ones first."""

    unit = "subwords"

    def __init__(self, symbols: list[str], merges: list[tuple[str, str]], lowercase: bool = False) -> None:
        super().__init__(symbols, lowercase)
        self.merges = merges
        self._bytes = [
            b"" if index < len(SPECIAL) else bytes(BYTE_OF[character] for character in symbol)
            for index, symbol in enumerate(symbols)
        ]
        library = tokenizers()
        vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
        self._tokenizer = library.Tokenizer(library.models.BPE(vocab=vocabulary, merges=merges))
        self._tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)

    @classmethod
    def train(cls, texts: Iterable[str], size: int, lowercase: bool = False) -> "SubwordCodec":
        """At most `size` symbols from the training texts; raises ConfigError where `size` is too small."""
        if size < SMALLEST:
            raise ConfigError(
                f"data.vocabulary: subwords need at least {SMALLEST} symbols (every byte is one), got {size}"
            )
        library = tokenizers()
        learner = library.Tokenizer(library.models.BPE())
        learner.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
        trainer = library.trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(SPECIAL),
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        learner.train_from_iterator([normalise(text, lowercase) for text in texts], trainer)
        vocabulary = learner.get_vocab()
        symbols = sorted(vocabulary, key=lambda symbol: vocabulary[symbol])
        return cls(symbols, _merges(learner), lowercase)

    def encode_all(
        self, texts: Sequence[str], name: Callable[[int], str] = lambda row: f"text {row + 1}"
    ) -> list[Tensor]:
        for row, text in enumerate(texts):
            check_text(text, name(row))
        encoded = self._tokenizer.encode_batch_fast([self.normalise(text) for text in texts])
        return [torch.tensor(one.ids, dtype=torch.int64) for one in encoded]

    def split(self, text: str) -> list[str]:
        return [self.show(int(index)) for index in self.encode(text)]

    def show(self, index: int) -> str:
        """A symbol as people read it: ▁ for the space before a word, and hexadecimal for bytes alone."""
        if index < len(SPECIAL):
            return self.symbols[index]
        return self._bytes[index].decode("utf-8", "backslashreplace").replace(" ", "▁")

    def decoder(self, after: int | None = None) -> Callable[[int], str]:
        incremental = codecs.getincrementaldecoder("utf-8")("replace")
        at_start = after is None or after == self.begin

        def say(index: int) -> str:
            nonlocal at_start
            text = incremental.decode(self._bytes[index])
            if at_start and text:  # every word begins with its space; the first one's is not in the text
                at_start, text = False, text.removeprefix(" ")
            return text

        return say

    def decode(self, ids: Iterable[int], after: int | None = None) -> str:
        text = b"".join(self._bytes[index] for index in ids).decode("utf-8", "replace")
        return text.removeprefix(" ") if after is None or after == self.begin else text

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "merges": [list(pair) for pair in self.merges]}


SEQUENCE_CODECS: dict[str, type[SequenceWords | SequenceCharacters | SubwordCodec]] = {
    "subwords": SubwordCodec,
    "words": SequenceWords,
    "characters": SequenceCharacters,
}
"""The closed table of units that a run folder of a sequence task may name."""


def sequence_codec_from_json(content: Any, name: str) -> SequenceCodec:
    """The codec that `to_json` described; raises DataError naming the file where it is not one."""
    if not isinstance(content, dict) or content.get("unit") not in list(SEQUENCE_CODECS):
        raise DataError(f"{name}: expected a codec with unit {', '.join(SEQUENCE_CODECS)}")
    symbols, lowercase = check_symbols(content, name)
    if content["unit"] == "words":
        return SequenceWords(symbols, lowercase)
    if content["unit"] == "characters":
        if any(len(symbol) != 1 for symbol in symbols[len(SPECIAL) :]):
            raise DataError(f"{name}: expected single characters under 'symbols'")
        return SequenceCharacters(symbols, lowercase)
    return SubwordCodec(symbols, _checked_merges(content.get("merges"), symbols, name), lowercase)


def _checked_merges(merges: Any, symbols: list[str], name: str) -> list[tuple[str, str]]:
    """The merges of a file, in which all symbols must be known; raises DataError naming the file."""
    known = set(symbols[len(SPECIAL) :])
    if missing := next((s for s in symbols[len(SPECIAL) :] if not s or not set(s) <= set(BYTE_OF)), None):
        raise DataError(f"{name}: the symbol {missing!r} under 'symbols' is not written in bytes")
    if not set(BYTE_OF) <= known or "" in symbols:
        raise DataError(f"{name}: expected a symbol for each of the 256 bytes under 'symbols'")
    if not isinstance(merges, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
        for pair in merges
    ):
        raise DataError(f"{name}: expected a list of pairs of strings under 'merges'")
    for left, right in merges:
        if not {left, right, left + right} <= known:
            raise DataError(f"{name}: the merge {[left, right]} is of symbols that are not under 'symbols'")
    return [(left, right) for left, right in merges]


def _merges(tokenizer: Any) -> list[tuple[str, str]]:
    """The pairs that a trained tokenizer joins, in their order."""
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(left, right) for left, right in merges]
