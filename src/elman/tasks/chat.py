"""A conversation with a trained model, one line at a time, which keeps what was said.

A dialogue model remembers the turns; a language model keeps the state of its cells, reads a line with its end
and goes on until the end of a line of its own.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, final

from elman import counter
from elman.errors import ConfigError
from elman.search.sampling import Sampling
from elman.tasks.base import Predictor
from elman.tasks.dialogue_predictor import BETWEEN, DialoguePredictor
from elman.tasks.language_predictor import Context, LanguagePredictor


@dataclass(frozen=True)
class ChatSettings:
    """How answers are found. temperature None: as the run's settings search; else drawn, 0 being greedy.

    length: symbols of an answer, at most, of a language model; a dialogue model has its own limit. The same
    seed gives the same conversation.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    length: int = 400

    def sampling(self) -> Sampling | None:
        """None for a search; ConfigError for values out of range."""
        if self.temperature is None:
            return (
                None if self.top_k is None and self.top_p is None else Sampling(1.0, self.top_k, self.top_p)
            )
        return Sampling(self.temperature, self.top_k, self.top_p)


class Chat(ABC):
    """What was said so far, and who answers. `settings` may be exchanged between two lines."""

    def __init__(self, settings: ChatSettings) -> None:
        settings.sampling()
        self.settings = settings

    @abstractmethod
    def say(self, text: str) -> str:
        """The answer to a line; after a DataError everything is as before."""

    @abstractmethod
    def reset(self) -> None:
        """Forgets what was said."""


@final
class DialogueChat(Chat):
    """With a dialogue model: its own answers are turns too."""

    def __init__(self, model: DialoguePredictor, settings: ChatSettings) -> None:
        super().__init__(settings)
        self.model = model
        self.turns: list[str] = []

    def say(self, text: str) -> str:
        # A tab stands between the turns of an input; in a line it is a space.
        turns = [*self.turns, text.replace(BETWEEN, " ")]
        options: dict[str, Any] = {}
        if (sampling := self.settings.sampling()) is not None:
            options = {"sampling": sampling, "seed": counter.child(self.settings.seed, len(turns))}
        answer = self.model.predict([BETWEEN.join(turns)], **options)[0]["text"].replace(BETWEEN, " ")
        # An empty answer is no turn: it could not be read again.
        self.turns = [*turns, answer] if answer.strip() else turns
        return answer

    def reset(self) -> None:
        self.turns = []


@final
class LanguageChat(Chat):
    """With a language model: lines of a text that both write."""

    def __init__(self, model: LanguagePredictor, settings: ChatSettings) -> None:
        super().__init__(settings)
        self.model = model
        self.context: Context | None = None

    def say(self, text: str) -> str:
        context = self.model.read(f"{text}\n", self.context, "line")
        sampling = self.settings.sampling() or Sampling()
        made = self.model.generate(
            length=self.settings.length, temperature=sampling.temperature, top_k=sampling.top_k,
            top_p=sampling.top_p, seed=self.settings.seed, stop=["\n"], context=context,
        )  # fmt: skip
        self.context = made.context
        return made.text.removesuffix("\n")

    def reset(self) -> None:
        self.context = None


def open_chat(model: Predictor, settings: ChatSettings | None = None) -> Chat:
    """A conversation with a model from `elman.load`; ConfigError for one that does not talk."""
    settings = settings or ChatSettings()
    if isinstance(model, DialoguePredictor):
        return DialogueChat(model, settings)
    if isinstance(model, LanguagePredictor):
        return LanguageChat(model, settings)
    raise ConfigError(
        "chat: expected a run of the task dialogue or language-model; elman predict serves runs of others"
    )
