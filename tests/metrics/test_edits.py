"""Edits against the table filled cell by cell, and against a second implementation."""

import random
from collections.abc import Sequence

import jiwer
import pytest

from elman.metrics import edits
from elman.metrics.edits import align, distance, show


def table_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """d(I, J), one cell after the other."""
    row = list(range(len(hypothesis) + 1))
    for i, symbol in enumerate(reference, 1):
        above, row = row, [i]
        for j, other in enumerate(hypothesis, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (symbol != other)))
    return row[-1]


@pytest.mark.parametrize("limit", [edits.LIMIT, 0, 200])
def test_alignments_are_sound_and_least(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(edits, "LIMIT", limit)  # 0: halved down to single symbols
    draw = random.Random(limit)
    for _ in range(1000):
        reference, hypothesis = ([draw.choice("abc") for _ in range(draw.randrange(14))] for _ in range(2))
        found = align(reference, hypothesis)
        least = table_distance(reference, hypothesis)
        assert distance(reference, hypothesis) == least
        assert sum(edit.kind != "hit" for edit in found) == least
        assert [e.reference for e in found if e.reference is not None] == list(range(len(reference)))
        assert [e.hypothesis for e in found if e.hypothesis is not None] == list(range(len(hypothesis)))
        for edit in found:
            if edit.reference is None or edit.hypothesis is None:
                assert edit.kind == ("insertion" if edit.reference is None else "deletion")
            else:
                same = reference[edit.reference] == hypothesis[edit.hypothesis]
                assert edit.kind == ("hit" if same else "substitution")


def test_long_texts_equal_another_implementation() -> None:
    draw = random.Random(1)
    words = [str(draw.randrange(500)) for _ in range(10_000)]
    heard = [w if draw.random() < 0.8 else str(draw.randrange(500)) for w in words if draw.random() < 0.95]
    other = jiwer.process_words(" ".join(words), " ".join(heard))
    least = other.substitutions + other.deletions + other.insertions
    assert distance(words, heard) == least
    assert sum(edit.kind != "hit" for edit in align(words, heard)) == least


def test_the_picture_of_an_alignment() -> None:
    reference, hypothesis = (
        ["the", "cat", "sat", "on", "the", "mat"],
        ["the", "cat", "on", "a", "mat", "today"],
    )
    assert show(reference, hypothesis, align(reference, hypothesis)) == (
        "REF: the cat sat on the mat *****\n"
        "HYP: the cat *** on a   mat today\n"
        "             D      S       I"
    )  # fmt: skip
    narrow = show(reference, hypothesis, align(reference, hypothesis), width=17).split("\n\n")
    assert len(narrow) == 3
    assert all(len(line) <= 17 for block in narrow for line in block.split("\n"))
    assert show([], [], []) == "REF:\nHYP:\n"
