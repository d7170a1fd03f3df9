"""Error rates by hand, and against jiwer."""

import math
import random

import jiwer
import pytest

from elman.errors import ConfigError, ShapeError
from elman.metrics.error_rate import Counts, Normalisation, error_rate, sequence_error_rate


def test_counts_by_hand() -> None:
    found = error_rate(["the cat sat", "hello", ""], ["the bat sat down", "hello", ""])
    assert found.counts == Counts(hits=3, substitutions=1, deletions=0, insertions=1)
    assert found.rate == 2 / 4
    assert found.sequence_accuracy == 2 / 3
    assert [pair.counts.errors for pair in found.pairs] == [2, 0, 0]


def test_rates_equal_jiwers() -> None:
    draw = random.Random(2)
    words = ["a", "be", "sea", "dee", "e"]
    references = [" ".join(draw.choices(words, k=draw.randrange(1, 12))) for _ in range(200)]
    hypotheses = [" ".join(draw.choices(words, k=draw.randrange(12))) for _ in range(200)]
    assert error_rate(references, hypotheses).rate == pytest.approx(
        jiwer.wer(references, hypotheses), rel=1e-12
    )
    characters = error_rate(references, hypotheses, "character")
    assert characters.rate == pytest.approx(jiwer.cer(references, hypotheses), rel=1e-12)
    other = jiwer.process_words(references, hypotheses)
    ours = error_rate(references, hypotheses).counts
    assert ours.symbols == other.hits + other.substitutions + other.deletions
    assert ours.deletions - ours.insertions == other.deletions - other.insertions


def test_the_signature_says_what_changed_the_figure() -> None:
    reference, hypothesis = ["Caf\u00e9, said  he!"], ["cafe\u0301 said he"]
    assert error_rate(reference, hypothesis).counts.errors == 2
    eased = Normalisation(lower=True, strip_punctuation=True)
    found = error_rate(reference, hypothesis, normalisation=eased)
    assert found.rate == 0
    assert "unit:word|unicode:NFC|case:lower|punctuation:stripped|spaces:merged|pairs:1|" in found.signature
    strict = Normalisation(unicode="none", lower=True, strip_punctuation=True)
    assert error_rate(reference, hypothesis, normalisation=strict).counts.errors == 1
    assert "unicode:none" in error_rate(reference, hypothesis, normalisation=strict).signature
    labels = error_rate(["A, b"], ["a, b"], "label")
    assert labels.counts.substitutions == 1
    assert "unit:label|as-is|" in labels.signature


def test_nothing_to_compare() -> None:
    assert error_rate([""], [""]).rate == 0
    assert error_rate([""], ["word"]).rate == math.inf
    assert math.isnan(error_rate([], []).sequence_accuracy)


def test_any_symbols_that_compare() -> None:
    assert sequence_error_rate([[1, (2, 3), None]], [[1, (2, 3)]]).counts == Counts(hits=2, deletions=1)


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ShapeError, match="expected 2, one for each reference, got 1"):
        error_rate(["a", "b"], ["a"])
    with pytest.raises(ShapeError, match="put it in a list"):
        error_rate("a b", "a b")
    with pytest.raises(ConfigError, match="unit: expected one of word, character, label"):
        error_rate(["a"], ["a"], "phone")  # pyrefly: ignore[bad-argument-type]
    with pytest.raises(ConfigError, match="unicode: expected"):
        Normalisation(unicode="NFX")  # pyrefly: ignore[bad-argument-type]
