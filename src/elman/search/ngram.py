"""N-gram models: how likely a word is after the ones before it.

    log p(w | h) = log_prob(h w)                                        if the model has the n-gram h w
                 = back_off(h) + log p(w | h without its first word)    otherwise

back_off(h) is 0 if the model does not have h. Natural logarithms. A model is one block of bytes
(csrc/ngram/image.h), made by `ngram_estimate`, read from an ARPA file by `ngram_arpa`, or mapped by
`ngram_binary`; `ngram_files` takes either kind of file.

In decoding it is the P(W) of  arg max_W P(Y|W) P(W); see docs/ngram.md.

Words: V the vocabulary, of which ids 0, 1 and 2 are <unk>, <s> and </s>. A sentence is a line.
"""

import ctypes
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch

from elman import counter, kernels
from elman.data.codec import END_OF_LINE, Codec
from elman.errors import ConfigError, DataError
from elman.search.ngram_text import read_pieces
from elman.search.sampling import Sampling

Unit = Literal["words", "characters"]
UNITS: tuple[Unit, ...] = ("words", "characters")
MAX_ORDER = 7
UNKNOWN, BEGIN, END = 0, 1, 2
NAMES = {" ": "<space>", **{chr(code): f"<0x{code:02x}>" for code in range(9, 14)}}
"""White space as a model of characters names it, since it could not stand in an ARPA file."""


@final
class Vocabulary:
    """The words of a model. `vocabulary[text]` is an id, that of <unk> for all else; `word(id)` is a text."""

    def __init__(self, native: Any) -> None:
        self._native = native

    def __len__(self) -> int:
        return self._native.words

    def __getitem__(self, text: str) -> int:
        return self._native.id(_encoded(text))

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and (self[text] != UNKNOWN or text == "<unk>")

    def __iter__(self) -> Iterator[str]:
        return (self.word(index) for index in range(len(self)))

    def word(self, index: int) -> str:
        """The text of an id; raises ConfigError where there is no such id."""
        if not 0 <= index < len(self):
            raise ConfigError(f"word id {index}: expected 0 to {len(self) - 1}")
        return self._native.text(index).decode("utf-8", "replace")


@dataclass(frozen=True)
class SentenceScore:
    """A sentence's log probability, its end </s> among the words foretold."""

    log_prob: float
    words: int
    """Without </s>."""
    unknown: int
    unknown_log_prob: float
    """The part of log_prob that falls to words that are not in the vocabulary."""
    characters: int
    """Unicode characters, the line's end among them."""


@dataclass(frozen=True)
class TextScore:
    """The sum over sentences, and what follows from it."""

    sentences: int
    log_prob: float
    words: int
    unknown: int
    unknown_log_prob: float
    characters: int

    @property
    def perplexity(self) -> float:
        """exp(-log_prob / (words + sentences)): unknown words and line ends are foretold too."""
        return _perplexity(self.log_prob, self.words + self.sentences)

    @property
    def perplexity_known(self) -> float:
        """The same without the unknown words, neither their probability nor their number."""
        return _perplexity(self.log_prob - self.unknown_log_prob, self.words - self.unknown + self.sentences)

    @property
    def bits_per_character(self) -> float:
        return -self.log_prob / math.log(2) / max(self.characters, 1)


@final
class NgramModel:
    """A model in memory, or in a file that is mapped into it.

    `native` is the handle that C++ searches take (csrc/ngram/search.h); it keeps the memory alive.
    """

    def __init__(self, owner: Any, address: int, size: int, source: str) -> None:
        """The `size` bytes at `address`, which `owner` keeps there and `ngram_check` found sound.

        source: where they are from, for messages.
        """
        self.native = kernels.native_module().NgramView(owner, address, size)
        self.source = source
        self.size = size
        self._address = address
        self.order: int = self.native.order
        self.unit: Unit = UNITS[self.native.unit]
        self.counts: tuple[int, ...] = tuple(self.native.counts)
        """N-grams of order 1, 2, ..., N."""
        self.vocabulary = Vocabulary(self.native)

    def __repr__(self) -> str:
        return f"NgramModel({self.source!r}, order={self.order}, unit={self.unit!r}, counts={self.counts})"

    def start(self) -> int:
        """The state after <s>. A state is a number: equal states have equal futures."""
        return self.native.begin

    def score(self, state: int, word: int) -> tuple[float, int]:
        """log p(word | state) and the state that follows; `word` is an id.

        Raises ConfigError for a state or word that is not of this model.
        """
        if not 0 <= state < self.native.contexts:
            raise ConfigError(f"state {state}: expected one that start() or score() of this model gave")
        if not 0 <= word < self.native.words:
            raise ConfigError(f"word id {word}: expected 0 to {self.native.words - 1}, from `vocabulary`")
        return self.native.score(state, word)

    def distribution(self, state: int) -> np.ndarray:
        """log p(w | state) of every word, (V,) float64. All but <s> add up to 1."""
        if not 0 <= state < self.native.contexts:
            raise ConfigError(f"state {state}: expected one that start() or score() of this model gave")
        log_probs = np.empty(len(self.vocabulary))
        self.native.distribution(state, log_probs.ctypes.data)
        return log_probs

    def encode(self, sentence: str) -> list[int]:
        """The word ids of a sentence, without <s> and </s>; raises DataError where it is several lines."""
        return self.native.encode(_line(sentence))

    def sentence(self, sentence: str) -> SentenceScore:
        """The score of one line of text."""
        row = self.native.score_lines(_line(sentence) + b"\n")[0]
        return SentenceScore(row[0], row[2], row[3], row[1], row[4])

    def sentences(self, files: Iterable[str | Path]) -> Iterator[SentenceScore]:
        """The score of each line of text files, gzip too; raises DataError where one cannot be read."""
        for path in files:
            for lines in whole_lines(read_pieces(path)):
                for log_prob, unknown_log_prob, words, unknown, characters in self.native.score_lines(lines):
                    yield SentenceScore(log_prob, words, unknown, unknown_log_prob, characters)

    def text(self, files: Iterable[str | Path]) -> TextScore:
        """The score of text files as a whole."""
        return total(self.sentences(files))

    def perplexity(self, files: Iterable[str | Path]) -> float:
        """exp of the mean negative log probability of the words and line ends of text files."""
        return self.text(files).perplexity

    def ids(self, codec: Codec) -> list[int]:
        """The word id of each symbol of a codec; <eos> and a line's end are </s>.

        What the model does not know is <unk>.
        """
        return [self.symbol(text) for text in codec.symbols]

    def symbol(self, text: str) -> int:
        """The word id of one symbol of a codec."""
        if text in (END_OF_LINE, "\n"):
            return END
        return self.vocabulary[NAMES.get(text, text) if self.unit == "characters" else text]

    def generate(self, *, most: int = 1000, sampling: Sampling | None = None, seed: int = 0) -> str:
        """A sentence drawn from the model, without <unk>; at most `most` words."""
        sampling, state, words = sampling or Sampling(), self.start(), []
        for position in range(most):
            logits = torch.from_numpy(self.distribution(state))
            logits[[UNKNOWN, BEGIN]] = -math.inf
            uniform = counter.uniform(seed, torch.tensor([position]))
            word = int(sampling.choose(logits[None], uniform)[0])
            if word == END:
                break
            _, state = self.score(state, word)
            words.append(self.vocabulary.word(word))
        if self.unit == "words":
            return " ".join(words)
        spelled = {name: character for character, name in NAMES.items()}
        return "".join(spelled.get(word, word) for word in words)

    def write_to(self, file: Any) -> None:
        """The bytes of the model into an open file."""
        file.write(memoryview((ctypes.c_char * self.size).from_address(self._address)))


def total(scores: Iterable[SentenceScore]) -> TextScore:
    """The sum of sentences' scores; raises DataError where there are none."""
    sentences, sums = 0, [0.0, 0, 0, 0.0, 0]
    for score in scores:
        sentences += 1
        row = (score.log_prob, score.words, score.unknown, score.unknown_log_prob, score.characters)
        sums = [a + b for a, b in zip(sums, row, strict=True)]
    if not sentences:
        raise DataError("no lines to score; expected text")
    return TextScore(sentences, sums[0], int(sums[1]), int(sums[2]), sums[3], int(sums[4]))


def whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, cut at line ends."""
    rest = b""
    for piece in pieces:
        cut = piece.rfind(b"\n") + 1
        if cut:
            yield rest + piece[:cut]
            rest = piece[cut:]
        else:
            rest += piece
    if rest:
        yield rest


def _perplexity(log_prob: float, events: int) -> float:
    mean = -log_prob / max(events, 1)
    return math.exp(mean) if mean < 709 else math.inf


def _encoded(text: str) -> bytes:
    # A lone surrogate stands for a byte that was not UTF-8: no word of a model, which is UTF-8.
    return text.encode("utf-8", "surrogatepass")


def _line(sentence: str) -> bytes:
    if "\n" in sentence:
        raise DataError(f"{sentence[:40]!r}: a sentence is one line; split the text at its line ends")
    return _encoded(sentence)
