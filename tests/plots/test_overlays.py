"""elman.plots.overlays: panels, light and what cannot be drawn."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from elman.errors import ShapeError
from elman.plots import overlays, style
from elman.plots.overlays import STRONGEST, light

IMAGE = np.linspace(0, 1, 3 * 24 * 36).reshape(3, 24, 36)
PEAK = np.zeros((2, 4, 6))
PEAK[0, 1, 1], PEAK[1] = 1.0, 1 / 24


def test_one_panel_for_the_image_and_one_a_word(picture: Callable) -> None:
    figure = overlays(IMAGE, PEAK, ["a", "b" * 60], "A scene")
    assert len(figure.axes) == 4, "the image, two words, the scale"
    first = np.asarray(figure.axes[0].images[0].get_array())
    times = first.shape[0] // 24
    assert np.array_equal(first[::times, ::times], IMAGE.transpose(1, 2, 0))
    seen = picture(figure)
    assert {"A scene", "a", "attention weight"} <= set(seen.texts)
    assert any(text.endswith("…") for text in seen.texts), "a word is no wider than its panel"
    assert "2 words over 4 x 6 regions: the largest weight of a word is 0.52 on average" in seen.text


def test_the_light_falls_on_the_region_that_has_the_weight() -> None:
    shown = light(np.full((40, 60, 3), 0.5), PEAK[0])
    brightness = shown.sum(2)
    row, column = np.unravel_index(int(brightness.argmax()), brightness.shape)
    assert 10 <= row < 20
    assert 10 <= column < 20
    assert brightness[30:, 30:].max() == pytest.approx(brightness.min(), abs=0.02)
    assert shown[15, 15] == pytest.approx(
        (1 - STRONGEST) * 0.25 + STRONGEST * (0.5 + 2 * np.array([1.0, 0.62, 0.12])) / 3, abs=0.12
    )


def test_weights_are_smooth_over_the_pixels() -> None:
    shown = light(np.zeros((400, 600, 3)), PEAK[0])[..., 0]
    assert np.abs(np.diff(shown, axis=0)).max() < 0.02
    assert shown.max() <= 1


@pytest.mark.parametrize("shape", [(28, 28), (3, 28, 28)])
def test_bytes_and_fractions_are_the_same_picture(shape: tuple[int, ...]) -> None:
    pixels = np.arange(math.prod(shape)).reshape(shape) % 256
    first = overlays(pixels.astype(np.uint8), PEAK[:1], ["a"])
    second = overlays(torch.from_numpy(pixels / 255.0), torch.from_numpy(PEAK[:1]), ["a"])
    assert style.render(first, ".png") == style.render(second, ".png")


def test_half_of_the_words_reach_full_light() -> None:
    """The scale ends at the median of the words' largest weights, and says so."""
    figure = overlays(IMAGE, np.stack([PEAK[0], PEAK[1], PEAK[1] / 2]), ["a", "b", "c"])
    assert figure.axes[-1].get_yticklabels()[-1].get_text() == "≥ 0.042"
    assert overlays(IMAGE, PEAK, ["a", "b"], limit=1).axes[-1].get_yticklabels()[-1].get_text() == "1"


def test_svg_has_both_schemes(picture: Callable) -> None:
    assert style.INK.dark in picture(overlays(IMAGE, PEAK, ["a", "b"])).sheet


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"image": np.zeros((4, 5, 5))}, r"image: expected shape \(H, W\) or \(3, H, W\), got \(4, 5, 5\)"),
        ({"image": np.zeros(5)}, "image: expected 2 dimensions"),
        ({"image": np.full((5, 5), 2.0)}, "fractions from 0 to 1, got values from 2 to 2; undo"),
        ({"image": np.full((5, 5), -1)}, "whole numbers from 0 to 255, got values from -1"),
        ({"image": np.full((5, 5), math.nan)}, "fractions from 0 to 1"),
        ({"image": np.zeros((2, 4097))}, "at most 4096 a side"),
        ({"weights": PEAK[0]}, "expected 3 dimensions"),
        ({"weights": -PEAK}, "expected a weight of 0 or more"),
        ({"words": ["a"]}, "words: expected 2, one for each map of weights, got 1"),
        ({"words": ["a"] * 61, "weights": np.ones((61, 2, 2))}, "61, at most 60 are drawn"),
        ({"limit": math.inf}, "limit: expected a finite number above 0, got inf"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: dict[str, Any], told: str) -> None:
    given: dict[str, Any] = {"image": IMAGE, "weights": PEAK, "words": ["a", "b"], **arguments}
    with pytest.raises(ShapeError, match=told):
        overlays(**given)
