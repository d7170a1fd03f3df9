"""elman.plots.surprisal: a text coloured by how surprising each symbol was."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from elman.errors import ShapeError
from elman.plots import style, surprisal
from elman.plots.surprisal import COLUMNS, MAXIMUM_LINES, MAXIMUM_SYMBOLS, lay_out


def bits(*values: float) -> list[float]:
    return [-value * math.log(2) for value in values]


def ground(figure: Figure) -> list[str]:
    """Colours behind the text, in the order of the levels; the scale's own boxes are left out."""
    return [
        to_hex(tuple(np.asarray(collection.get_facecolor())[0]))
        for collection in figure.axes[0].collections
        if isinstance(collection, PolyCollection) and not np.size(collection.get_edgecolor())
    ]


def test_symbols_title_and_scale_are_there(picture: Callable) -> None:
    seen = picture(surprisal("To be\n", bits(4, 1, 1, 2, 0, 0), title="Hamlet"))
    for text in ("T", "o", "␣", "b", "e", "↵", "Hamlet", "surprisal (bits per symbol)"):
        assert text in seen.texts
    assert "6 symbols: 1.33 bits each on average, perplexity 2.52" in seen.text
    assert style.HEAT[-1].dark in seen.sheet
    assert f"fill: {style.PAPER.light}" in seen.body, "the T stands on the strongest colour"
    assert f"fill: {style.PAPER.light}" not in picture(surprisal("aaa", bits(1, 1, 1))).body


def test_each_symbol_has_the_colour_of_its_bits() -> None:
    """With steps of one bit: 0.9 has no ground, 1.1 the first colour, 6.9 the sixth, 50 the last."""
    figure = surprisal("abcd" + "x" * 200, bits(0.9, 1.1, 6.9, 50, *[4.5] * 200))
    assert ground(figure) == [style.HEAT[level].light for level in (0, 3, 5, 6)]
    box = figure.axes[0].collections[3].get_paths()[0].get_extents()
    assert box.x0 == pytest.approx(42 + 3 * 9 * 0.6021), "below the fourth letter"
    assert box.width == pytest.approx(9 * 0.6021)


def test_neighbours_of_one_colour_are_one_rectangle() -> None:
    figure = surprisal("ab\ncd", bits(4, 4, 4, 4, 4))
    (four,) = [c for c in figure.axes[0].collections if not np.size(c.get_edgecolor())]
    assert len(four.get_paths()) == 2, "one for each line"


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ((0.5, 1.0, 3.0), ("0.5", "3.5 +")),
        ((2, 7, 7), ("1", "7 +")),
        ((8, 15), ("2", "14 +")),
        ((30,), ("4", "28 +")),
        ((math.inf,), ("1", "7 +")),
    ],
)
def test_the_steps_of_the_scale_fit_the_text(
    picture: Callable, values: tuple[float, ...], labels: tuple[str, ...]
) -> None:
    texts = picture(surprisal("x" * len(values), bits(*values))).texts
    for label in labels:
        assert label in texts


def test_an_impossible_symbol_has_the_last_colour_and_is_counted(picture: Callable) -> None:
    figure = surprisal("ab", [-1.0, -math.inf])
    assert style.HEAT[-1].light in ground(figure)
    assert "2 symbols, 1 of them impossible to the model" in picture(figure).text


def test_words_stand_apart_and_characters_do_not() -> None:
    assert [place.column for place in lay_out(["To", "be", "or"])] == [0, 3, 6]
    assert [place.column for place in lay_out("To be")] == [0, 1, 2, 3, 4]
    assert [place.column for place in lay_out([" ", "\\xc3", "\\xa9", "a"])] == [0, 1, 5, 9]


def test_an_end_of_line_ends_the_line() -> None:
    for end in ("\n", "\\x0a", "<eos>"):
        places = lay_out(["a", end, end, "b"])
        assert [(place.row, place.column) for place in places][3] == (2, 0)
        assert places[1].shown == "↵"


@given(st.lists(st.text(min_size=1, max_size=120), min_size=1, max_size=60))
def test_nothing_is_drawn_beyond_the_line_or_over_a_neighbour(symbols: list[str]) -> None:
    places = lay_out(symbols)
    taken: dict[int, int] = {}
    for place in places:
        assert place.column + place.width <= COLUMNS
        assert place.column >= taken.get(place.row, 0)
        taken[place.row] = place.column + place.width
        assert place.shown.isprintable()
    assert sorted(taken) == sorted({place.row for place in places})


def test_a_symbol_longer_than_a_line_is_cut_and_shows_it() -> None:
    (place,) = lay_out(["x" * 200])
    assert place.shown == "x" * (COLUMNS - 1) + "…"
    assert place.width == COLUMNS


def test_wide_and_combining_letters_have_their_room() -> None:
    wide, accent = lay_out(["中", "\u0301"])
    assert (wide.width, accent.column, accent.shown, accent.width) == (2, 2, "◌\u0301", 1)


def test_any_letters_give_a_well_formed_file(picture: Callable) -> None:
    seen = picture(surprisal(["<", "&", "\x00", "\udc80", "$", "中"], bits(1, 2, 3, 4, 5, 6)))
    for text in ("<", "&", "\\x00", "\\udc80", "$", "中"):
        assert text in seen.texts


def test_tensors_are_taken_and_the_same_bytes_come_out() -> None:
    values = torch.tensor(bits(1, 2, 3), requires_grad=True)
    first = style.render(surprisal("abc", values), ".svg")
    assert style.render(surprisal(["a", "b", "c"], values.tolist()), ".svg") == first


def test_the_largest_text_is_drawn(picture: Callable) -> None:
    assert (
        "5,000 symbols: 1.00 bits each on average, perplexity 2"
        in picture(surprisal("x" * MAXIMUM_SYMBOLS, bits(*[1] * MAXIMUM_SYMBOLS))).text
    )


@pytest.mark.parametrize(
    ("symbols", "values", "told"),
    [
        ("", [], "at least one symbol"),
        ("ab", [-1.0], "one for each of the 2 symbols, got 1"),
        ("ab", [-1.0, 0.5], r"log_probs\[1\]: expected ln p.*got 0.5; give log probabilities"),
        ("ab", [math.nan, -1.0], r"log_probs\[0\].*nan"),
        ("ab", [[-1.0, -1.0]], "expected 1 dimension"),
        ("x" * (MAXIMUM_SYMBOLS + 1), [-1.0] * (MAXIMUM_SYMBOLS + 1), "5,001 symbols, at most 5,000"),
        ("\n" * (MAXIMUM_LINES + 1), [-1.0] * (MAXIMUM_LINES + 1), "501 lines of text, at most 500"),
    ],
)
def test_what_cannot_be_drawn_is_refused(symbols: str, values: list[float], told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        surprisal(symbols, values)


def test_rounding_of_a_certain_symbol_is_no_error(picture: Callable) -> None:
    assert "1 symbol: 0.00 bits each on average, perplexity 1" in picture(surprisal("a", [1e-9])).text
