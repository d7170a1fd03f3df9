"""The classes of a CTC network: class 0 is the blank, every other one a symbol with a text of its own.

A symbol is mostly a character, but may be any piece of text ("th", "ing"). The separator is the symbol that
stands between words; an alphabet of word pieces, phonemes or glyphs may have none.
"""

from collections.abc import Iterable, Sequence
from typing import final

from elman.errors import ConfigError, DataError

BLANK = 0


@final
class Alphabet:
    """`symbols[c]` is the text of class c; that of the blank is only a name.

    separator: the text of the symbol between words; None: there is none. By default " " where it is a symbol.
    Raises ConfigError for symbols that are empty or stand twice, and for a separator that is not among them.
    """

    def __init__(self, symbols: Sequence[str], separator: str | None = " ") -> None:
        self.symbols = tuple(symbols)
        if not self.symbols:
            raise ConfigError("alphabet: expected the blank and symbols after it, got no class at all")
        self._ids = {symbol: index for index, symbol in enumerate(self.symbols) if index != BLANK}
        for index, symbol in enumerate(self.symbols[1:], 1):
            if not symbol or self._ids[symbol] != index:
                told = f"stands twice, as class {index} and {self._ids[symbol]}" if symbol else "is empty"
                raise ConfigError(f"alphabet: the symbol {symbol!r} of class {index} {told}")
        if separator == " " and separator not in self._ids:
            separator = None
        if separator is not None and separator not in self._ids:
            raise ConfigError(f"alphabet: the separator {separator!r} is not one of its symbols")
        self.separator = None if separator is None else self._ids[separator]
        self._longest = max(map(len, self._ids), default=0)

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str, name: str = "text") -> tuple[int, ...]:
        """The classes of a text, at each place the longest symbol that fits.

        Raises DataError naming `name`, the column and the character where no symbol fits.
        """
        classes: list[int] = []
        at = 0
        while at < len(text):
            for size in range(min(self._longest, len(text) - at), 0, -1):
                found = self._ids.get(text[at : at + size])
                if found is not None:
                    break
            else:
                raise DataError(
                    f"{name}: column {at + 1}: {text[at]!r}: none of the {len(self) - 1} symbols spells it; "
                    f"leave it out or write it with other symbols"
                )
            classes.append(found)
            at += size
        return tuple(classes)

    def decode(self, classes: Iterable[int]) -> str:
        """The text of classes; blanks have none."""
        return "".join(self.symbols[index] for index in classes if index != BLANK)

    def words(self, classes: Iterable[int]) -> list[str]:
        """The texts between separators, empty ones left out; without a separator those of all symbols."""
        if self.separator is None:
            return [self.symbols[index] for index in classes if index != BLANK]
        words = [""]
        for index in classes:
            if index == self.separator:
                words.append("")
            elif index != BLANK:
                words[-1] += self.symbols[index]
        return [word for word in words if word]
