"""Word, character and label error rates, with what they count and how the text was made comparable.

    rate = (substitutions + deletions + insertions) / symbols of the references, over all pairs together

A rate can exceed 1. Without a single reference symbol it is 0 where nothing was inserted, else inf. Which
errors are substitutions and which deletions and insertions may differ between tools (elman.metrics.edits
says which are taken here); their sum may not. The signature names the tool, the unit and every choice that
changes the figure, to be quoted with it.
"""

import math
import unicodedata
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import reduce
from importlib.metadata import version
from typing import Literal, get_args

from elman.errors import ConfigError, ShapeError
from elman.metrics.edits import Edit, align

Unit = Literal["word", "character", "label"]


@dataclass(frozen=True)
class Counts:
    """Places of an alignment by kind."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(_numbers(self), _numbers(other), strict=True)))

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def symbols(self) -> int:
        """Of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        if self.symbols:
            return self.errors / self.symbols
        return math.inf if self.errors else 0.0


@dataclass(frozen=True)
class Pair:
    """One reference, one hypothesis and their alignment."""

    reference: Sequence[Hashable]
    hypothesis: Sequence[Hashable]
    edits: Sequence[Edit]

    @property
    def counts(self) -> Counts:
        kinds = [edit.kind for edit in self.edits]
        return Counts(*(kinds.count(kind) for kind in ("hit", "substitution", "deletion", "insertion")))


@dataclass(frozen=True)
class ErrorRate:
    """The figure, its parts and its signature."""

    counts: Counts
    pairs: Sequence[Pair]
    signature: str

    @property
    def rate(self) -> float:
        return self.counts.rate

    @property
    def sequence_accuracy(self) -> float:
        """The share of pairs without an error; 0 of none is NaN."""
        right = sum(pair.counts.errors == 0 for pair in self.pairs)
        return right / len(self.pairs) if self.pairs else math.nan


@dataclass(frozen=True)
class Normalisation:
    """What is done to a text before it is compared, in this order; nothing but spaces unless asked for.

    unicode: one form of each character ("NFC", "NFKC") or "none". lower: case folded away. strip_punctuation:
    characters of Unicode's categories P and S removed. Then runs of white space become one, and none at the
    ends.
    """

    unicode: Literal["NFC", "NFKC", "none"] = "NFC"
    lower: bool = False
    strip_punctuation: bool = False

    def __post_init__(self) -> None:
        if self.unicode not in ("NFC", "NFKC", "none"):
            raise ConfigError(f"unicode: expected NFC, NFKC or none, got {self.unicode!r}")

    def __call__(self, text: str) -> str:
        if self.unicode != "none":
            text = unicodedata.normalize(self.unicode, text)
        if self.lower:
            text = text.lower()
        if self.strip_punctuation:
            text = "".join(c for c in text if unicodedata.category(c)[0] not in "PS")
        return " ".join(text.split())

    @property
    def signature(self) -> str:
        case = "lower" if self.lower else "kept"
        punctuation = "stripped" if self.strip_punctuation else "kept"
        return f"unicode:{self.unicode}|case:{case}|punctuation:{punctuation}|spaces:merged"


def error_rate(
    references: Sequence[str],
    hypotheses: Sequence[str],
    unit: Unit = "word",
    normalisation: Normalisation | None = None,
) -> ErrorRate:
    """The error rate of texts, pair by pair: their words, their characters (the single spaces included), or
    labels.

    Labels are what white space parts, as they stand. Raises ShapeError where there are not as many
    hypotheses as references, ConfigError for an unknown unit.
    """
    if unit not in get_args(Unit):
        raise ConfigError(f"unit: expected one of {', '.join(get_args(Unit))}, got {unit!r}")
    if isinstance(references, str) or isinstance(hypotheses, str):
        raise ShapeError(
            "references, hypotheses: expected lists of texts, got a single text; put it in a list"
        )
    normalise = normalisation or Normalisation()
    sides = []
    for texts in (references, hypotheses):
        if unit == "label":
            sides.append([text.split() for text in texts])
        else:
            clean = [normalise(text) for text in texts]
            sides.append([list(text) if unit == "character" else text.split() for text in clean])
    done = "as-is" if unit == "label" else normalise.signature
    return sequence_error_rate(*sides, name=f"unit:{unit}|{done}")


def sequence_error_rate(
    references: Sequence[Sequence[Hashable]],
    hypotheses: Sequence[Sequence[Hashable]],
    name: str = "unit:symbol",
) -> ErrorRate:
    """The error rate of sequences of any symbols that compare by ==; `name` goes into the signature.

    Raises ShapeError where there are not as many hypotheses as references.
    """
    if len(references) != len(hypotheses):
        raise ShapeError(
            f"hypotheses: expected {len(references)}, one for each reference, got {len(hypotheses)}"
        )
    pairs = [Pair(r, h, align(r, h)) for r, h in zip(references, hypotheses, strict=True)]
    counts = reduce(Counts.__add__, (pair.counts for pair in pairs), Counts())
    return ErrorRate(counts, pairs, f"elman-error-rate|{name}|pairs:{len(pairs)}|version:{version('elman')}")


def _numbers(counts: Counts) -> tuple[int, int, int, int]:
    return counts.hits, counts.substitutions, counts.deletions, counts.insertions
