"""A lexicon: the words that a decoder may write, and how each is spelled in the symbols of an alphabet.

A word may have several spellings (pronunciations), and a spelling may be that of several words. A text file
holds one spelling a line: a word that is spelled as it is written, or

    word <TAB> symbol symbol symbol

with the symbols' texts between spaces.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

from elman import kernels
from elman.data.alphabet import Alphabet
from elman.data.text import read_document
from elman.errors import ConfigError, DataError


@final
class Lexicon:
    """Words and their spellings as classes of `alphabet`. `words[w]` is the text of word w.

    spellings: for each word the ways to spell it, each a sequence of classes.
    Raises ConfigError naming the word for one without a spelling, an empty spelling, a class that the
    alphabet does not have, a blank, or a separator within a word.
    """

    def __init__(self, spellings: Mapping[str, Iterable[Sequence[int]]], alphabet: Alphabet) -> None:
        self.alphabet = alphabet
        self.words = tuple(spellings)
        self.spellings: list[tuple[int, tuple[int, ...]]] = []
        for index, word in enumerate(self.words):
            ways = dict.fromkeys(tuple(way) for way in spellings[word])
            if not ways:
                raise ConfigError(f"lexicon: the word {word!r} has no spelling; give one or leave it out")
            for way in ways:
                _check(word, way, alphabet)
                self.spellings.append((index, way))
        if not self.words:
            raise ConfigError("lexicon: expected at least one word")

    @classmethod
    def of(cls, words: Iterable[str], alphabet: Alphabet) -> "Lexicon":
        """Words spelled as they are written; raises DataError where the alphabet cannot spell one."""
        return cls({word: [alphabet.encode(word, f"word {word!r}")] for word in words}, alphabet)

    @classmethod
    def read(cls, path: str | Path, alphabet: Alphabet) -> "Lexicon":
        """A lexicon from a text file; empty lines are left out.

        Raises DataError naming file and line for a symbol that the alphabet does not have.
        """
        spellings: dict[str, list[tuple[int, ...]]] = {}
        classes = {symbol: index for index, symbol in enumerate(alphabet.symbols) if index}
        for row, line in enumerate(read_document(path, "characters").text.split("\n"), 1):
            word, _, symbols = line.rstrip().partition("\t")
            if not word.strip():
                continue
            if not symbols:
                way = alphabet.encode(word.strip(), f"{path}: line {row}")
            else:
                unknown = [symbol for symbol in symbols.split() if symbol not in classes]
                if unknown:
                    raise DataError(
                        f"{path}: line {row}: {unknown[0]!r} is not a symbol of the alphabet; it has "
                        f"{len(classes)}, among them {', '.join(list(classes)[:5])}"
                    )
                way = tuple(classes[symbol] for symbol in symbols.split())
            spellings.setdefault(word.strip(), []).append(way)
        if not spellings:
            raise DataError(f"{path}: expected one word a line, got none")
        return cls(spellings, alphabet)

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def native(self) -> Any:
        """The trie of the native search."""
        symbols = [symbol for _, way in self.spellings for symbol in way]
        offsets = [0]
        for _, way in self.spellings:
            offsets.append(offsets[-1] + len(way))
        separator = -1 if self.alphabet.separator is None else self.alphabet.separator
        word_of = [word for word, _ in self.spellings]
        return kernels.native_module().Lexicon(symbols, offsets, word_of, len(self.words), separator)


def _check(word: str, way: tuple[int, ...], alphabet: Alphabet) -> None:
    if not way:
        raise ConfigError(
            f"lexicon: the word {word!r} has an empty spelling; give it symbols or leave it out"
        )
    for symbol in way:
        if not 0 < symbol < len(alphabet):
            told = f"1 to {len(alphabet) - 1}" + (", for 0 is the blank" if symbol == 0 else "")
            raise ConfigError(f"lexicon: the word {word!r} is spelled with class {symbol}; expected {told}")
        if symbol == alphabet.separator:
            raise ConfigError(
                f"lexicon: the word {word!r} is spelled with the separator "
                f"{alphabet.symbols[symbol]!r}; make two words of it"
            )
