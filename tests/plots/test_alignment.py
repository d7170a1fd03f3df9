"""elman.plots.alignment: the matrix and its words, and pieces joined to words."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from elman.errors import ShapeError
from elman.plots import alignment, join_pieces, style
from elman.plots.alignment import LETTERS, MAXIMUM_WORDS

SOURCE = ["der", "Hund", "schläft", "</s>"]
TARGET = ["the", "dog", "is", "asleep", "</s>"]
WEIGHTS = np.array(
    [[0.9, 0.1, 0, 0], [0, 0.8, 0.2, 0], [0, 0, 1, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 1]], dtype=float
)


def test_source_words_stand_above_and_target_words_to_the_left(picture: Callable) -> None:
    figure = alignment(WEIGHTS, SOURCE, TARGET, "A sentence")
    axes, scale = figure.axes
    (image,) = axes.images
    assert np.array_equal(np.asarray(image.get_array()), WEIGHTS)
    assert image.get_clim() == (0, 1)
    assert [label.get_text() for label in axes.get_xticklabels()] == SOURCE
    assert [label.get_text() for label in axes.get_yticklabels()] == TARGET
    assert axes.yaxis_inverted(), "the first word written is above"
    assert scale.get_ylabel() == "attention weight"
    seen = picture(figure)
    assert {"A sentence", "source", "target", "schläft", "0.5"} <= set(seen.texts)
    assert "5 target and 4 source symbols: the largest weight of a row is 0.84 on average" in seen.text


def test_a_word_stands_at_the_middle_of_its_cells() -> None:
    figure = alignment(WEIGHTS, SOURCE, TARGET)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    left, right, bottom, top = axes.images[0].get_extent()
    assert axes.get_xticks().tolist() == [left + place + 0.5 for place in range(4)]
    assert axes.get_yticks().tolist() == [top + place + 0.5 for place in range(5)]
    assert (right - left, bottom - top) == (4, 5)


def test_labels_of_long_sentences_do_not_overlap_and_stay_on_the_page() -> None:
    count = MAXIMUM_WORDS
    words = [f"word{place}" for place in range(count - 1)] + ["x" * 50]
    figure = alignment(np.eye(count), words, words)
    figure.draw_without_rendering()
    page = figure.get_window_extent()
    axes = figure.axes[0]
    for labels, low, high in (
        (axes.get_xticklabels(), "x0", "x1"),
        (axes.get_yticklabels()[::-1], "y0", "y1"),
    ):
        boxes = [label.get_window_extent() for label in labels]
        assert all(getattr(a, high) <= getattr(b, low) + 1 for a, b in pairwise(boxes))
        assert all(box.x0 >= 0 and box.x1 <= page.x1 and box.y0 >= 0 and box.y1 <= page.y1 for box in boxes)
    assert axes.get_xticklabels()[-1].get_text() == "x" * (LETTERS - 1) + "…"


def test_places_are_counted_where_there_are_no_or_too_many_words(picture: Callable) -> None:
    assert {"place in the source", "place in the target"} <= set(picture(alignment(WEIGHTS)).texts)
    long = np.eye(MAXIMUM_WORDS + 1)
    seen = picture(alignment(long, ["q"] * len(long), None))
    assert "q" not in seen.texts


def test_a_limit_is_told_and_zero_is_the_page() -> None:
    figure = alignment(WEIGHTS, limit=0.5)
    assert figure.axes[0].images[0].get_clim() == (0, 0.5)
    assert figure.axes[1].get_yticklabels()[-1].get_text() == "≥ 0.5"
    assert alignment(np.zeros((2, 2))).axes[0].images[0].get_clim() == (0, 1)
    assert style.rising()(0.0)[3] == 0
    assert style.rising()(1.0)[3] == 1


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_tensors_are_taken_and_the_same_bytes_come_out(suffix: str) -> None:
    tensor = torch.tensor(WEIGHTS, requires_grad=True)
    assert style.render(alignment(tensor), suffix) == style.render(alignment(WEIGHTS.tolist()), suffix)


def test_both_schemes_and_one_cell(picture: Callable) -> None:
    seen = picture(alignment([[1.0]], ["ein <wort>"], ["\t"]))
    assert {"ein <wort>", "⇥"} <= set(seen.texts)
    assert style.INK.dark in seen.sheet


def test_pieces_are_joined_columns_added_and_rows_averaged() -> None:
    """Against the sums written out; a row of words adds up to what its pieces' rows did."""
    source, target = ["▁der", "▁Hun", "de", "kuchen", "</s>"], ["▁dog", "▁bis", "cuit", "</s>"]
    weights = torch.rand(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    joined, columns, rows = join_pieces(weights, source, target, whole=["</s>"])
    assert columns == ["der", "Hundekuchen", "</s>"]
    assert rows == ["dog", "biscuit", "</s>"]
    w = weights.numpy()
    wanted = np.array(
        [
            [w[0, 0], w[0, 1] + w[0, 2] + w[0, 3], w[0, 4]],
            [(w[1, 0] + w[2, 0]) / 2, w[1:3, 1:4].sum() / 2, (w[1, 4] + w[2, 4]) / 2],
            [w[3, 0], w[3, 1] + w[3, 2] + w[3, 3], w[3, 4]],
        ]
    )
    np.testing.assert_allclose(joined, wanted, rtol=1e-12)
    np.testing.assert_allclose(joined.sum(1)[1], w[1:3].sum(1).mean())


def test_words_are_left_as_they_are() -> None:
    joined, source, target = join_pieces(WEIGHTS, [f"▁{w}" for w in SOURCE], [f"▁{w}" for w in TARGET])
    assert (source, target) == (SOURCE, TARGET)
    assert np.array_equal(joined, WEIGHTS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"weights": np.zeros((2, 2, 2))}, "expected 2 dimensions"),
        ({"weights": [[0.5, -0.1]]}, r"weights\[0, 1\]: expected a weight of 0 or more, got -0.1"),
        ({"weights": [[math.nan]]}, "got nan; give attention weights, not scores"),
        ({"weights": WEIGHTS, "source": ["a"]}, "source: expected 4 words, one for each place .* got 1"),
        ({"weights": WEIGHTS, "target": SOURCE}, "target: expected 5 words"),
        ({"weights": np.zeros((1, 2001))}, "1 x 2,001, at most 2,000 of either"),
        ({"weights": WEIGHTS, "limit": 0}, "limit: expected a finite number above 0, got 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        alignment(**arguments)


def test_letters_that_were_cut_in_bytes_are_letters_again() -> None:
    """As a codec of subwords shows them; bytes that make no letter stay as they are."""
    pieces = ["▁\\xe4\\xbd", "\\xa0", "a", "▁\\xf0\\x9f", "▁b"]
    assert join_pieces(np.ones((1, 5)), pieces, ["▁x"])[1] == ["你a", "\\xf0\\x9f", "b"]


def test_pieces_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="target: expected 5 pieces"):
        join_pieces(WEIGHTS, SOURCE, SOURCE)
