"""Prefix beam search over CTC outputs as it is defined: plain Python, in logarithms, one thing at a time.

A hypothesis is a prefix: its symbols, and the words that they spell. With y_t(c) = softmax(logits_t)(c),
of all alignments of prefix p in the first t frames, blank_t(p) is the probability of those that end in blank
and symbol_t(p) of those that end in its last symbol l, both times the factors of p:

    blank_(t+1)(p)  = (blank_t(p) + symbol_t(p)) y(blank)
    symbol_(t+1)(p) = symbol_t(p) y(l) + m y(l) f(p),  m = blank_t(parent) where the parent ends in l too,
                                                           blank_t(parent) + symbol_t(parent) otherwise

f(p) is what the rules (lexicon, language model, automaton) add on entering l. The `beam` prefixes of the
greatest sums go on to the next frame. Graves 2006; Hannun et al., "First-pass large vocabulary continuous
speech recognition using bi-directional recurrent DNNs", 2014. The native search (csrc/search/beam.h) does the
same with probabilities in place of logarithms.

With a lexicon, a sentence has the sum over all ways to spell it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

from elman.data.alphabet import BLANK
from elman.search.automaton import Automaton
from elman.search.fusion import IMPOSSIBLE, Follower
from elman.search.lexicon import Lexicon

NEVER = -math.inf


@dataclass(frozen=True)
class Settings:
    """What is given to a search beside the lexicon and the model; see elman.search.ctc_beam."""

    classes: int
    beam: int
    kept: int
    least: float
    alpha: float
    beta: float


@dataclass
class _Prefix:
    """A prefix and where it stands: in a word, in the automaton, in a context of the language model.

    cuts: how many symbols there were as each of the words was complete.
    """

    symbols: tuple[int, ...]
    words: tuple[int, ...]
    cuts: tuple[int, ...]
    spelled: tuple[int, ...]
    state: int
    row: int
    factor: float
    parent: "_Prefix | None"
    blank: float = NEVER
    symbol: float = NEVER
    # The likeliest alignment that ends so: its logarithm, and (start, end, peak) of each symbol.
    blank_track: tuple[float, tuple] = (NEVER, ())
    symbol_track: tuple[float, tuple] = (NEVER, ())
    key: tuple = field(init=False)

    def __post_init__(self) -> None:
        # Two ways to cut the same symbols into words are two prefixes.
        self.key = (self.symbols, self.words, self.cuts)

    @property
    def total(self) -> float:
        return add(self.blank, self.symbol)

    def without_mass(self) -> "_Prefix":
        at = (self.symbols, self.words, self.cuts, self.spelled, self.state, self.row)
        return _Prefix(*at, self.factor, self.parent)


def add(a: float, b: float) -> float:
    """ln(e^a + e^b)"""
    low, high = sorted((a, b))
    return high if low == NEVER else high + math.log1p(math.exp(low - high))


@final
class ReferenceBeam:
    """The search over one utterance, frame by frame."""

    def __init__(
        self,
        settings: Settings,
        lexicon: Lexicon | None,
        follower: Follower | None,
        symbol_model: bool,
        looks: Sequence[float],
        automaton: Automaton,
    ) -> None:
        self.settings, self.lexicon, self.automaton = settings, lexicon, automaton
        self.follower, self.symbol_model = follower, symbol_model
        self.complete: dict[tuple[int, ...], list[int]] = {}
        self.look: dict[tuple[int, ...], float] = {}  # of the beginnings of words
        for word, way in lexicon.spellings if lexicon else ():
            self.complete.setdefault(way, []).append(word)
            for size in range(len(way) + 1):
                value = looks[word] if len(looks) else 0.0
                self.look[way[:size]] = max(self.look.get(way[:size], NEVER), value)
        self.look[()] = 0.0
        self.rows: list[list[float]] = []
        self.time = 0
        first = _Prefix((), (), (), (), 0, self._follow(-1, -1), 0.0, None)
        first.blank, first.blank_track = 0.0, (0.0, ())
        self.live = {first.key: first}

    def advance(self, logits: Sequence[float]) -> None:
        """Goes on by one frame of logits (C,)."""
        y = self._prune(log_softmax(logits))
        candidates: dict[tuple, _Prefix] = {}
        for prefix in self.live.values():
            self._stay(prefix, y, candidates)
        for prefix in self.live.values():
            for child in self._children(prefix):
                if child.key not in self.live and y[child.symbols[-1]] > NEVER:
                    self._arrive(prefix, child, y, candidates)
        ranked = sorted(candidates.values(), key=lambda prefix: -prefix.total)
        self.live = {prefix.key: prefix for prefix in ranked[: self.settings.beam] if prefix.total > NEVER}
        for prefix in self.live.values():
            if prefix.row < 0 and self.follower is not None and prefix.parent is not None:
                unit = prefix.symbols[-1] if self.symbol_model else prefix.words[-1]
                prefix.row = self._follow(prefix.parent.row, unit)
        self.time += 1

    def _prune(self, y: list[float]) -> list[float]:
        """All but the likeliest `kept` symbols, and those less likely than `least`, become impossible."""
        ranked = sorted(range(1, len(y)), key=lambda c: (-y[c], c))
        most = self.settings.kept or len(y)
        out = {c for place, c in enumerate(ranked) if place >= most or math.exp(y[c]) < self.settings.least}
        return [NEVER if c in out else value for c, value in enumerate(y)]

    def _stay(self, prefix: _Prefix, y: list[float], candidates: dict[tuple, _Prefix]) -> None:
        after = prefix.without_mass()
        candidates[after.key] = after
        after.blank = prefix.total + y[BLANK]
        best = max(prefix.blank_track, prefix.symbol_track, key=lambda track: track[0])
        after.blank_track = (best[0] + y[BLANK], best[1])
        if not prefix.symbols:
            return
        here = y[prefix.symbols[-1]]
        after.symbol = prefix.symbol + here
        value, spans = prefix.symbol_track
        if spans:
            (start, _, peak), before = spans[-1], spans[:-1]
            after.symbol_track = (value + here, (*before, (start, self.time + 1, max(peak, math.exp(here)))))
        parent = self.live.get(prefix.parent.key) if prefix.parent else None
        if parent is not None:
            self._arrive(parent, after, y, candidates)

    def _arrive(
        self, parent: _Prefix, child: _Prefix, y: list[float], candidates: dict[tuple, _Prefix]
    ) -> None:
        """Adds the alignments that enter the child's last symbol from its parent in this frame."""
        symbol = child.symbols[-1]
        repeats = parent.symbols[-1:] == (symbol,)
        child.symbol = add(
            child.symbol, (parent.blank if repeats else parent.total) + y[symbol] + child.factor
        )
        tracks = [parent.blank_track] if repeats else [parent.blank_track, parent.symbol_track]
        value, spans = max(tracks, key=lambda track: track[0])
        if value + y[symbol] > child.symbol_track[0]:
            span = (self.time, self.time + 1, math.exp(y[symbol]))
            child.symbol_track = (value + y[symbol], (*spans, span))
        candidates[child.key] = child

    def _children(self, prefix: _Prefix) -> Iterator[_Prefix]:
        for symbol in range(1, self.settings.classes):
            if self.lexicon is None:
                yield self._child(prefix, symbol, None, (), 0.0)
                continue
            closes = symbol == self.lexicon.alphabet.separator
            longer = prefix.spelled if closes else (*prefix.spelled, symbol)
            ends = closes or self.lexicon.alphabet.separator is None
            for word in self.complete.get(longer, ()) if ends else ():
                yield self._child(prefix, symbol, word, (), self._word(prefix, word))
            goes_on = longer in self.look and not closes
            if goes_on and (self.lexicon.alphabet.separator is not None or self._is_begun(longer)):
                ahead = self.look[longer] - self.look[prefix.spelled]
                yield self._child(prefix, symbol, None, longer, self.settings.alpha * ahead)

    def _is_begun(self, spelled: tuple[int, ...]) -> bool:
        """Whether a longer word begins so."""
        return any((*spelled, c) in self.look for c in range(1, self.settings.classes))

    def _word(self, prefix: _Prefix, word: int) -> float:
        """What completing a word adds."""
        scored = self.follower is not None and not self.symbol_model
        value = self.rows[prefix.row][word] if scored else 0.0
        return self.settings.alpha * (value - self.look[prefix.spelled]) + self.settings.beta

    def _child(
        self, prefix: _Prefix, symbol: int, word: int | None, spelled: tuple[int, ...], factor: float
    ) -> _Prefix:
        state = 0
        if self.symbol_model:
            factor += self.settings.alpha * self.rows[prefix.row][symbol]
        if self.automaton.last:
            at = prefix.state * self.settings.classes + symbol
            factor, state = factor + self.automaton.weights[at], self.automaton.next[at]
        symbols, words, cuts = (*prefix.symbols, symbol), prefix.words, prefix.cuts
        if word is not None:
            words, cuts = (*words, word), (*cuts, len(symbols))
        row = -1 if self.symbol_model or word is not None else prefix.row
        return _Prefix(symbols, words, cuts, spelled, state, row, factor, prefix)

    def _follow(self, parent: int, unit: int) -> int:
        """A new row of the language model, kept for good."""
        if self.follower is None:
            return -1
        row = self.follower.follow([(0, parent, unit, len(self.rows))])[0].tolist()
        self.rows.append(row)
        return len(self.rows) - 1

    def finals(self) -> Iterator[tuple[float, tuple[int, ...], _Prefix]]:
        """The ways to end here: (score, words, prefix)."""
        for prefix in self.live.values():
            score = prefix.total + (self.automaton.last[prefix.state] if self.automaton.last else 0.0)
            alpha = self.settings.alpha
            if not prefix.spelled:
                if self.follower is not None:
                    score += alpha * self.rows[prefix.row][0 if self.symbol_model else -1]
                yield score, prefix.words, prefix
            elif self.lexicon is not None and self.lexicon.alphabet.separator is not None:
                for word in self.complete.get(prefix.spelled, ()):
                    end = 0.0
                    if self.follower is not None and self.symbol_model:
                        end = self.rows[prefix.row][0]
                    elif self.follower is not None:
                        end = max(self.follower.ends([(0, prefix.row, word)])[0], IMPOSSIBLE)
                    yield score + self._word(prefix, word) + alpha * end, (*prefix.words, word), prefix

    def best(self, count: int, whole: bool) -> list[tuple[float, tuple[int, ...], _Prefix]]:
        """The best (score, words, prefix); whole: completed, and the spellings of a sentence added up."""
        if not whole:
            found = [(prefix.total, prefix.words, prefix) for prefix in self.live.values()]
        elif self.lexicon is None:
            found = list(self.finals())
        else:
            sums: dict[tuple[int, ...], tuple[float, tuple[int, ...], _Prefix]] = {}
            for score, words, prefix in sorted(self.finals(), key=lambda final: -final[0]):
                known = sums.get(words)
                sums[words] = (score, words, prefix) if known is None else (add(known[0], score), *known[1:])
            found = list(sums.values())
        return sorted(found, key=lambda final: -final[0])[:count]


def log_softmax(logits: Sequence[float]) -> list[float]:
    """Ln of the distribution that logits (C,) stand for."""
    top = max(logits)
    total = top + math.log(math.fsum(math.exp(value - top) for value in logits))
    return [value - total for value in logits]
