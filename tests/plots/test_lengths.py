"""elman.plots.lengths: lines, intervals and bins."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from elman.errors import ShapeError
from elman.metrics.lengths import Bin
from elman.plots import length_curve, style

SYSTEMS = {
    "with attention": [Bin(1, 10, 300, 40.0, 38.0, 42.0), Bin(11, 20, 1200, 37.0, 36.0, 39.0)],
    "fixed vector": [Bin(1, 10, 300, 35.0, 33.0, 36.0), Bin(11, 20, 1200, 22.0, 20.0, 23.0)],
}


def test_a_line_a_system_with_its_intervals(picture: Callable) -> None:
    figure = length_curve(SYSTEMS, "German to English")
    axes = figure.axes[0]
    for container, points in zip(axes.containers, SYSTEMS.values(), strict=True):
        assert isinstance(container, ErrorbarContainer)
        line, _, (bars,) = container.lines
        assert list(np.asarray(line.get_ydata())) == [point.score for point in points]
        segments = np.array(bars.get_segments())
        assert segments[:, :, 1].tolist() == [[point.low, point.high] for point in points]
    seen = picture(figure)
    for text in ("German to English", "BLEU", "with attention", "fixed vector", "1–10", "11–20", "1,200"):
        assert text in seen.text
    assert "length of the source (words)" in seen.text
    assert "95 % interval" in seen.text
    assert style.SERIES[1].dark in seen.sheet
    assert axes.get_ylim()[0] == 0, "a length of the line is a size"


def test_a_bin_without_sentences_leaves_a_gap(picture: Callable) -> None:
    empty = Bin(21, 21, 0, math.nan, math.nan, math.nan)
    assert "21 0" in picture(length_curve({"one": [*SYSTEMS["fixed vector"], empty]})).text


def test_the_same_bytes() -> None:
    assert style.render(length_curve(SYSTEMS), ".svg") == style.render(length_curve(SYSTEMS), ".svg")
    assert style.render(length_curve(SYSTEMS), ".png").startswith(b"\x89PNG")


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ShapeError, match="systems: expected 1 to 8, got 0"):
        length_curve({})
    with pytest.raises(ShapeError, match="one: expected 1 to 30 bins, got 0"):
        length_curve({"one": []})
    other = [*SYSTEMS["fixed vector"][:1], Bin(11, 20, 1199, 22.0, 20.0, 23.0)]
    with pytest.raises(ShapeError, match="two: its bins are not those of one"):
        length_curve({"one": SYSTEMS["fixed vector"], "two": other})
