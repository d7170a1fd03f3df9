"""Inside a recurrence: states, gates or any other activations over time, as a heat map or as lines.

Shapes: T time, H units, K units chosen. values (T, H) or (T, K), such as what `scan(..., record=("f",))`
gives for one element of a batch, recorded["f"][:, 0].
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from elman.errors import ShapeError
from elman.plots import style

MAXIMUM_SYMBOLS = 250
"""Steps that can be labelled with symbols."""

MAXIMUM_VALUES = 4_000_000
"""Numbers in one heat map."""

MAXIMUM_LINES = len(style.SERIES)

_LABEL = 0.125  # inches between two symbols


def activations(
    values: Any,
    symbols: Sequence[str] | None = None,
    title: str = "",
    *,
    name: str = "activation",
    limit: float | None = None,
) -> Figure:
    """A heat map of values (T, H): time to the right, units downwards; blue below zero, orange above, zero as
    the page.

    symbols: T texts for the axis of time. name: what the values are, written at the scale. limit: the
    magnitude that is shown in full colour, by default the largest; values beyond are shown as it. Values that
    are not finite are grey.

    Raises ShapeError for another shape, more than MAXIMUM_VALUES values, or symbols that are not T or more
    than MAXIMUM_SYMBOLS; and for a limit that is not above 0.
    """
    array = style.as_array(values, "values", "TH")
    time, units = array.shape
    if array.size > MAXIMUM_VALUES:
        raise ShapeError(
            f"values: {time:,} x {units:,} numbers, at most {MAXIMUM_VALUES:,} are drawn; draw a part, as in "
            f"values[:500]"
        )
    shown = _symbols(symbols, time)
    largest = _largest(array)
    if limit is not None and not (limit > 0 and math.isfinite(limit)):
        raise ShapeError(f"limit: expected a finite number above 0, got {limit!r}")
    full = limit if limit is not None else largest or 1.0
    with style.drawing():
        width = min(max(time * _LABEL if shown else 5.4, 3.6), MAXIMUM_SYMBOLS * _LABEL) + 1.7
        figure = style.figure(width, min(max(units * 0.09, 1.0), 5.0) + 1.3)
        map_, scale = figure.subplots(1, 2, width_ratios=(width - 0.9, 0.14))
        # With few cells the reader's own pixels are used and edges stay sharp; many are averaged, not picked.
        few = time <= 600 and units <= 400
        colours = style.diverging()
        map_.imshow(
            np.ma.masked_invalid(array).T, cmap=colours, vmin=-full, vmax=full, aspect="auto",
            interpolation="none" if few else "antialiased", interpolation_stage="rgba",
        )  # fmt: skip
        map_.grid(visible=False)
        map_.set_ylabel("unit")
        style.count_ticks(map_.yaxis, min(units, 8))
        _time(map_, shown, time)
        _scale(scale, full, clipped=largest > full, name=name)
        style.headline(figure, title, _finding(array, largest, name, "grey"))
    return figure


def traces(
    values: Any, names: Sequence[str] | None = None, symbols: Sequence[str] | None = None, title: str = "", *,
    name: str = "activation",
) -> Figure:  # fmt: skip
    """Values (T, K) of K units as lines over time, each labelled at its end with its name (by default its
    number).

    symbols and name as for `activations`. A value that is not finite leaves a gap.

    Raises ShapeError for another shape, more than MAXIMUM_LINES lines, or names or symbols that do not fit.
    """
    array = style.as_array(values, "values", "TK")
    time, count = array.shape
    if count > MAXIMUM_LINES:
        raise ShapeError(
            f"values: {count} lines, at most {MAXIMUM_LINES} can be told apart; choose units, as in "
            f"values[:, [3, 17]], or draw activations(values)"
        )
    labels = [f"unit {unit}" for unit in range(count)] if names is None else list(names)
    if len(labels) != count:
        raise ShapeError(f"names: expected {count}, one for each line, got {len(labels)}")
    shown = _symbols(symbols, time)
    with style.drawing():
        width = min(max(time * _LABEL if shown else 5.4, 3.6), MAXIMUM_SYMBOLS * _LABEL) + 1.9
        figure = style.figure(width, 3.3)
        axes = figure.subplots()
        for column, colour in zip(array.T, style.SERIES, strict=False):
            axes.plot(
                np.where(np.isfinite(column), column, np.nan),
                color=colour.light,
                marker="." if time == 1 else "",
            )
        axes.axhline(0, color=style.MUTED.light, linewidth=0.8)
        axes.set_ylabel(name)
        axes.margins(x=0.01)
        _time(axes, shown, time)
        _label_ends(axes, array, labels)
        style.headline(figure, title, _finding(array, _largest(array), name, "gaps"))
    return figure


def _largest(array: np.ndarray) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max()) if len(finite) else 0.0


def _symbols(symbols: Sequence[str] | None, time: int) -> list[str]:
    if symbols is None:
        return []
    if len(symbols) != time:
        raise ShapeError(f"symbols: expected {time}, one for each step, got {len(symbols)}")
    if time > MAXIMUM_SYMBOLS:
        raise ShapeError(
            f"symbols: {time} steps, at most {MAXIMUM_SYMBOLS} can be labelled; draw a part, as in "
            f"values[:{MAXIMUM_SYMBOLS}], or leave the symbols out"
        )
    return [style.visible(symbol) for symbol in symbols]


def _time(axes: Axes, shown: list[str], time: int) -> None:
    if not shown:
        axes.set_xlabel("step")
        style.count_ticks(axes.xaxis, min(time, 10))
        return
    words = max(map(len, shown)) > 2
    axes.set_xticks(range(time), shown, family="monospace", fontsize=8, rotation=90 if words else 0)
    axes.tick_params(axis="x", length=0 if not words else 2, pad=3)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("symbol read, one a step")


def _scale(axes: Axes, full: float, clipped: bool, name: str) -> None:
    """The colour bar: a picture of 255 steps, for a row of rectangles shows its seams."""
    ramp = np.linspace(-full, full, 255)[:, None]
    axes.imshow(
        ramp, cmap=style.diverging(), vmin=-full, vmax=full, aspect="auto", origin="lower",
        interpolation="none", extent=(0, 1, -full, full),
    )  # fmt: skip
    axes.grid(visible=False)
    axes.set_xticks([])
    ends = (f"≤ −{full:.3g}", f"≥ {full:.3g}") if clipped else (f"−{full:.3g}", f"{full:.3g}")
    axes.set_yticks(
        [-full, -full / 2, 0, full / 2, full], [ends[0], f"−{full / 2:.3g}", "0", f"{full / 2:.3g}", ends[1]]
    )
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_ylabel(name)
    axes.spines[:].set_visible(True)


def _label_ends(axes: Axes, array: np.ndarray, labels: list[str]) -> None:
    """Names to the right of the lines' ends, in the order of the ends and far enough apart to be read."""
    low, high = axes.get_ylim()
    ends = [column[np.isfinite(column)][-1] if np.isfinite(column).any() else low for column in array.T]
    apart = (high - low) * 0.075
    order = sorted(range(len(labels)), key=lambda index: (ends[index], index))
    heights = [float(ends[index]) for index in order]
    for place in range(1, len(heights)):
        heights[place] = max(heights[place], heights[place - 1] + apart)
    over = max(0.0, heights[-1] - high)
    for place in reversed(range(len(heights))):
        ceiling = high if place == len(heights) - 1 else heights[place + 1] - apart
        heights[place] = min(heights[place], ceiling) if over else heights[place]
    for index, height in zip(order, heights, strict=True):
        axes.annotate(
            style.visible_line(labels[index]), (1, height), xycoords=("axes fraction", "data"), xytext=(7, 0),
            textcoords="offset points", va="center", fontsize=8.5, color=style.SERIES[index].light,
        )  # fmt: skip


def _finding(array: np.ndarray, largest: float, name: str, sign: str) -> str:
    time, units = array.shape
    size = f"{units} unit{'s' if units != 1 else ''} over {time:,} step{'s' if time != 1 else ''}"
    bad = int((~np.isfinite(array)).sum())
    note = f", {bad:,} not finite ({sign})" if bad else ""
    return f"{name[:1].upper()}{name[1:]} of {size}: at most {largest:.3g} in magnitude{note}"
