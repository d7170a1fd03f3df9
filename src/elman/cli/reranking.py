"""Options of the commands that answer: other runs, which choose among the answers of a dialogue run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from elman.errors import ConfigError
from elman.predict import load
from elman.search.reranking import MutualInformation
from elman.tasks.base import Predictor
from elman.tasks.dialogue_predictor import CANDIDATES, DialoguePredictor, Reranker

REVERSE_WEIGHT = 0.5
LANGUAGE_WEIGHT = 0.3

ReverseRun = Annotated[
    Path | None,
    typer.Option(
        "--reverse", metavar="RUN", help="Choose answers by what they answer: a run of data.reverse=true."
    ),
]
ReverseWeight = Annotated[
    float | None,
    typer.Option(
        help=f"Of the reverse model's log probability, {REVERSE_WEIGHT}.", min=0, show_default=False
    ),
]
LanguageRun = Annotated[
    Path | None,
    typer.Option(
        "--language", metavar="RUN", help="Take off what is likely anyway: a run of data.history=0."
    ),
]
LanguageWeight = Annotated[
    float | None,
    typer.Option(
        help=f"Of the language model's log probability, {LANGUAGE_WEIGHT}.", min=0, show_default=False
    ),
]
Candidates = Annotated[
    int | None, typer.Option(help=f"Answers to choose from, {CANDIDATES}.", min=1, show_default=False)
]


@dataclass(frozen=True)
class Reranking:
    """What the options said; None for one that was not given."""

    reverse: Path | None
    reverse_weight: float | None
    language: Path | None
    language_weight: float | None
    candidates: int | None

    def set(self, model: Predictor) -> None:
        """Lets a dialogue model choose among its answers with the models of these runs, where there are any.

        Raises ConfigError for a model of another kind, and for an option without a run that it is about.
        """
        if self.reverse is None and self.language is None:
            self._check(self.candidates, "--candidates", "--reverse or --language")
        if self.reverse is None:
            self._check(self.reverse_weight, "--reverse-weight", "--reverse")
        if self.language is None:
            self._check(self.language_weight, "--language-weight", "--language")
        if self.reverse is None and self.language is None:
            return
        if not isinstance(model, DialoguePredictor):
            raise ConfigError("--reverse and --language choose among the answers of a dialogue run")
        weights = MutualInformation(
            reverse=_weight(self.reverse, self.reverse_weight, REVERSE_WEIGHT),
            language=_weight(self.language, self.language_weight, LANGUAGE_WEIGHT),
        )
        candidates = CANDIDATES if self.candidates is None else self.candidates
        model.reranker = Reranker(weights, _dialogue(self.reverse), _dialogue(self.language), candidates)

    @staticmethod
    def _check(given: float | None, option: str, run: str) -> None:
        if given is not None:
            raise ConfigError(f"{option}: there is no {run}; name a run, or leave it out")


def _weight(run: Path | None, given: float | None, default: float) -> float:
    if run is None:
        return 0.0
    return default if given is None else given


def _dialogue(run: Path | None) -> DialoguePredictor | None:
    if run is None:
        return None
    model = load(run)
    if not isinstance(model, DialoguePredictor):
        raise ConfigError(f"{run}: expected a dialogue run")
    return model
