"""elman.search.reranking: scores against Bayes' rule over a joint distribution that is written out."""

import math

import pytest

from elman.errors import ConfigError, ShapeError
from elman.search.reranking import MutualInformation, rerank

# p(question, answer): "dull" goes with everything, the others with one question each.
JOINT = {
    ("q1", "dull"): 0.20, ("q1", "a1"): 0.15, ("q1", "a2"): 0.01,
    ("q2", "dull"): 0.20, ("q2", "a1"): 0.01, ("q2", "a2"): 0.17,
    ("q3", "dull"): 0.24, ("q3", "a1"): 0.01, ("q3", "a2"): 0.01,
}  # fmt: skip
ANSWERS = ("dull", "a1", "a2")


def p(question: str | None, answer: str | None) -> float:
    return sum(v for (q, a), v in JOINT.items() if question in (None, q) and answer in (None, a))


def ranked(question: str, settings: MutualInformation) -> list[tuple[str, float]]:
    forward = [math.log(p(question, answer) / p(question, None)) for answer in ANSWERS]
    reverse = [math.log(p(question, answer) / p(None, answer)) for answer in ANSWERS]
    language = [math.log(p(None, answer)) for answer in ANSWERS]
    scores = [settings.score(f, 1, r, [u]) for f, r, u in zip(forward, reverse, language, strict=True)]
    return [(found.answer, found.score) for found in rerank(ANSWERS, scores)]


def test_likelihood_alone_prefers_what_always_fits() -> None:
    assert ranked("q1", MutualInformation())[0][0] == "dull"
    assert ranked("q2", MutualInformation())[0][0] == "dull"


def test_mutual_information_prefers_what_fits_this_question() -> None:
    for settings in (MutualInformation(reverse=1.0), MutualInformation(language=0.5)):
        assert ranked("q1", settings)[0][0] == "a1"
        assert ranked("q2", settings)[0][0] == "a2"


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_both_directions_are_one_score_up_to_the_question(weight: float) -> None:
    """ln p(q|a) = ln p(a|q) - ln p(a) + ln p(q): MMI-bidi is antiLM with the forward part weighed more."""
    for question in ("q1", "q2", "q3"):
        bidirectional = dict(ranked(question, MutualInformation(reverse=weight)))
        language = dict(ranked(question, MutualInformation(language=weight / (1 + weight))))
        for answer in ANSWERS:
            wanted = (1 + weight) * language[answer] + weight * math.log(p(question, None))
            assert bidirectional[answer] == pytest.approx(wanted, abs=1e-12)


def test_the_language_model_is_asked_about_the_first_symbols_alone() -> None:
    settings = MutualInformation(language=0.5, first=2, bonus=0.1)
    assert settings.score(-6.0, 3, 0.0, [-4.0, -8.0, -100.0]) == pytest.approx(-6 + 6 + 0.3)


def test_ties_stay_in_order_and_places_are_kept() -> None:
    assert [(r.answer, r.before) for r in rerank("abc", [1.0, 2.0, 1.0])] == [("b", 1), ("a", 0), ("c", 2)]


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ConfigError, match="weights of at least 0 and first of at least 1, got reverse=-1"):
        MutualInformation(reverse=-1)
    with pytest.raises(ShapeError, match="scores: expected 2, one for each answer, got 1"):
        rerank("ab", [1.0])
