"""The trellis: what is written on it, and what cannot be drawn."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from elman.errors import ShapeError
from elman.lattice.ctc import ctc_tables
from elman.plots import style
from elman.plots.lattice import MAXIMUM_FRAMES, trellis

NAMES = "-abcdefghijklmnopqrstuvwxyz"
HELLO = torch.tensor([NAMES.index(letter) for letter in "hello"])


def logits(time: int = 12) -> torch.Tensor:
    return torch.randn(time, len(NAMES), generator=torch.Generator().manual_seed(0))


def test_states_units_and_the_probability_are_written(picture: Callable) -> None:
    tables = ctc_tables(logits(), HELLO)
    seen = picture(trellis(tables, NAMES, title="hello"))
    assert [text for text in seen.texts if text in [*"helo", "–"]] == [*"–h–e–l–l–o–"] * 3
    for text in ("time (frames)", "forward", "backward", "posterior", "probability"):
        assert text in seen.text
    assert f"ln p(target | frames) = {tables.log_prob:.2f}" in seen.text
    assert "time (seconds)" in picture(trellis(tables, seconds_per_frame=0.02)).text


def test_the_posterior_is_drawn_as_it_is() -> None:
    tables = ctc_tables(logits(), HELLO)
    figure = trellis(tables, path=[0] * 12)
    forward, posterior = (
        torch.from_numpy(np.array(figure.axes[place].images[0].get_array()).T) for place in (0, 4)
    )
    torch.testing.assert_close(posterior, tables.posterior)
    assert forward.max() == 0
    assert bool((forward[tables.alpha == -torch.inf] == -12).all())
    assert list(np.asarray(figure.axes[0].lines[0].get_ydata())) == [0] * 12


def test_both_kinds_of_file_are_made_and_the_same_bytes() -> None:
    tables = ctc_tables(logits(), HELLO)
    assert style.render(trellis(tables), ".svg") == style.render(trellis(tables), ".svg")
    assert style.render(trellis(tables), ".png").startswith(b"\x89PNG")


def test_an_impossible_target_is_drawn_as_such(picture: Callable) -> None:
    values = logits()
    values[:, NAMES.index("e")] = -math.inf
    assert "No path of 12 frames gives the target" in picture(trellis(ctc_tables(values, HELLO))).text


def test_what_cannot_be_drawn_is_refused() -> None:
    tables = ctc_tables(logits(), HELLO)
    with pytest.raises(ShapeError, match="path: expected 12 states"):
        trellis(tables, path=[0])
    with pytest.raises(ShapeError, match="a text for each class to 15, got 3"):
        trellis(tables, "-ab")
    with pytest.raises(ShapeError, match="at most 2,000"):
        trellis(ctc_tables(torch.zeros(MAXIMUM_FRAMES + 1, 2), torch.tensor([1])))
