"""Estimation of n-gram models: interpolated modified Kneser-Ney smoothing.

    p(w | h) = (a(h w) - D(a(h w))) / sum_x a(h x) + b(h) p(w | h without its first word)
    b(h)     = what the discounts and the pruned n-grams leave over, / sum_x a(h x)

a is the count of an n-gram for the highest order and for those that begin with <s>, else the number of
different words seen before it; D has three values an order, for the counts 1, 2 and 3 or more, from counts of
counts. The lowest order is mixed with the uniform distribution over the vocabulary, <unk> and </s> included
and <s> not.
All equations: csrc/ngram/estimate.cpp. Sources: Chen and Goodman 1998; Heafield et al. 2013; pruning by
entropy: Stolcke 1998.

A text too small or too regular gives no discounts: a count of counts is zero, or a discount out of range.
Then the order gets 0.5, 1 and 1.5, as other tools can be asked to do, and the report says so.
"""

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elman import kernels
from elman.errors import ConfigError, DataError
from elman.search.ngram import MAX_ORDER, UNITS, NgramModel, Unit
from elman.search.ngram_text import Progress, read_pieces, silent

MEMORY = 1 << 30
"""Bytes of the table of counts, by default; what does not fit is sorted on disk."""


@dataclass(frozen=True)
class OrderReport:
    """What was found of one order."""

    found: int
    kept: int
    """After pruning."""
    adjusted: tuple[int, ...]
    """How many n-grams have the adjusted count 1, 2, 3, 4."""
    discounts: tuple[float, ...]
    fallback: str
    """Why the discounts are 0.5, 1 and 1.5 and not those of the formula; empty if they are."""


@dataclass(frozen=True)
class Report:
    """What an estimation read and found."""

    sentences: int
    words: int
    """Running words, with </s>."""
    unknown: int
    """Running words that are not in the vocabulary."""
    vocabulary: int
    """With <unk>, <s> and </s>."""
    runs: int
    """Sorted parts on disk; 0: all counts were in memory."""
    orders: tuple[OrderReport, ...]

    def remarks(self) -> list[str]:
        """What a user should know of it."""
        return [
            f"order {n}: {order.fallback}; the discounts are {', '.join(f'{d:g}' for d in order.discounts)}"
            for n, order in enumerate(self.orders, 1)
            if order.fallback
        ]


def estimate(
    files: Sequence[str | Path],
    order: int = 3,
    *,
    unit: Unit = "words",
    vocabulary: Iterable[str] | None = None,
    vocabulary_size: int | None = None,
    minimum_count: int = 1,
    prune: Sequence[int] = (),
    entropy: float = 0.0,
    memory: int = MEMORY,
    progress: Progress = silent,
) -> tuple[NgramModel, Report]:
    """A model of text files (plain or gzip), a sentence a line, an empty line too.

    order: N, 1 to 7. unit: words between white space, or the characters of a line.
    vocabulary: the words to know; or vocabulary_size, at most that many, and minimum_count, how often they
    must be seen: the files are then read twice. All other words are <unk>. prune: n-grams of order n seen at
    most prune[n - 1] times are left out; the last number is for all higher orders. entropy: n-grams are left
    out whose loss raises the perplexity by a smaller share. memory: bytes of the table of counts.

    Raises ConfigError for a setting out of range, DataError for a text that cannot be used.
    """
    if not files:
        raise ConfigError("files: expected at least one text file")
    thresholds = _thresholds(order, prune)
    _check(unit, vocabulary, vocabulary_size, minimum_count, entropy, memory)
    native = kernels.native_module()
    closed = None if vocabulary is None else [word.encode() for word in vocabulary]
    if vocabulary_size is not None or minimum_count > 1:
        words = native.NgramWordCounter(UNITS.index(unit))
        _feed(words, files, progress, "reading words")
        closed = words.frequent((1 << 32) if vocabulary_size is None else vocabulary_size, minimum_count)
        del words
    with tempfile.TemporaryDirectory(prefix="elman-ngram-") as folder:
        estimator = native.NgramEstimator(order, UNITS.index(unit), closed, memory, folder)
        try:
            _feed(estimator, files, progress, "counting")
            image = estimator.estimate(thresholds, lambda share: progress("estimating", share, ""))
            report = _report(estimator)
            del estimator
            if entropy > 0:
                image = native.ngram_prune(image, entropy, lambda share: progress("pruning", share, ""))
        except ValueError as error:
            raise DataError(f"{_named(files)}: {error}") from error
        except RuntimeError as error:
            raise DataError(str(error)) from error
    image.seal()
    return NgramModel(image, image.address, image.size, _named(files)), report


def _feed(counter: Any, files: Sequence[str | Path], progress: Progress, what: str) -> None:
    begin = time.perf_counter()
    for path in files:

        def tell(share: float, path: str | Path = path) -> None:
            rate = counter.words / max(time.perf_counter() - begin, 1e-9)
            progress(f"{what} of {path}", share, f"{rate:,.0f} words/s")

        try:
            for piece in read_pieces(path, tell):
                counter.feed(piece)
            counter.finish()
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error


def _report(estimator: Any) -> Report:
    orders = tuple(
        OrderReport(found.found, found.kept, tuple(found.adjusted), tuple(found.discounts), found.fallback)
        for found in estimator.report
    )
    return Report(
        estimator.sentences, estimator.words, estimator.unknown, orders[0].found, estimator.runs, orders
    )


def _thresholds(order: int, prune: Sequence[int]) -> list[int]:
    if not 1 <= order <= MAX_ORDER:
        raise ConfigError(f"order: expected 1 to {MAX_ORDER}, got {order}")
    given = list(prune) or [0]
    if given[0] != 0:
        raise ConfigError(
            f"prune: expected 0 for order 1, got {given[0]}; limit the vocabulary to leave out words"
        )
    if len(given) > order or given != sorted(given) or given[-1] >= 1 << 63:
        raise ConfigError(
            f"prune: expected at most {order} numbers that do not fall, as in 0 0 1, got "
            f"{' '.join(map(str, given))}"
        )
    return given + [given[-1]] * (order - len(given))


def _check(
    unit: str, vocabulary: object, size: int | None, minimum_count: int, entropy: float, memory: int
) -> None:
    if unit not in UNITS:
        raise ConfigError(f"unit: expected {' or '.join(UNITS)}, got {unit!r}")
    if vocabulary is not None and (size is not None or minimum_count > 1):
        raise ConfigError("vocabulary: a list of words takes no vocabulary_size and no minimum_count")
    if size is not None and size < 1:
        raise ConfigError(f"vocabulary_size: expected at least 1, got {size}")
    if minimum_count < 1:
        raise ConfigError(f"minimum_count: expected at least 1, got {minimum_count}")
    if not 0 <= entropy < 1:
        raise ConfigError(f"entropy: expected 0 (none) or a small positive number, as 1e-8, got {entropy}")
    if memory < 1 << 20:
        raise ConfigError(f"memory: expected at least {1 << 20} bytes, got {memory}")


def _named(files: Sequence[str | Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
