"""A text coloured symbol by symbol by how surprising each symbol was to a model.

    surprisal = -log2 p(s_t | s_1 .. s_(t-1)) = -log_prob / ln 2    in bits

Shannon, "A mathematical theory of communication", 1948. Colours stand for steps of bits, from none (expected)
to the strongest; the last has no upper end. L symbols; log_probs (L,) in nats.
"""

import math
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from elman.errors import ShapeError
from elman.plots import style

COLUMNS = 80
"""Letters in a line."""

MAXIMUM_SYMBOLS = 5000
MAXIMUM_LINES = 500

_END_OF_LINE = style.visible("\n")
_SIZE = 9.0  # of a letter, in points, as all lengths below
_ADVANCE = _SIZE * 0.6021  # DejaVu Sans Mono's
_PITCH = 16.0
_LEFT, _RIGHT, _BOTTOM = 42.0, 14.0, 12.0
_SCALE_HEIGHT, _SCALE_WIDTH = 58.0, 218.0


class Place(NamedTuple):
    """Where a symbol is drawn: row and column from 0, the letters shown, and how many columns they take."""

    row: int
    column: int
    shown: str
    width: int


def surprisal(symbols: Sequence[str], log_probs: Any, title: str = "") -> Figure:
    """The text of `symbols` on coloured ground, with a scale of colours in bits per symbol.

    symbols: L texts, or one text for its L characters; log_probs (L,): ln p of each, not above 0, as
    elman.tasks.language_predictor.Score gives them. Words (where some symbol has several letters and none is
    white space) stand apart, characters do not. ␣ is a space, ↵ an end of line, which also ends the line
    drawn; the number at a line's start is that of its first symbol, from 1.

    Raises ShapeError where the lengths differ, there are no symbols, a log probability is above 0 or NaN, or
    there are more than MAXIMUM_SYMBOLS symbols or MAXIMUM_LINES lines.
    """
    symbols = list(symbols)
    bits = _bits(symbols, log_probs)
    places = lay_out(symbols)
    rows = places[-1].row + 1
    if rows > MAXIMUM_LINES:
        raise ShapeError(
            f"symbols: {rows} lines of text, at most {MAXIMUM_LINES} are drawn; draw a part, as in "
            f"symbols[:1000], log_probs[:1000]"
        )
    step = _step(bits)
    finding = _finding(bits)
    width = _LEFT + COLUMNS * _ADVANCE + _RIGHT
    top = max(_SCALE_HEIGHT, 72 * style.headline_height((width - _SCALE_WIDTH) / 72, title, finding) + 8)
    height = top + rows * _PITCH + _BOTTOM
    with style.drawing():
        figure = style.figure(width / 72, height / 72, arranged=False)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, width), ylim=(height - top, -top))  # in points, 0 at the first line
        levels = np.floor(np.minimum(bits / step, len(style.HEAT))).astype(int)
        _ground(axes, places, levels)
        _letters(axes, places, levels)
        _scale(axes, width - _RIGHT, -top, step)
        style.headline(figure, title, finding, right=_SCALE_WIDTH / 72)
    return figure


def lay_out(symbols: Sequence[str]) -> list[Place]:
    """Lines of at most COLUMNS columns, broken between symbols; a symbol longer than a line is cut, with … at
    its end.
    """
    gap = int(any(len(symbol) > 1 for symbol in symbols) and not any(symbol.isspace() for symbol in symbols))
    places: list[Place] = []
    row = column = 0
    for symbol in symbols:
        shown = style.visible(symbol)
        if unicodedata.combining(shown[:1] or "x"):
            shown = "◌" + shown  # on a dotted circle, or it would sit on its neighbour
        width = _columns(shown)
        if width > COLUMNS:
            while _columns(shown) >= COLUMNS:
                shown = shown[:-1]
            shown += "…"
            width = COLUMNS
        if column + width > COLUMNS:
            row, column = row + 1, 0
        places.append(Place(row, column, shown, width))
        column += width + gap
        if shown == _END_OF_LINE:
            row, column = row + 1, 0
    return places


def _columns(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return max(1, len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text))


def _bits(symbols: list[str], log_probs: Any) -> np.ndarray:
    """(L,) surprisals, infinite where a symbol was impossible."""
    if not symbols:
        raise ShapeError("symbols: expected at least one symbol, got none")
    if len(symbols) > MAXIMUM_SYMBOLS:
        raise ShapeError(
            f"symbols: {len(symbols):,} symbols, at most {MAXIMUM_SYMBOLS:,} are drawn; draw a part, as in "
            f"symbols[:1000], log_probs[:1000]"
        )
    values = style.as_array(log_probs, "log_probs", "L")
    if len(values) != len(symbols):
        raise ShapeError(f"log_probs: expected one for each of the {len(symbols)} symbols, got {len(values)}")
    wrong = np.isnan(values) | (values > 1e-6)  # rounding of a certain symbol
    if wrong.any():
        first = int(wrong.argmax())
        raise ShapeError(
            f"log_probs[{first}]: expected ln p, a number not above 0, got {values[first]:g}; give log "
            f"probabilities, not probabilities or losses"
        )
    return np.maximum(-values / math.log(2), 0.0)


def _step(bits: np.ndarray) -> float:
    """Bits between two colours: such that nearly all symbols lie within the scale, or a few hundredths of
    them above it.
    """
    finite = bits[np.isfinite(bits)]
    high = float(np.quantile(finite, 0.97)) if len(finite) else 8.0
    return next((step for step in (0.5, 1.0, 2.0) if high <= step * (len(style.HEAT) + 1)), 4.0)


def _ground(axes: Axes, places: list[Place], levels: np.ndarray) -> None:
    """One collection a colour; neighbours of the same colour in a line are one rectangle, so that no seam is
    seen.
    """
    boxes: dict[int, list[tuple[float, float, float]]] = {}
    last: tuple[int, int, int] | None = None
    for place, level in zip(places, levels.tolist(), strict=True):
        left, right = _LEFT + place.column * _ADVANCE, _LEFT + (place.column + place.width) * _ADVANCE
        if level == 0:
            last = None
        elif last == (level, place.row, place.column):
            boxes[level][-1] = (boxes[level][-1][0], right, boxes[level][-1][2])
        else:
            boxes.setdefault(level, []).append((left, right, place.row * _PITCH))
        if level:
            last = (level, place.row, place.column + place.width)
    for level, found in sorted(boxes.items()):
        corners = [_box(left, right, top + 1, top + _PITCH - 1) for left, right, top in found]
        axes.add_collection(
            PolyCollection(corners, facecolors=style.HEAT[level - 1].light, edgecolors="none"), autolim=False
        )


def _box(left: float, right: float, top: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _letters(axes: Axes, places: list[Place], levels: np.ndarray) -> None:
    row = -1
    for index, (place, level) in enumerate(zip(places, levels.tolist(), strict=True)):
        y = place.row * _PITCH + 11.3
        if place.row != row:
            row = place.row
            axes.text(_LEFT - 8, y, f"{index + 1:,}", ha="right", fontsize=7.5, color=style.MUTED.light)
        hint = place.shown in style.MARKS and level <= 2  # on stronger ground it would be lost
        colour = style.MUTED if hint else style.INK if level <= style.HEAT_DARK_TEXT else style.PAPER
        x = _LEFT + (place.column + place.width / 2) * _ADVANCE
        axes.text(x, y, place.shown, ha="center", fontsize=_SIZE, family="monospace", color=colour.light)


def _scale(axes: Axes, right: float, top: float, step: float) -> None:
    """The colours with the bits at which each begins, in the corner at `right` and `top`."""
    count, side, height = len(style.HEAT) + 1, 22.0, 11.0
    left, top = right - count * side - 4, top + 22.0
    axes.text(left + count * side, top - 5, "surprisal (bits per symbol)", ha="right", fontsize=8.5)
    for level in range(count):
        box = _box(left + level * side, left + (level + 1) * side, top, top + height)
        # The first has no colour of its own but the page's; a line shows where it is.
        face = "none" if level == 0 else style.HEAT[level - 1].light
        axes.add_collection(
            PolyCollection([box], facecolors=face, edgecolors=style.RULE.light, linewidths=0.6), autolim=False
        )
        text = f"{level * step:g}" + (" +" if level == count - 1 else "")
        axes.text(
            left + level * side, top + height + 10, text, ha="left" if level == count - 1 else "center",
            fontsize=8, color=style.MUTED.light,
        )  # fmt: skip


def _finding(bits: np.ndarray) -> str:
    impossible = int(np.isinf(bits).sum())
    symbols = f"{len(bits):,} symbol{'s' if len(bits) != 1 else ''}"
    if impossible:
        return f"{symbols}, {impossible:,} of them impossible to the model"
    mean = float(bits.mean())
    perplexity = f"{2**mean:.3g}" if mean < 40 else f"2^{mean:.0f}"
    return f"{symbols}: {mean:.2f} bits each on average, perplexity {perplexity}"
