"""The learning curve: loss on training and validation data over a run, with the learning rate and the
gradient's norm.

The records are the lines of a run's metrics.jsonl, one dict each. Losses are in nats per symbol; the axis on
the right reads the same points in bits, nats / ln 2.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike

from elman.errors import DataError
from elman.plots import style

REQUIRED = {
    "train": ("update", "loss", "smoothed", "learning_rate", "gradient_norm"),
    "valid": ("update", "nats"),
}
"""What a record of each kind must tell; a validation may add "stateful_nats", or have had no data."""

POINTS = 2000
"""Points that a line is drawn with; longer ones are thinned."""

FEW = 40
"""Up to so many points are marked one by one."""

_ENOUGH_FOR_LOG = 30.0
"""A positive quantity whose largest value is so many times its smallest is drawn on a logarithmic axis."""


class Series(NamedTuple):
    """One quantity over a run: updates (K,) and values (K,)."""

    updates: np.ndarray
    values: np.ndarray


def learning_curve(records: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Training loss (each update faint, smoothed strong) and validation points; below, learning rate and
    gradient norm.

    A record has "kind" "train" or "valid" and the keys in `REQUIRED`: losses in nats per symbol, update a
    count from 0. Lines of more than `POINTS` points are thinned to the smallest and the largest value of each
    stretch, so that no spike is lost. A loss that is not finite is marked where it happened.

    Raises DataError where there are no records, or naming the record (from 1) and the key that is missing or
    no number.
    """
    series = _series(records)
    with style.drawing():
        figure = style.figure(7.6, 5.4)
        loss, rate, norm = figure.subplots(3, 1, sharex=True, height_ratios=(4.2, 1, 1))
        _losses(loss, series)
        _below(rate, series.get("learning_rate"), "learning\nrate", wide=False)
        _below(norm, series.get("gradient_norm"), "gradient\nnorm", wide=True)
        norm.set_xlabel("updates")
        _updates(norm, series)
        figure.align_ylabels()
        style.headline(figure, title, _finding(series), legend=loss)
    return figure


def thin(series: Series, points: int = POINTS) -> Series:
    """At most about `points` of a series: its ends, and the smallest and the largest value of each equal
    stretch.
    """
    count = len(series.updates)
    if count <= points:
        return series
    edges = np.linspace(0, count, points // 2 + 1).astype(int)
    kept = {0, count - 1}
    for start, end in pairwise(edges.tolist()):
        stretch = series.values[start:end]
        kept.update((start + int(stretch.argmin()), start + int(stretch.argmax())))
    places = np.array(sorted(kept))
    return Series(series.updates[places], series.values[places])


def _series(records: Sequence[Mapping[str, Any]]) -> dict[str, Series]:
    """Series in order of update: the keys of REQUIRED, and "stateful_nats" where it was measured."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for row, record in enumerate(records, 1):
        kind = record.get("kind")
        if kind not in REQUIRED:
            raise DataError(
                f"record {row}: expected the kind {' or '.join(map(repr, REQUIRED))}, got {kind!r}; give the "
                f"records of a run's metrics.jsonl"
            )
        update = _number(record, "update", row)
        if kind == "valid" and not record.keys() - {"kind", "update", "seconds"}:
            continue  # there was no text to validate on
        keys = REQUIRED[kind][1:]
        if kind == "valid" and "stateful_nats" in record:
            keys += ("stateful_nats",)
        for key in keys:
            updates, values = found.setdefault(key, ([], []))
            updates.append(update)
            values.append(_number(record, key, row))
    if not found:
        raise DataError(
            "no records to draw; a learning curve needs at least one loss in a run's metrics.jsonl"
        )
    return {key: _sorted(np.array(updates), np.array(values)) for key, (updates, values) in found.items()}


def _number(record: Mapping[str, Any], key: str, row: int) -> float:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        came = repr(value) if key in record else "no such key"
        raise DataError(f"record {row} ({record.get('kind')}): expected a number under {key!r}, got {came}")
    return float(value)


def _sorted(updates: np.ndarray, values: np.ndarray) -> Series:
    order = updates.argsort(kind="stable")
    return Series(updates[order], values[order])


def _finite(series: Series) -> Series:
    where = np.isfinite(series.values)
    return Series(series.updates[where], series.values[where])


def _losses(axes: Axes, series: dict[str, Series]) -> None:
    training, windows, stateful = (style.SERIES[index].light for index in range(3))
    if "loss" in series:
        _line(axes, series["loss"], training, "training, each update", alpha=0.5, linewidth=0.7)
        _line(axes, series["smoothed"], training, "training, smoothed")
    if "nats" in series:
        # Only a model that also carries its state through a text is measured in two ways.
        label = "validation, zero state" if "stateful_nats" in series else "validation"
        _points(axes, series["nats"], windows, label, marker="o", markersize=6)
    if "stateful_nats" in series:
        # Smaller and dashed: the two are often so close that one would hide the other.
        look = {"marker": "D", "markersize": 3.2, "linestyle": (0, (4, 3))}
        _points(axes, series["stateful_nats"], stateful, "validation, state carried", **look)
    axes.set_ylabel("loss (nats per symbol)")
    drawn = [series[key] for key in ("loss", "smoothed", "nats", "stateful_nats") if key in series]
    _scale(axes, np.concatenate([one.values for one in drawn]))
    bits = axes.secondary_yaxis("right", functions=(_bits, _nats))
    bits.set_ylabel("bits per symbol")
    bits.spines["right"].set_visible(True)
    if axes.get_yscale() == "log":
        _log_ticks(bits)
    for key in ("loss", "nats", "stateful_nats"):
        if key in series:
            _mark_non_finite(axes, series[key])


def _line(axes: Axes, series: Series, colour: str, label: str, **options: Any) -> None:
    drawn = thin(_finite(series))
    marker = "." if len(drawn.updates) <= FEW else ""
    axes.plot(drawn.updates, drawn.values, color=colour, label=label, marker=marker, **options)


def _points(axes: Axes, series: Series, colour: str, label: str, **look: Any) -> None:
    drawn = thin(_finite(series))
    every = -(-len(drawn.updates) // FEW)
    axes.plot(drawn.updates, drawn.values, color=colour, label=label, markevery=every, linewidth=1.3, **look)


def _mark_non_finite(axes: Axes, series: Series) -> None:
    where = ~np.isfinite(series.values)
    if where.any():
        first = series.updates[where][0]
        axes.axvline(
            first, color=style.INK.light, linewidth=1, linestyle=":", label=f"not finite from {first:,.0f} on"
        )


def _below(axes: Axes, series: Series | None, label: str, wide: bool) -> None:
    """A small panel; `wide`: on a logarithmic axis where the values ask for it."""
    axes.set_ylabel(label)
    if series is None:
        axes.text(
            0.5,
            0.5,
            "not recorded",
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=style.MUTED.light,
        )
        axes.set_yticks([])
        return
    _line(axes, series, style.MUTED.light, label, linewidth=0.9, alpha=0.8)
    if wide:
        _scale(axes, series.values, steps=(1.0,))
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
        axes.set_ylim(bottom=0 if series.values.min() >= 0 else None)


def _scale(axes: Axes, values: np.ndarray, steps: tuple[float, ...] | None = None) -> None:
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() / values.min() >= _ENOUGH_FOR_LOG:
        axes.set_yscale("log")
        _log_ticks(axes, steps)


def _log_ticks(axes: Any, steps: tuple[float, ...] | None = None) -> None:
    """steps: the numbers of a decade, by default as many as there is room for on a large axis."""
    low, high = np.log10(axes.get_ylim())
    steps = steps or ((1.0, 2.0, 5.0) if high - low < 2 else (1.0,))
    axes.yaxis.set_major_locator(LogLocator(subs=steps, numticks=5))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _bits(nats: ArrayLike) -> ArrayLike:
    return np.divide(nats, math.log(2))


def _nats(bits: ArrayLike) -> ArrayLike:
    return np.multiply(bits, math.log(2))


def _plain(value: float, place: int | None = None) -> str:
    return f"{value:g}".replace("-", "−")


def _updates(axes: Axes, series: dict[str, Series]) -> None:
    last = max(one.updates[-1] for one in series.values())
    first = min(one.updates[0] for one in series.values())
    room = max(1.0, (last - first) * 0.02)
    axes.set_xlim(first - room, last + room)
    style.count_ticks(axes.xaxis, 8)


def _finding(series: dict[str, Series]) -> str:
    key = next((key for key in ("nats", "smoothed") if key in series), "")
    finite = _finite(series[key])
    if not len(finite.updates):
        return "No loss of this run is finite"
    if key == "nats":
        best = int(finite.values.argmin())
        return f"Validation loss at best {_both(finite.values[best])}, at update {finite.updates[best]:,.0f}"
    return f"Smoothed training loss {_both(finite.values[-1])} at update {finite.updates[-1]:,.0f}"


def _both(nats: float) -> str:
    return f"{nats:.3f} nats ({nats / math.log(2):.3f} bits) per symbol"
