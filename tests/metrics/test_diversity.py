"""elman.metrics.diversity against counting by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.errors import ConfigError
from elman.metrics.diversity import distinct, generic_answers, generic_share

PAIRS = [
    ("How are you?", "I don't know."),
    ("how are you", "i don't know"),
    ("What is it?", "I  don't know!"),
    ("Who?", "I don't know ..."),
    ("Where?", "At home."),
    ("When?", "At home"),
    ("Why?", "..."),
    ("Which?", "?"),
]


def test_distinct_counts_n_grams_over_words() -> None:
    """'a b a b' and 'b c': words a b c of 6; bigrams ab ba bc of 6 words; trigrams aba bab."""
    answers = [["a", "b", "a", "b"], ["b", "c"]]
    assert [distinct(answers, n) for n in (1, 2, 3, 5)] == [3 / 6, 3 / 6, 2 / 6, 0]
    assert math.isnan(distinct([[]], 1))


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6), max_size=5), st.integers(1, 4))
def test_distinct_against_a_search_in_text(answers: list[list[str]], n: int) -> None:
    """An n-gram of one-letter words is a string; each possible one is looked for in the answers."""
    words = sum(map(len, answers))
    texts = ["".join(answer) for answer in answers]
    found = [""]
    for _ in range(n):
        found = [start + letter for start in found for letter in "abc"]
    count = sum(any(one in text for text in texts) for one in found)
    if words:
        assert distinct(answers, n) == count / words
    else:
        assert math.isnan(distinct(answers, n))


def test_a_generic_answer_goes_with_many_different_questions() -> None:
    """'How are you?' twice is one question; what is nothing but punctuation is no text."""
    assert generic_answers(PAIRS, 3) == ["i dont know"]
    assert generic_answers(PAIRS, 2) == ["i dont know", "at home"]
    assert generic_answers(PAIRS, 4) == []


def test_the_share_of_generic_answers() -> None:
    generic = generic_answers(PAIRS, 3)
    assert generic_share(["I DON'T know", "At home.", "...", "I don't know why."], generic) == 0.5
    assert math.isnan(generic_share([], generic))


def test_what_is_out_of_range_is_told() -> None:
    with pytest.raises(ConfigError, match="distinct-n: expected n of at least 1, got 0"):
        distinct([["a"]], 0)
    with pytest.raises(ConfigError, match="expected at least 2 questions, got 1"):
        generic_answers(PAIRS, 1)
