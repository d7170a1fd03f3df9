"""Mutual information between a question and its answers: what keeps "I don't know" from answering everything.

    bidirectional    score(a) = ln p(a | q) + weight ln p(q | a)                        + bonus |a|
    anti-language    score(a) = ln p(a | q) - weight sum_(t <= first) ln p(a_t | a_<t)  + bonus |a|

Li, Galley, Brockett, Gao and Dolan, "A diversity-promoting objective function for neural conversation
models", 2016: MMI-bidi, whose ln p(q | a) is a reverse model's, and MMI-antiLM, which takes off what a
language model of answers likes, for the first symbols alone, as it would spoil the grammar of later ones.
Their (1 - l) ln p(a | q) + l ln p(q | a) is the first with weight l / (1 - l). Both choose among answers that
a search or sampling has found. |a| counts symbols, the end among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from elman.errors import ConfigError, ShapeError

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class MutualInformation:
    """The weights of the scores above; both may be used together. Raises ConfigError for one below 0.

    first: symbols of an answer that the language model is asked about.
    """

    reverse: float = 0.0
    language: float = 0.0
    first: int = 5
    bonus: float = 0.0

    def __post_init__(self) -> None:
        if min(self.reverse, self.language) < 0 or self.first < 1:
            raise ConfigError(
                f"mutual information: expected weights of at least 0 and first of at least 1, got reverse="
                f"{self.reverse}, language={self.language}, first={self.first}"
            )

    def score(self, forward: float, symbols: int, reverse: float, language: Sequence[float]) -> float:
        """Of an answer of so many symbols, its end among them, of log probability `forward`.

        reverse: ln p(q | a); language: the log probabilities of the answer's symbols without the question.
        What has no weight may be 0, or empty.
        """
        back = self.reverse * reverse if self.reverse else 0.0
        likely = self.language * sum(language[: self.first]) if self.language else 0.0
        return forward + back - likely + self.bonus * symbols


class Ranked(NamedTuple, Generic[Answer]):
    """An answer, its score, and the place that it had before."""

    answer: Answer
    score: float
    before: int


def rerank(answers: Sequence[Answer], scores: Sequence[float]) -> list[Ranked[Answer]]:
    """The answers by falling score; ties stay in the order in which they came.

    Raises ShapeError where there is not a score for each.
    """
    if len(answers) != len(scores):
        raise ShapeError(f"scores: expected {len(answers)}, one for each answer, got {len(scores)}")
    order = sorted(range(len(answers)), key=lambda place: -scores[place])
    return [Ranked(answers[place], scores[place], place) for place in order]
