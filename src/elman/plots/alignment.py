"""Which source words a decoder looked at for each word that it wrote: a matrix of weights.

A weight is the share of the attention that target row t gave to source column s; a row adds up to at most
one. The picture is figure 3 of Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to
align and translate", 2015: source words above, target words to the left.

Shapes: S source, L target. weights (L, S).
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from elman.errors import ShapeError
from elman.plots import style

MAXIMUM_WORDS = 120
"""Words on an axis; longer sequences have their places counted instead."""

MAXIMUM_LENGTH = 2000
LETTERS = 20
"""Of a word that is longer the beginning is shown, and an ellipsis."""

_BYTES = re.compile(r"(?:\\x[0-9a-f]{2})+")

_CELL = 0.24  # inches, of a matrix with room
_SMALLEST_CELL = 0.135  # that a line of small letters still fits into
_WIDEST = 8.0
_LARGEST = 5.0  # inches, of a side whose places are counted
_BAR = 0.14  # inches: the scale, and what is kept free for its numbers
_RIGHT = 1.25


def alignment(
    weights: Any,
    source: Sequence[str] | None = None,
    target: Sequence[str] | None = None,
    title: str = "",
    *,
    name: str = "attention weight",
    limit: float | None = None,
) -> Figure:
    """The matrix of weights (L, S) with the S source words above it and the L target words to its left.

    name: what the weights are, written at the scale, which goes from 0 to `limit`, by default the largest
    weight; larger ones are shown as it. Words of more than LETTERS letters are cut; on an axis without words,
    or with more than MAXIMUM_WORDS of them, places are counted from 1.

    Raises ShapeError for another shape, weights that are negative or not finite, words that are not as many
    as rows or columns, more than MAXIMUM_LENGTH of either, and a limit that is not above 0.
    """
    array = check_weights(weights, "weights", "LS")
    length, size = array.shape
    if max(array.shape) > MAXIMUM_LENGTH:
        raise ShapeError(
            f"weights: {length:,} x {size:,}, at most {MAXIMUM_LENGTH:,} of either are drawn; draw a part, "
            f"as in weights[:100, :100]"
        )
    columns, rows = _words(source, size, "source"), _words(target, length, "target")
    largest = float(array.max())
    full = check_limit(limit, largest)
    words_above = max(map(len, columns), default=3)
    words_left = max(map(len, rows), default=3)
    cell = _cell(size, length)
    wide, high = _side(size, cell, bool(columns)), _side(length, cell, bool(rows))
    letter = min(8.5, 72 * cell * 0.72)  # points
    left = 0.34 + 0.62 * letter * words_left / 72
    above = 0.4 + 0.62 * letter * words_above / 72
    width = max(left + wide + _RIGHT, 3.8)
    finding = _finding(array)
    head = style.headline_height(width, title, finding)
    height = head + above + max(high, 1.1) + 0.14
    with style.drawing():
        figure = style.figure(width, height, arranged=False)
        top = height - head - above

        def place(x: float, y: float, across: float, up: float) -> Axes:
            return figure.add_axes((x / width, y / height, across / width, up / height))

        axes = place(left, top - high, wide, high)
        _matrix(axes, array, full)
        _side_labels(axes, columns, rows, letter)
        bar = min(max(high, 1.0), 1.8)
        scale(place(left + wide + 0.22, top - bar, _BAR, bar), full, name, clipped=largest > full)
        style.headline(figure, title, finding)
    return figure


def join_pieces(
    weights: Any, source: Sequence[str], target: Sequence[str], mark: str = "▁", whole: Sequence[str] = ()
) -> tuple[np.ndarray, list[str], list[str]]:
    """Weights (L, S) between pieces of words -> weights between words, and the words of both axes.

    A piece that begins with `mark` begins a word, and so does what stands in `whole`, as an end symbol, and
    what follows it. The bytes, in hexadecimal, of a letter that was cut in pieces are that letter again. The
    columns of a word are added and its rows averaged, as in Clark et al., "What does BERT look at?", 2019: a
    row still adds up to what it did.

    Raises ShapeError where pieces are not as many as rows or columns.
    """
    array = check_weights(weights, "weights", "LS")
    for name, pieces, count in (("source", source, array.shape[1]), ("target", target, array.shape[0])):
        if len(pieces) != count:
            raise ShapeError(
                f"{name}: expected {count} pieces, one for each place of its axis, got {len(pieces)}"
            )
    rows, columns = _word_starts(target, mark, whole), _word_starts(source, mark, whole)
    sums = np.add.reduceat(np.add.reduceat(array, columns, 1), rows, 0)
    counts = np.diff([*rows, len(target)])
    return sums / counts[:, None], _joined(source, columns, mark), _joined(target, rows, mark)


def _word_starts(pieces: Sequence[str], mark: str, whole: Sequence[str]) -> list[int]:
    return [
        place
        for place, piece in enumerate(pieces)
        if not place or piece.startswith(mark) or piece in whole or pieces[place - 1] in whole
    ]


def _joined(pieces: Sequence[str], starts: list[int], mark: str) -> list[str]:
    ends = [*starts[1:], len(pieces)]
    words = ["".join(pieces[a:b]).removeprefix(mark) for a, b in zip(starts, ends, strict=True)]
    return [_BYTES.sub(_as_text, word) for word in words]


def _as_text(found: re.Match[str]) -> str:
    """Bytes in hexadecimal as the letters that they make; as they are where they make none."""
    try:
        return bytes.fromhex(found[0].replace("\\x", "")).decode("utf-8")
    except UnicodeDecodeError:
        return found[0]


def check_weights(values: Any, name: str, axes: str) -> np.ndarray:
    """`values` as float64 of those axes, none negative and all finite, or ShapeError."""
    array = style.as_array(values, name, axes)
    wrong = ~np.isfinite(array) | (array < 0)
    if wrong.any():
        first = tuple(int(place) for place in np.argwhere(wrong)[0])
        raise ShapeError(
            f"{name}{list(first)}: expected a weight of 0 or more, got {array[first]:g}; give attention "
            f"weights, not scores"
        )
    return array


def check_limit(limit: float | None, largest: float) -> float:
    """The weight that is drawn in full colour."""
    if limit is not None and not (limit > 0 and np.isfinite(limit)):
        raise ShapeError(f"limit: expected a finite number above 0, got {limit!r}")
    return limit if limit is not None else largest or 1.0


def scale(axes: Axes, full: float, name: str, clipped: bool, colours: np.ndarray | None = None) -> None:
    """The colour bar from 0 to `full`; colours (256, 1, 3): those of the picture where it has its own."""
    ramp = np.linspace(0, full, 256)[:, None]
    axes.imshow(
        ramp if colours is None else colours, cmap=style.rising(), vmin=0, vmax=full, aspect="auto",
        origin="lower", extent=(0, 1, 0, full), interpolation="none",
    )  # fmt: skip
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([0, full / 2, full], ["0", f"{full / 2:.2g}", ("≥ " if clipped else "") + f"{full:.2g}"])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_ylabel(name)
    axes.spines[:].set_visible(True)


def shorten(word: str, letters: int = LETTERS) -> str:
    """A word as it is drawn, cut where it is long."""
    shown = style.visible_line(word)
    return shown if len(shown) <= letters else shown[: letters - 1] + "…"


def _words(words: Sequence[str] | None, count: int, name: str) -> list[str]:
    """The words of an axis, none where its places are counted."""
    if words is None:
        return []
    if len(words) != count:
        raise ShapeError(f"{name}: expected {count} words, one for each place of its axis, got {len(words)}")
    return [shorten(word) for word in words] if count <= MAXIMUM_WORDS else []


def _cell(size: int, length: int) -> float:
    """Inches of a square cell: as large as the page has room for, and large enough for letters."""
    return min(_CELL, max(_SMALLEST_CELL, _WIDEST / max(size, length)))


def _side(count: int, cell: float, worded: bool) -> float:
    return max(cell, count * cell if worded else min(count * cell, _LARGEST))


def _matrix(axes: Axes, array: np.ndarray, full: float) -> None:
    length, size = array.shape
    few = max(length, size) <= 600
    axes.imshow(
        array, cmap=style.rising(), vmin=0, vmax=full, aspect="auto",
        extent=(0.5, size + 0.5, length + 0.5, 0.5), interpolation="none" if few else "antialiased",
        interpolation_stage="rgba",
    )  # fmt: skip
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(style.RULE.light)


def _side_labels(axes: Axes, columns: list[str], rows: list[str], letter: float) -> None:
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    for words, axis, angle in ((columns, axes.xaxis, 90), (rows, axes.yaxis, 0)):
        if not words:
            style.count_ticks(axis, 10)
            continue
        axis.set_ticks(range(1, len(words) + 1), words, fontsize=letter, rotation=angle)
        # Thin lines between words lead the eye from a word to its cells; they show where cells are pale.
        axis.set_minor_locator(MultipleLocator(1, offset=0.5))
        axis.set_tick_params(which="both", length=0, pad=3)
        axis.set_tick_params(which="major", labelcolor=style.INK.light)
        axis.grid(visible=True, which="minor", linewidth=0.4)
    axes.set_xlabel("source" if columns else "place in the source", labelpad=5)
    axes.set_ylabel("target" if rows else "place in the target", labelpad=5)


def _finding(array: np.ndarray) -> str:
    length, size = array.shape
    symbols = f"{length:,} target and {size:,} source symbol{'s' if size != 1 else ''}"
    return f"{symbols}: the largest weight of a row is {array.max(1).mean():.2f} on average"
