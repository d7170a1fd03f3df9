"""How good sentences are by their length: a line a system, with the interval of each point.

The picture is figure 2 of Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to align
and translate", 2015. The figures are those of elman.metrics.lengths.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from elman.errors import ShapeError
from elman.metrics.lengths import Bin
from elman.plots import style

MAXIMUM_SYSTEMS = len(style.SERIES)
MAXIMUM_BINS = 30


def length_curve(
    systems: Mapping[str, Sequence[Bin]],
    title: str = "",
    *,
    score: str = "BLEU",
    unit: str = "words",
) -> Figure:
    """The score of each system over the lengths of the source, from `score_by_length`; bars are intervals.

    score: what was measured; unit: what the lengths count. A bin without sentences leaves a gap.

    Raises ShapeError for no systems, more than MAXIMUM_SYSTEMS of them or MAXIMUM_BINS bins, and systems
    whose bins or numbers of sentences differ: they were not measured on the same sentences.
    """
    bins = _check(systems)
    with style.drawing():
        figure = style.figure(max(4.6, 1.6 + 0.62 * len(bins)), 3.7)
        axes = figure.subplots()
        for number, ((name, points), colour) in enumerate(zip(systems.items(), style.SERIES, strict=False)):
            # Beside each other, or the intervals of systems that are as good would hide each other.
            places = np.arange(len(bins)) + (number - (len(systems) - 1) / 2) * min(0.12, 0.6 / len(systems))
            values = np.array([point.score for point in points])
            spread = np.array([[p.score - p.low, p.high - p.score] for p in points]).T
            axes.errorbar(
                places, values, np.maximum(spread, 0), label=style.visible_line(name), color=colour.light,
                marker="o", markersize=4, capsize=2.5, elinewidth=1.1,
            )  # fmt: skip
        _axis(axes, bins, score, unit)
        confidence = f"{bins[0].confidence:.0%} interval".replace("%", " %")
        finding = f"{score} by length of the source; bars: {confidence} of resampled sentences"
        style.headline(figure, title, finding, legend=axes)
    return figure


def _check(systems: Mapping[str, Sequence[Bin]]) -> Sequence[Bin]:
    """The bins of the first system, which are those of all."""
    if not 1 <= len(systems) <= MAXIMUM_SYSTEMS:
        raise ShapeError(f"systems: expected 1 to {MAXIMUM_SYSTEMS}, got {len(systems)}")
    (first, bins), *others = systems.items()
    if not 1 <= len(bins) <= MAXIMUM_BINS:
        raise ShapeError(f"{first}: expected 1 to {MAXIMUM_BINS} bins, got {len(bins)}")
    for name, points in others:
        if [p[:3] for p in points] != [b[:3] for b in bins] or points[0].confidence != bins[0].confidence:
            raise ShapeError(
                f"{name}: its bins are not those of {first}; measure all systems on the same sentences with "
                f"the same bounds"
            )
    return bins


def _axis(axes: Axes, bins: Sequence[Bin], score: str, unit: str) -> None:
    labels = [f"{_range(point)}\n{point.count:,}" for point in bins]
    axes.set_xticks(range(len(bins)), labels)
    axes.set_xlabel(f"length of the source ({unit}); below, how many sentences")
    axes.set_ylabel(score)
    low, high = axes.get_ylim()
    axes.set_ylim(min(0.0, low), max(1.0, high))  # a model that has learnt nothing: no axis of thousandths
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.5, len(bins) - 0.5)


def _range(point: Bin) -> str:
    if point.shortest == point.longest:
        return str(point.shortest)
    return f"{point.shortest}–{point.longest}"
