"""Weights on symbols by what came before, as a finite automaton: hotwords, and the count of words.

A state is how far the end of a prefix has got into the phrases (Aho and Corasick 1975). A symbol adds

    weight(state, symbol) = sum of the bonuses of phrases that it completes + hope(next state) - hope(state)

hope: the greatest part of a bonus that its phrase has earned so far, bonus * symbols read / symbols in all,
so that a hotword lives until it is whole; what has not become whole is taken back. `last` is what the end
adds. Where the alphabet has a separator, a phrase counts only from the start to the end of words. Without a
lexicon beta is added too, at the first symbol of each word, or at each symbol where there is no separator.

Shapes: weights (states, C) and next (states, C), as lists row after row; last (states,).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from elman.data.alphabet import BLANK, Alphabet
from elman.errors import ConfigError

MOST = 1 << 26
"""Entries of a table, at most."""


@dataclass(frozen=True)
class Automaton:
    """State 0 is the start; empty lists where nothing is weighed."""

    weights: list[float]
    next: list[int]
    last: list[float]


NOTHING = Automaton([], [], [])


def automaton(alphabet: Alphabet, hotwords: Mapping[str, float], beta: float) -> Automaton:
    """The automaton of hotwords with their bonuses in nats, and of beta for each word.

    Raises ConfigError for a phrase that is empty or a bonus that is not finite, DataError for a phrase that
    the alphabet cannot spell.
    """
    if not hotwords and not beta:
        return NOTHING
    phrases = _Phrases(alphabet, hotwords)
    size = len(alphabet)
    # Whether a word is open is part of the state: the phrases alone do not tell a word's first symbol.
    states: dict[tuple[int, bool], int] = {(phrases.start, False): 0}
    weights: list[float] = []
    following: list[int] = []
    last: list[float] = []
    waiting = list(states)
    for node, within in waiting:
        for symbol in range(size):
            if symbol == BLANK:  # a column that nothing reads
                weights.append(0.0)
                following.append(states[node, within])
                continue
            after, gained = phrases.step(node, symbol)
            closes = symbol == alphabet.separator
            begins = not closes and (alphabet.separator is None or not within)
            state = (after, not closes)
            if state not in states:
                states[state] = len(states)
                waiting.append(state)
                if len(states) * size > MOST:
                    raise ConfigError(f"hotwords: too many; expected at most {MOST // size} symbols in all")
            weights.append(gained + (beta if begins else 0.0))
            following.append(states[state])
        last.append(phrases.end(node))
    return Automaton(weights, following, last)


class _Phrases:
    """The trie of the phrases with the links of Aho and Corasick; `start` is where a text begins."""

    def __init__(self, alphabet: Alphabet, hotwords: Mapping[str, float]) -> None:
        self.separator = alphabet.separator
        self.children: list[dict[int, int]] = [{}]
        self.bonus, self.hope = [0.0], [0.0]
        for phrase, bonus in hotwords.items():
            if not phrase.strip() or not math.isfinite(bonus):
                raise ConfigError(f"hotwords: expected a phrase and a finite bonus, got {phrase!r}: {bonus}")
            spelled = alphabet.encode(phrase.strip(), f"hotword {phrase!r}")
            if self.separator is not None:
                spelled = (self.separator, *spelled, self.separator)
            self._add(spelled, bonus)
        self.link = [0] * len(self.children)
        self._tie()
        self.start = 0 if self.separator is None else self.children[0].get(self.separator, 0)

    def _add(self, spelled: tuple[int, ...], bonus: float) -> None:
        node = 0
        for place, symbol in enumerate(spelled, 1):
            if symbol not in self.children[node]:
                self.children[node][symbol] = len(self.children)
                self.children.append({})
                self.bonus.append(0.0)
                self.hope.append(0.0)
            node = self.children[node][symbol]
            # The separator before a phrase is no merit of it; a whole phrase has nothing left to hope for.
            read = place - (self.separator is not None)
            if place < len(spelled):
                self.hope[node] = max(self.hope[node], bonus * read / len(spelled))
        self.bonus[node] += bonus

    def _tie(self) -> None:
        """A node's link is the longest proper end of it that is a node; what that one has is its own too."""
        waiting = list(self.children[0].values())
        for node in waiting:
            self.bonus[node] += self.bonus[self.link[node]]
            self.hope[node] = max(self.hope[node], self.hope[self.link[node]])
            for symbol, child in self.children[node].items():
                self.link[child] = self._follow(self.link[node], symbol) if node else 0
                waiting.append(child)

    def _follow(self, node: int, symbol: int) -> int:
        while node and symbol not in self.children[node]:
            node = self.link[node]
        return self.children[node].get(symbol, 0)

    def step(self, node: int, symbol: int) -> tuple[int, float]:
        """The node after a symbol, and what the symbol adds."""
        after = self._follow(node, symbol)
        return after, self.bonus[after] + self.hope[after] - self.hope[node]

    def end(self, node: int) -> float:
        """What the end adds: a separator is read in thought, and nothing is hoped for any more."""
        if self.separator is None:
            return -self.hope[node]
        return self.bonus[self._follow(node, self.separator)] - self.hope[node]
