"""elman.plots.states: activations as a heat map and as lines."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.text import Annotation

from elman.errors import ShapeError
from elman.plots import activations, states, style, traces

VALUES = np.linspace(-1, 0.5, 12).reshape(4, 3)


def test_a_heat_map_has_time_to_the_right_and_units_downwards(picture: Callable) -> None:
    figure = activations(VALUES, "To b", title="A look inside", name="output h")
    (image,) = figure.axes[0].images
    assert np.array_equal(np.asarray(image.get_array()), VALUES.T)
    assert image.get_clim() == (-1, 1)
    seen = picture(figure)
    for text in ("unit", "symbol read, one a step", "T", "␣", "output h", "A look inside", "−1", "0.5"):
        assert text in seen.texts
    assert "Output h of 3 units over 4 steps: at most 1 in magnitude" in seen.texts


def test_a_limit_is_shown_at_the_scale(picture: Callable) -> None:
    figure = activations(VALUES, limit=0.25)
    assert figure.axes[0].images[0].get_clim() == (-0.25, 0.25)
    assert {"≥ 0.25", "≤ −0.25", "step"} <= set(picture(figure).texts)
    assert "≥ 4" not in picture(activations(VALUES, limit=4)).texts


def test_values_that_are_not_finite_are_counted(picture: Callable) -> None:
    values = VALUES.copy()
    values[0, 0], values[1, 1] = math.nan, math.inf
    assert "2 not finite (grey)" in picture(activations(values)).text
    assert "2 not finite (gaps)" in picture(traces(values)).text
    assert picture(activations(np.full((2, 2), math.nan)))
    assert picture(traces(np.full((2, 2), math.nan)))


def test_the_scale_is_the_same_on_both_sides_of_zero() -> None:
    """A positive array still has zero at the page's colour."""
    assert activations(np.array([[0.0, 3.0]])).axes[0].images[0].get_clim() == (-3, 3)
    assert activations(np.zeros((2, 2))).axes[0].images[0].get_clim() == (-1, 1)


def test_lines_are_labelled_at_their_ends_without_overlap(picture: Callable) -> None:
    values = np.zeros((10, 8))
    figure = traces(values, names=[f"gate {unit}" for unit in range(8)], name="f")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
    assert len(boxes) == 8
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))
    assert all(box.x0 >= axes.get_window_extent().x1 for box in boxes), "labels stand outside the data"
    assert {"gate 0", "gate 7", "f", "step"} <= set(picture(figure).texts)


def test_labels_follow_the_order_of_the_ends() -> None:
    figure = traces(np.array([[0.0, 0.0, 0.0], [3.0, 1.0, 2.0]]))
    heights = {text.get_text(): text.xy[1] for text in figure.axes[0].texts if isinstance(text, Annotation)}
    assert heights["unit 1"] < heights["unit 2"] < heights["unit 0"]


def test_line_data_are_the_columns() -> None:
    lines = traces(VALUES[:, [2, 0]], names=["c[2]", "c[0]"]).axes[0].lines[:2]
    assert [np.asarray(line.get_ydata()).tolist() for line in lines] == [
        VALUES[:, 2].tolist(),
        VALUES[:, 0].tolist(),
    ]


@pytest.mark.parametrize("draw", [activations, traces])
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_tensors_are_taken_and_the_same_bytes_come_out(draw: Callable, suffix: str) -> None:
    tensor = torch.tensor(VALUES, requires_grad=True)
    first = style.render(draw(tensor), suffix)
    assert style.render(draw(VALUES.tolist()), suffix) == first


@pytest.mark.parametrize("draw", [activations, traces])
def test_both_schemes_and_words(draw: Callable, picture: Callable) -> None:
    seen = picture(draw(VALUES, symbols=["Before", "we", "go", "<eos>"]))
    assert {"Before", "↵"} <= set(seen.texts)
    assert style.INK.dark in seen.sheet


@pytest.mark.parametrize("draw", [activations, traces])
def test_one_value_is_enough(draw: Callable, picture: Callable) -> None:
    assert any("1 unit over 1 step" in text for text in picture(draw([[0.5]])).texts)


@pytest.mark.parametrize(
    ("draw", "arguments", "told"),
    [
        (activations, {"values": np.zeros((4, 2, 3))}, r"got shape \(4, 2, 3\); take one element"),
        (activations, {"values": VALUES, "symbols": "abc"}, "symbols: expected 4, one for each step, got 3"),
        (activations, {"values": np.zeros((251, 1)), "symbols": "a" * 251}, "at most 250 can be labelled"),
        (activations, {"values": np.zeros((4001, 1000))}, "4,001 x 1,000 numbers, at most 4,000,000"),
        (activations, {"values": VALUES, "limit": 0}, "limit: expected a finite number above 0, got 0"),
        (activations, {"values": VALUES, "limit": math.nan}, "limit: expected"),
        (traces, {"values": np.zeros((3, states.MAXIMUM_LINES + 1))}, "9 lines, at most 8"),
        (traces, {"values": VALUES, "names": ["a"]}, "names: expected 3, one for each line, got 1"),
        (traces, {"values": [1.0]}, "expected 2 dimensions"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Callable, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        draw(**arguments)


def test_a_long_heat_map_is_averaged_not_picked() -> None:
    """One bright step in ten thousand stays visible, if faint, where several steps share a pixel."""
    values = np.zeros((3000, 2))
    values[1234] = 1.0
    assert activations(values).axes[0].images[0].get_interpolation() == "antialiased"
    assert activations(values[:100]).axes[0].images[0].get_interpolation() == "none"
