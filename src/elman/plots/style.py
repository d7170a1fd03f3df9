"""How a picture looks and how it is saved: the one place for figures, colours, fonts and files.

Every colour is a pair: one for light pages and one for dark pages. Figures are drawn in the light ones. An
SVG has no background and carries a style sheet that puts the dark ones in their place where the reader
prefers a dark page; a reader without style sheets sees the light ones. A PNG is drawn in the light ones on an
opaque card.

The pairs keep the contrasts of the Web Content Accessibility Guidelines 2.1 (1.4.3: 4.5 for text; 1.4.11: 3
for lines), and neighbours differ in lightness as well as in hue, after Okabe and Ito, "Color Universal
Design", 2008, so that they are told apart by colour-blind readers. The same figure gives the same bytes: no
dates, no random identifiers.
"""

import io
import os
import re
import textwrap
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from elman.errors import ConfigError, DataError, ShapeError


class Colour(NamedTuple):
    """A colour on light pages and its partner on dark pages, as #rrggbb."""

    light: str
    dark: str


INK = Colour("#1f2328", "#e6e9ee")
MUTED = Colour("#59636e", "#9ba6b3")
RULE = Colour("#d4d9df", "#3b434d")
PAPER = Colour("#fffffe", "#15181d")
"""Text on a strong colour."""

SERIES = (
    Colour("#1a6fb5", "#63b1f5"),
    Colour("#c24e00", "#ff9d5c"),
    Colour("#00806a", "#35cfae"),
    Colour("#8a4aa6", "#d0a2f2"),
    Colour("#916f00", "#e3c04b"),
    Colour("#b0316b", "#ff8fbb"),
    Colour("#3f7d20", "#93d36c"),
    Colour("#5d6670", "#b4bec9"),
)
"""Colours of lines and points, in the order of their use."""

HEAT = (
    Colour("#fdf1d2", "#2c2437"),
    Colour("#fbdc9e", "#47284b"),
    Colour("#f8c06a", "#672b56"),
    Colour("#f09c40", "#8b3157"),
    Colour("#b94d1c", "#e0703e"),
    Colour("#93321e", "#f2a03e"),
    Colour("#63181c", "#fbd866"),
)
"""Rising from the page's own colour to the strongest; INK is read on the first four, PAPER on the last
three.
"""

HEAT_DARK_TEXT = 4
"""Colours of HEAT that INK is read on."""

NEGATIVE, POSITIVE = "#1478c8", "#d9560b"
CARD = "#fbfbf9"
"""What a PNG lies on."""

PNG_DPI = 160
SUFFIXES = (".svg", ".png")
CLASS = "elman-figure"

_SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.monospace": ["DejaVu Sans Mono", "Menlo", "Consolas"],
    "font.size": 9.0,
    "text.color": INK.light,
    "text.parse_math": False,  # a dollar sign in a title or a text is a dollar sign
    "axes.edgecolor": MUTED.light,
    "axes.facecolor": "none",
    "axes.labelcolor": INK.light,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE.light,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED.light,
    "ytick.color": MUTED.light,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "figure.edgecolor": "none",
    "savefig.facecolor": "auto",
    "savefig.bbox": None,
    "svg.fonttype": "none",
    "svg.hashsalt": "elman",
}

# What a reader has set for windows and notebooks is no matter of style, and stays as it is.
_DEFAULTS = {
    key: value
    for key, value in matplotlib.rcParamsDefault.items()
    if not key.startswith(("backend", "interactive", "toolbar", "webagg", "figure.hooks", "date."))
}

_LOCK = threading.RLock()  # matplotlib's settings belong to the process


@contextmanager
def drawing() -> Iterator[None]:
    """Within it, artists are made in elman's style, whatever the user's own settings; afterwards those hold
    again.
    """
    with _LOCK, matplotlib.rc_context({**_DEFAULTS, **_SETTINGS}):
        yield


def figure(width: float, height: float, arranged: bool = True) -> Figure:
    """An empty figure of width x height inches, to be filled within `drawing()`; `arranged`: axes make room
    for labels.
    """
    with drawing():
        made = Figure(figsize=(width, height), layout="constrained" if arranged else None)
        if isinstance(engine := made.get_layout_engine(), ConstrainedLayoutEngine):
            engine.set(w_pad=0.08, h_pad=0.06)
        return made


def headline(
    target: Figure, title: str, finding: str = "", legend: Axes | None = None, right: float = 0.0
) -> None:
    """The title at the top left in bold, under it what is seen, and under that the legend of `legend` in as
    few rows as hold it.

    Where `title` is empty the finding is the title. `right`: inches kept free at the right. The axes are
    moved below; to be called when they are filled.
    """
    width, height = target.get_size_inches()
    top, left = height - 0.12, 0.12
    for line, size, weight, colour in _heading(width - right, title, finding):
        target.text(left / width, top / height, line, va="top", size=size, weight=weight, color=colour.light)
        top -= size * 1.45 / 72
    if legend is not None:
        handles, labels = legend.get_legend_handles_labels()
        fit = max(1, int(width * 72 / (42 + 4.9 * max(map(len, labels)))))
        rows = -(-len(labels) // fit)
        target.legend(
            handles, labels, loc="upper left", bbox_to_anchor=(left / width, (top - 0.02) / height),
            ncols=-(-len(labels) // rows), borderaxespad=0, borderpad=0, handlelength=1.7, columnspacing=1.6,
        ).set_in_layout(False)  # fmt: skip
        top -= rows * 0.185 + 0.02
    if isinstance(engine := target.get_layout_engine(), ConstrainedLayoutEngine):
        engine.set(rect=(0, 0, 1, (top - 0.02) / height))


def headline_height(width: float, title: str, finding: str) -> float:
    """Inches that a headline without a legend takes in a figure of so many inches."""
    return 0.14 + sum(size * 1.45 / 72 for _, size, _, _ in _heading(width, title, finding))


def _heading(width: float, title: str, finding: str) -> Iterator[tuple[str, float, str, Colour]]:
    """(line, size, weight, colour) from above, broken by an average width of letters: an SVG has its reader's
    fonts.
    """
    first, second = (title, finding) if title else (finding, "")
    for text, size, weight, colour, advance in (
        (first, 10.5, "bold", INK, 0.61),
        (second, 9.0, "normal", MUTED, 0.52),
    ):
        columns = max(20, int((width - 0.3) * 72 / (advance * size)))
        yield from ((line, size, weight, colour) for line in textwrap.wrap(visible_line(text), columns))


def save(target: Figure, path: str | Path) -> Path:
    """Writes a figure as .svg or .png, whole or not at all, and returns the path; its folder is made.

    Raises ConfigError for another suffix, DataError where the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        came = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise ConfigError(
            f"{path}: a picture is saved as {' or '.join(SUFFIXES)}, got {came}; name it {path.stem}.svg"
        )
    content = render(target, path.suffix.lower())
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{path}: the picture cannot be written: {error.strerror or error}; choose another folder"
        ) from error
    return path


def render(target: Figure, suffix: str) -> bytes:
    """The bytes of a figure as ".svg" or ".png"."""
    buffer = io.BytesIO()
    with drawing():
        if suffix == ".png":
            target.savefig(buffer, format="png", dpi=PNG_DPI, facecolor=CARD, metadata={"Software": None})
            return buffer.getvalue()
        with warnings.catch_warnings():
            # A letter that matplotlib's font lacks is drawn by the reader's; in a PNG the warning is meant.
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
            target.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _with_dark_colours(buffer.getvalue().decode("utf-8")).encode("utf-8")


def _with_dark_colours(svg: str) -> str:
    """Adds the style sheet of the dark page for those colours that the picture uses."""
    pairs = [pair for pair in (INK, MUTED, RULE, PAPER, *SERIES, *HEAT) if pair.light in svg]
    rules = "".join(
        # No ancestor in the selector, or it would not reach the copies that <use> makes of a definition.
        f'[style*="{use}: {light}"] {{ {use}: {dark} !important }}\n'
        for light, dark in pairs
        for use in ("fill", "stroke")
        if f"{use}: {light}" in svg
    )
    sheet = (
        f'<style type="text/css">\n.{CLASS} {{ color-scheme: light dark }}\n'
        f"@media (prefers-color-scheme: dark) {{\n{rules}}}\n</style>\n"
    )
    head = re.search(r"<svg [^>]*>\n?", svg)
    assert head, "matplotlib wrote an SVG without an svg element"
    opening = head[0].replace("<svg ", f'<svg class="{CLASS}" ', 1)
    return svg[: head.start()] + opening + sheet + svg[head.end() :]


def count_ticks(axis: Axis, most: int) -> None:
    """At most so many ticks at whole numbers, with commas between thousands."""
    axis.set_major_locator(MaxNLocator(most, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.0f}".replace("-", "−")))


def diverging() -> LinearSegmentedColormap:
    """Blue below zero, orange above, and at zero nothing at all, so that zero is the page's colour on every
    page.
    """
    below, above = (matplotlib.colors.to_rgb(colour) for colour in (NEGATIVE, POSITIVE))
    ramp = [(0, (*below, 1)), (0.5, (*below, 0)), (0.5, (*above, 0)), (1, (*above, 1))]
    return LinearSegmentedColormap.from_list("elman", ramp, N=511, bad="#808890")


def rising() -> LinearSegmentedColormap:
    """From nothing at all, the page itself, to one strong colour that is read on light and on dark pages."""
    strong = matplotlib.colors.to_rgb(POSITIVE)
    return LinearSegmentedColormap.from_list("elman-rising", [(0, (*strong, 0)), (1, (*strong, 1))], N=256)


def as_array(values: Any, name: str, axes: str) -> np.ndarray:
    """`values` (array, tensor or nested lists) as float64 with one dimension a letter in `axes`, such as
    "TH".

    Raises ShapeError where it is none of these or has other dimensions.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().to("cpu", torch.float64).numpy()
    try:
        array = np.asarray(values)
        array = array.astype(np.float64, casting="unsafe" if array.dtype.kind in "biuf" else "safe")
    except (TypeError, ValueError) as error:
        raise ShapeError(f"{name}: expected real numbers of shape ({', '.join(axes)}): {error}") from error
    if array.ndim != len(axes):
        raise ShapeError(
            f"{name}: expected {len(axes)} dimensions ({', '.join(axes)}), got shape {array.shape}; take one "
            f"element of a batch, as in values[:, 0]"
        )
    if not array.size:
        raise ShapeError(f"{name}: expected at least one number, got shape {tuple(array.shape)}")
    return array


_SHOWN = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥", "\\x0a": "↵", "<eos>": "↵"}

MARKS = frozenset(_SHOWN.values())


def visible(symbol: str) -> str:
    r"""A symbol as it is drawn: ␣ a space, ⇥ a tab, ↵ an end of line (of words too), \x07 other controls."""
    return _SHOWN.get(symbol) or "".join(
        letter if letter.isprintable() and letter != " " else _SHOWN.get(letter) or _escape(letter)
        for letter in symbol
    )


def visible_line(text: str) -> str:
    """A line of prose that may be drawn: spaces stay, what cannot be printed is made visible."""
    return "".join(letter if letter.isprintable() else visible(letter) for letter in text)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
