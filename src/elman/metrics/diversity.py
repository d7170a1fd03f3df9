"""Whether answers say anything: how many different words they have, and how many would do for any question.

    distinct-n = different n-grams of all answers together / words of all answers together

Li, Galley, Brockett, Gao and Dolan, "A diversity-promoting objective function for neural conversation
models", 2016. They divide by the number of words for every n, so that distinct-2 stays below
1 - answers / words.

An answer is generic where, in the training data, the same text answers at least QUESTIONS different
questions: that a text follows on many others is what Csáky, Purgai and Recski, "Improving neural
conversational models with entropy-based data filtering", 2019, take a generic answer to be. Texts and
questions are compared without case, punctuation and superfluous spaces.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from elman.errors import ConfigError
from elman.metrics.error_rate import Normalisation

QUESTIONS = 10
"""Different questions that a generic answer answers in the training data, at least."""

_COMPARED = Normalisation(unicode="NFC", lower=True, strip_punctuation=True)


def distinct(answers: Iterable[Sequence[str]], n: int) -> float:
    """Different n-grams over words, of answers given as words; NaN where there is no word.

    An n-gram does not reach over the end of an answer. Raises ConfigError for n below 1.
    """
    if n < 1:
        raise ConfigError(f"distinct-n: expected n of at least 1, got {n}")
    seen: set[tuple[str, ...]] = set()
    words = 0
    for answer in answers:
        words += len(answer)
        seen.update(tuple(answer[place : place + n]) for place in range(len(answer) - n + 1))
    return len(seen) / words if words else math.nan


def generic_answers(pairs: Iterable[tuple[str, str]], questions: int = QUESTIONS) -> list[str]:
    """The answers that go with at least so many different questions among pairs of (question, answer).

    Normalised texts, those of the most questions first, ties by code. Raises ConfigError for questions below
    2.
    """
    if questions < 2:
        raise ConfigError(f"generic answers: expected at least 2 questions, got {questions}")
    found: dict[str, set[str]] = defaultdict(set)
    for question, answer in pairs:
        found[_COMPARED(answer)].add(_COMPARED(question))
    found.pop("", None)
    ranked = sorted(found, key=lambda answer: (-len(found[answer]), answer))
    return [answer for answer in ranked if len(found[answer]) >= questions]


def generic_share(answers: Sequence[str], generic: Iterable[str]) -> float:
    """The part of `answers` whose text is among `generic`, from `generic_answers`; NaN of none.

    An answer without any letter or figure says nothing, and counts as generic.
    """
    known = {"", *generic}
    return sum(_COMPARED(answer) in known for answer in answers) / len(answers) if answers else math.nan
