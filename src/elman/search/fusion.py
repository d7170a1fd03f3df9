"""Language models in the beam search of CTC outputs: p(Y|W) P(W), the model's P as the search asks for it.

A search works with units: the words of its lexicon, or the classes of its alphabet. It asks for rows: the log
probabilities of all units in one context, each context named by a number that the search gives out and takes
back. A Follower keeps what the model itself remembers of each context.

    columns of a row (units + 1)   words: one for each word of the lexicon, the end in the last
                                   classes: one for each class, the end in the blank's place, 0
                                   (so that there are C columns)

An n-gram model with a native form is asked by the native search itself, without rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, Protocol, final

import torch
from torch import Tensor

from elman.cells import State, map_state
from elman.data.alphabet import Alphabet
from elman.data.codec import UNKNOWN, Codec
from elman.errors import ConfigError
from elman.search.lexicon import Lexicon

Units = Literal["words", "symbols"]
IMPOSSIBLE = -1e4
"""The logarithm that stands for a probability of zero."""

END = "</s>"
SPACE = "<space>"
"""As an n-gram model of characters names it."""


class Vocabulary(Protocol):
    """The numbers of texts; a dict is one."""

    def __contains__(self, text: object, /) -> bool: ...
    def __getitem__(self, text: str, /) -> int: ...


class Scorer(Protocol):
    """An n-gram model (elman.search.ngram), or anything that can be asked as one.

    vocabulary: of its units, among them "</s>" if it scores ends and "<unk>" if it takes unknown ones.
    start: the state before any unit. score: ln p(unit | state) and the state after.
    """

    @property
    def vocabulary(self) -> Vocabulary: ...
    def start(self) -> Any: ...
    def score(self, state: Any, word: int, /) -> tuple[float, Any]: ...


class StepModel(Protocol):
    """A recurrent model that takes one unit of several texts at a time (elman.models.LanguageModel)."""

    def initial_state(self, batch_size: int) -> State: ...
    def prior(self, batch_size: int) -> Tensor: ...
    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]: ...


Context = tuple[int, int]
"""The utterance and the number of the context's row in it."""


class Follower(ABC):
    """Follows the contexts of a search."""

    @abstractmethod
    def follow(self, asked: Sequence[tuple[int, int, int, int]]) -> Tensor:
        """Rows (n, columns) float32 of n new contexts: (utterance, parent's row or -1, unit, own row)."""

    @abstractmethod
    def ends(self, asked: Sequence[tuple[int, int, int]]) -> list[float]:
        """ln p(end | context of a row, then a word) for each (utterance, row, word)."""


class Fusion(ABC):
    """A language model tied to the units of a search. `symbols` says which: classes, or else words."""

    symbols: bool
    columns: int

    @abstractmethod
    def follower(self) -> Follower:
        """A fresh one, for one batch or one stream."""

    def looks(self) -> list[float]:
        """Ln p of each word without a context, to look ahead by within words; empty: the search does not."""
        return []

    def native(self) -> tuple[Any, list[int]] | None:
        """The model that the native search can ask by itself, and its number of each unit, the end last."""
        return None


def unit_texts(units: Units, alphabet: Alphabet, lexicon: Lexicon | None) -> tuple[str, ...]:
    """The texts of the units, the blank's name among those of classes.

    Raises ConfigError for words where there is no lexicon.
    """
    if units == "symbols":
        return alphabet.symbols
    if lexicon is None:
        raise ConfigError(
            "a language model of words needs a lexicon: give one, or a model with units='symbols'"
        )
    return lexicon.words


@final
class NgramFusion(Fusion):
    """An n-gram model of words or symbols.

    Words that it does not know are its "<unk>". Raises ConfigError naming the unit where it has none.
    """

    def __init__(self, model: Scorer, alphabet: Alphabet, lexicon: Lexicon | None, units: Units) -> None:
        self.model = model
        self.symbols = units == "symbols"
        texts = unit_texts(units, alphabet, lexicon)
        self.ids = [-1] if self.symbols else []  # the blank is no unit
        self.ids += [_number(text, model.vocabulary, units) for text in texts[self.symbols :]]
        self.end = _number(END, model.vocabulary, units) if END in model.vocabulary else None
        self.columns = len(texts) if self.symbols else len(texts) + 1

    def follower(self) -> Follower:
        return _NgramFollower(self)

    def native(self) -> tuple[Any, list[int]] | None:
        handle = getattr(self.model, "native", None)
        return None if handle is None else (handle, [*self.ids, -1 if self.end is None else self.end])


def _number(text: str, vocabulary: Vocabulary, units: Units) -> int:
    """The number of a unit in a language model."""
    for name in (text, SPACE if text == " " else text, UNKNOWN):
        if name in vocabulary:
            return vocabulary[name]
    raise ConfigError(
        f"language model: it does not know {text!r}, one of the {units} of the search, and has no {UNKNOWN}; "
        f"leave it out of the lexicon, or train the model with it"
    )


@final
class _NgramFollower(Follower):
    def __init__(self, fusion: NgramFusion) -> None:
        self.fusion = fusion
        self.states: dict[Context, Any] = {}

    def follow(self, asked: Sequence[tuple[int, int, int, int]]) -> Tensor:
        fusion, rows = self.fusion, []
        score = fusion.model.score
        before = [self._state(utterance, parent) for utterance, parent, _, _ in asked]
        for state, (utterance, _, unit, row) in zip(before, asked, strict=True):
            after = state if unit < 0 else score(state, fusion.ids[unit])[1]
            self.states[utterance, row] = after
            scores = [score(after, unit)[0] for unit in fusion.ids[fusion.symbols :]]
            end = 0.0 if fusion.end is None else score(after, fusion.end)[0]
            rows.append([end, *scores] if fusion.symbols else [*scores, end])
        return torch.tensor(rows, dtype=torch.float32).clamp(min=IMPOSSIBLE)

    def ends(self, asked: Sequence[tuple[int, int, int]]) -> list[float]:
        ids, end, score = self.fusion.ids, self.fusion.end, self.fusion.model.score
        if end is None:
            return [0.0] * len(asked)
        after = [score(self._state(utterance, row), ids[word])[1] for utterance, row, word in asked]
        return [score(state, end)[0] for state in after]

    def _state(self, utterance: int, row: int) -> Any:
        return self.fusion.model.start() if row < 0 else self.states[utterance, row]


@final
class NeuralFusion(Fusion):
    """A recurrent language model with its codec: of words, or of the symbols of the alphabet.

    start: a text that the model reads before each utterance, such as the end of the line before. end: the
    symbol of the codec that ends a text, such as a line's end; None: the end is not scored.
    Raises ConfigError naming the unit where the codec does not have it.
    """

    def __init__(
        self,
        model: StepModel,
        codec: Codec,
        alphabet: Alphabet,
        lexicon: Lexicon | None,
        units: Units,
        *,
        start: str = "",
        end: str | None = None,
    ) -> None:
        self.model, self.codec = model, codec
        self.symbols = units == "symbols"
        ids = {symbol: index for index, symbol in enumerate(codec.symbols)}
        texts = unit_texts(units, alphabet, lexicon)
        self.ids = [0] if self.symbols else []  # the blank is no unit
        self.ids += [_number(text, ids, units) for text in texts[self.symbols :]]
        if end is not None and end not in ids:
            raise ConfigError(f"language model: its codec has no symbol {end!r} that could end a text")
        self.end = None if end is None else ids[end]
        self.start = codec.encode(start, "start") if start else torch.zeros(0, dtype=torch.int64)
        self.columns = len(texts) if self.symbols else len(texts) + 1
        place = [0 if self.end is None else self.end]
        self.places = torch.tensor(place + self.ids[1:] if self.symbols else self.ids + place)

    def follower(self) -> Follower:
        return _NeuralFollower(self)

    def begin(self) -> tuple[Tensor, State]:
        """logits (1, V) of the first unit and the state (1, ...) before it."""
        logits, state = self.model.prior(1), self.model.initial_state(1)
        for token in self.start:
            logits, state = self.model.step(token[None], state)
        return logits, state

    def row(self, logits: Tensor) -> Tensor:
        """logits (n, V) -> rows (n, columns)."""
        rows = logits.log_softmax(1)[:, self.places].float().clamp(min=IMPOSSIBLE)
        if self.end is None:
            rows[:, 0 if self.symbols else -1] = 0
        return rows

    def looks(self) -> list[float]:
        with torch.no_grad():
            return [] if self.symbols else self.row(self.begin()[0])[0, :-1].tolist()


@final
class _NeuralFollower(Follower):
    """The states of all contexts side by side in tensors (places, ...), and the place of each."""

    def __init__(self, fusion: NeuralFusion) -> None:
        self.fusion = fusion
        with torch.no_grad():
            self.first, self.states = fusion.begin()
        self.places: dict[Context, int] = {}
        self.used = 1  # place 0 is the start's, which all utterances share

    def follow(self, asked: Sequence[tuple[int, int, int, int]]) -> Tensor:
        logits = self.first.expand(len(asked), -1)
        steps = [n for n, (_, parent, _, _) in enumerate(asked) if parent >= 0]
        if steps:
            stepped, state = self._step([asked[n][:3] for n in steps])
            logits = logits.index_copy(0, torch.tensor(steps), stepped)
            self._keep([(asked[n][0], asked[n][3]) for n in steps], state)
        for utterance, parent, _, row in asked:
            if parent < 0:
                self.places[utterance, row] = 0
        return self.fusion.row(logits)

    def ends(self, asked: Sequence[tuple[int, int, int]]) -> list[float]:
        if self.fusion.end is None or not asked:
            return [0.0] * len(asked)
        logits, _ = self._step(asked)
        return logits.log_softmax(1)[:, self.fusion.end].tolist()

    def _step(self, asked: Sequence[tuple[int, int, int]]) -> tuple[Tensor, State]:
        """One step of the model from each (utterance, row) with its unit."""
        places = torch.tensor([self.places[utterance, row] for utterance, row, _ in asked])
        tokens = torch.tensor([self.fusion.ids[unit] for _, _, unit in asked])
        with torch.no_grad():
            return self.fusion.model.step(tokens, map_state(lambda part: part[places], self.states))

    def _keep(self, contexts: Sequence[Context], state: State) -> None:
        """Puts states (n, ...) at the contexts' places; new places are made, a power of two at a time."""
        for context in contexts:
            if self.places.get(context, 0) == 0:
                self.places[context] = self.used
                self.used += 1
        size = 1 << self.used.bit_length()
        at = torch.tensor([self.places[context] for context in contexts])

        def put(old: Tensor, new: Tensor) -> Tensor:
            if len(old) < size:
                old = torch.cat([old, old.new_zeros(size - len(old), *old.shape[1:])])
            old[at] = new.to(old.dtype)
            return old

        self.states = map_state(put, self.states, state)
