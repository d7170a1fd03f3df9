"""elman.plots.style: legible on every page, the same bytes each time, written whole or not at all."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread

from elman.errors import ConfigError, DataError, ShapeError
from elman.plots import style

LIGHT_PAGES = ("#ffffff", style.CARD)
DARK_PAGES = ("#000000", "#0d1117", "#1e1e1e")


def luminance(colour: str) -> float:
    """Relative luminance, Web Content Accessibility Guidelines 2.1."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def drawn() -> Figure:
    with style.drawing():
        figure = style.figure(5, 3)
        axes = figure.subplots()
        axes.plot([1, 2, 3], [2, 4, 1], color=style.SERIES[0].light, marker="o", label="a $5 line")
        axes.set(xlabel="updates", ylabel="loss (nats)")
        style.headline(figure, "What is seen", "in figures", legend=axes)
    return figure


def test_the_contrast_of_black_and_white_is_that_of_the_guidelines() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("pair", [style.INK, style.MUTED, *style.SERIES])
def test_text_and_lines_are_read_on_their_pages(pair: style.Colour) -> None:
    assert min(contrast(pair.light, page) for page in LIGHT_PAGES) >= 4.5
    assert min(contrast(pair.dark, page) for page in DARK_PAGES) >= 4.5


@pytest.mark.parametrize("level", range(len(style.HEAT)))
def test_text_is_read_on_every_step_of_the_scale(level: int) -> None:
    text = style.INK if level < style.HEAT_DARK_TEXT else style.PAPER
    assert contrast(text.light, style.HEAT[level].light) >= 4.5
    assert contrast(text.dark, style.HEAT[level].dark) >= 4.5


def test_the_scale_moves_away_from_the_page_step_by_step() -> None:
    light = [luminance("#ffffff"), *(luminance(pair.light) for pair in style.HEAT)]
    dark = [luminance("#0d1117"), *(luminance(pair.dark) for pair in style.HEAT)]
    assert light == sorted(light, reverse=True)
    assert dark == sorted(dark)
    for rising in (light[::-1], dark):
        ratios = [(b + 0.05) / (a + 0.05) for a, b in pairwise(rising)]
        assert min(ratios) > 1.12, "two neighbours would look alike"


def test_no_two_pairs_share_a_light_colour() -> None:
    """The dark colour is found by the light one."""
    pairs = [style.INK, style.MUTED, style.RULE, style.PAPER, *style.SERIES, *style.HEAT]
    assert len({pair.light for pair in pairs}) == len(pairs)


def test_zero_is_the_pages_own_colour_and_the_ends_are_not() -> None:
    colours = style.diverging()
    assert colours(0.5)[3] == pytest.approx(0, abs=0.01)
    assert colours(0.0)[3] == colours(1.0)[3] == 1
    alpha = colours(np.linspace(0.5, 1, 64))[:, 3]
    assert (np.diff(alpha) > 0).all()
    for end in (style.NEGATIVE, style.POSITIVE):
        assert min(contrast(end, page) for page in (*LIGHT_PAGES, *DARK_PAGES)) >= 3


def test_an_svg_has_both_colour_schemes_and_no_background(picture: Callable) -> None:
    seen = picture(drawn())
    assert "@media (prefers-color-scheme: dark)" in seen.sheet
    for pair in (style.INK, style.MUTED, style.RULE, style.SERIES[0]):
        assert pair.light in seen.body
        assert pair.dark in seen.sheet
        assert pair.dark not in seen.body
    assert style.SERIES[1].dark not in seen.sheet, "a colour that is not used needs no rule"
    background = seen.root.find(".//*[@id='patch_1']")
    assert background is not None
    assert "fill: none" in background[0].attrib["style"]


def test_every_colour_of_an_svg_is_one_of_the_pairs(picture: Callable) -> None:
    """Nothing is left in a colour that a dark page would swallow."""
    known = {pair.light for pair in (style.INK, style.MUTED, style.RULE, style.SERIES[0])}
    assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", picture(drawn()).body)) <= known


def test_text_stays_text_and_a_dollar_is_a_dollar(picture: Callable) -> None:
    seen = picture(drawn())
    for text in ("What is seen", "in figures", "updates", "loss (nats)", "a $5 line"):
        assert text in seen.texts


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_figure_gives_the_same_bytes(suffix: str) -> None:
    first = style.render(drawn(), suffix)
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert style.render(drawn(), suffix) == first, "the user's own settings came through"
    assert style.render(drawn(), suffix) == first
    assert not re.search(rb"20\d\d-\d\d-\d\d|matplotlib v", first, re.IGNORECASE)


def test_a_png_lies_on_an_opaque_card() -> None:
    pixels = imread(io.BytesIO(style.render(drawn(), ".png")))
    assert pixels.shape[:2] == (3 * style.PNG_DPI, 5 * style.PNG_DPI)
    assert (pixels[..., 3] == 1).all()
    assert pixels[0, 0, :3] == pytest.approx(matplotlib.colors.to_rgb(style.CARD), abs=0.003)


def test_the_settings_of_the_process_are_left_alone() -> None:
    before = dict(matplotlib.rcParams)
    style.render(drawn(), ".svg")
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_loaded() -> None:
    script = "import sys, elman.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("name", ["picture.svg", "picture.PNG", "new/folder/picture.svg"])
def test_save_writes_the_file_and_nothing_else(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert style.save(drawn(), str(path)) == path
    assert path.read_bytes() == style.render(drawn(), path.suffix.lower())
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["picture.pdf", "picture", "picture.svg.gz"])
def test_another_suffix_is_refused_with_those_allowed(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"\.svg or \.png") as caught:
        style.save(drawn(), tmp_path / name)
    assert name in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file/picture\.svg: the picture cannot be written"):
        style.save(drawn(), tmp_path / "file" / "picture.svg")
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(DataError, match=r"folder\.svg"):
        style.save(drawn(), tmp_path / "folder.svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.svg"]


def test_an_earlier_picture_stays_where_the_new_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = style.save(drawn(), tmp_path / "picture.svg")
    before = path.read_bytes()

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="No space left on device"):
        style.save(drawn(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("symbol", "shown"),
    [
        ("a", "a"),
        (" ", "␣"),
        ("\n", "↵"),
        ("\\x0a", "↵"),
        ("<eos>", "↵"),
        ("\t", "⇥"),
        ("two words", "two␣words"),
        ("\x00", "\\x00"),
        ("\udc80", "\\udc80"),
        ("\u200b", "\\u200b"),
        ("ž", "ž"),
    ],
)
def test_every_symbol_is_visible(symbol: str, shown: str) -> None:
    assert style.visible(symbol) == shown


def test_a_title_of_any_letters_gives_a_well_formed_file(picture: Callable) -> None:
    with style.drawing():
        figure = style.figure(5, 2)
        style.headline(figure, "a & b <c> \x00 \udc80 $x$", "")
    assert "a & b <c> \\x00 \\udc80 $x$" in picture(figure).texts


def test_a_long_title_is_broken_into_lines(picture: Callable) -> None:
    with style.drawing():
        figure = style.figure(4, 2)
        style.headline(figure, "word " * 40, "")
    texts = picture(figure).texts
    assert len(texts) > 3
    assert " ".join(texts).split() == ["word"] * 40


@pytest.mark.parametrize(
    "values",
    [
        [[1, 2], [3, 4]],
        np.array([[1, 2], [3, 4]], dtype=np.int32),
        torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True),
        torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16),
    ],
)
def test_arrays_tensors_and_lists_are_taken(values: object) -> None:
    array = style.as_array(values, "values", "TH")
    assert array.dtype == np.float64
    assert array.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1, 2], r"values: expected 2 dimensions \(T, H\), got shape \(2,\)"),
        (np.zeros((2, 3, 4)), r"got shape \(2, 3, 4\); take one element of a batch"),
        ([[1, 2], [3]], "values: expected real numbers"),
        ([["a"]], "values: expected real numbers"),
        (np.zeros((1, 1), dtype=complex), "values: expected real numbers"),
        (np.zeros((0, 3)), "at least one number"),
    ],
)
def test_other_values_are_refused(values: object, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        style.as_array(values, "values", "TH")
