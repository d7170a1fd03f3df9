"""CTC's trellis: frames to the right, the states blank l_1 blank .. l_L blank downwards, and in each cell how
likely it is to be on the way.

    forward    ln alpha_t(s) - max over s        what the frames so far say, each frame by its own best state
    backward   ln beta_t(s) - max over s         what the frames from here on say
    posterior  p(state s at frame t | target)    alpha_t(s) beta_t(s) / (y_t(s) p), sums to one in each frame

Shapes: T frames, S = 2 L + 1 states.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from elman.errors import ShapeError
from elman.lattice.ctc import Tables
from elman.lattice.ctc_batch import BLANK
from elman.plots import style

MAXIMUM_FRAMES = 2000
MAXIMUM_STATES = 401

DEPTH = 12.0
"""Nats below a frame's best state at which a cell is as empty as an impossible one."""

_LABELLED = 41  # states that can each have a name beside them


def trellis(
    tables: Tables,
    names: Sequence[str] | None = None,
    path: Sequence[int] | None = None,
    title: str = "",
    *,
    seconds_per_frame: float | None = None,
) -> Figure:
    """Forward, backward and posterior of one sequence, one above the other.

    names: the text of each class, blank first (by default its number). path (T,): states to draw as a line,
    such as Viterbi's. seconds_per_frame: the axis of time is in seconds where it is given.

    Raises ShapeError for more than MAXIMUM_FRAMES frames or MAXIMUM_STATES states, a path of another length,
    and a class without a name.
    """
    time, states = tables.alpha.shape
    if time > MAXIMUM_FRAMES or states > MAXIMUM_STATES:
        raise ShapeError(
            f"tables: {time:,} frames x {states:,} states, at most {MAXIMUM_FRAMES:,} x {MAXIMUM_STATES:,} "
            f"are drawn; draw a part of the utterance"
        )
    if path is not None and len(path) != time:
        raise ShapeError(f"path: expected {time} states, one for each frame, got {len(path)}")
    labels = _labels(tables.labels.tolist(), names)
    with style.drawing():
        width = min(max(0.16 * time, 4.2), 9.0) + 2.0
        height = min(max(0.15 * states, 1.0), 3.4)
        figure = style.figure(width, 3 * height + 2.1)
        grid = figure.subplots(3, 2, width_ratios=(width - 1.0, 0.14))
        step = seconds_per_frame or 1.0
        for row, (name, values, bottom) in enumerate(_panels(tables)):
            axes: Axes = grid[row][0]
            _panel(axes, values, bottom, step)
            axes.set_ylabel(name)
            _states(axes, labels)
            if path is not None:
                middle = (np.arange(time) + 0.5) * step
                axes.plot(middle, list(path), color=style.INK.light, linewidth=1.1, drawstyle="steps-mid")
            axes.tick_params(labelbottom=row == 2)
            _scale(grid[row][1], bottom)
        grid[2][0].set_xlabel("time (seconds)" if seconds_per_frame else "time (frames)")
        if not seconds_per_frame:
            style.count_ticks(grid[2][0].xaxis, 10)
        style.headline(figure, title, _finding(tables, path is not None))
    return figure


def _panels(tables: Tables) -> list[tuple[str, np.ndarray, float]]:
    """(name, values (T, S), the value that is drawn as nothing) of each panel."""
    found = []
    for name, table in (("forward", tables.alpha), ("backward", tables.beta)):
        values = table.numpy()
        best = values.max(1, keepdims=True)
        found.append((name, values - np.where(np.isfinite(best), best, 0.0), -DEPTH))
    return [*found, ("posterior", tables.posterior.numpy(), 0.0)]


def _panel(axes: Axes, values: np.ndarray, bottom: float, step: float) -> None:
    time, states = values.shape
    few = time <= 600
    axes.imshow(
        np.clip(values, bottom, None).T, cmap=style.rising(), vmin=bottom, vmax=1.0 if bottom == 0 else 0.0,
        aspect="auto", interpolation="none" if few else "antialiased", interpolation_stage="rgba",
        extent=(0, time * step, states - 0.5, -0.5),
    )  # fmt: skip
    axes.grid(visible=False)


def _states(axes: Axes, labels: list[str]) -> None:
    # Of many states only some labels are named, none of the blanks between them.
    every = 1 if len(labels) <= _LABELLED else 2 * -(-len(labels) // _LABELLED)
    places = list(range(0 if every == 1 else 1, len(labels), every))
    axes.set_yticks(places, [labels[place] for place in places], fontsize=7.5 if len(places) > 24 else 8.5)
    axes.tick_params(axis="y", length=0)


def _scale(axes: Axes, bottom: float) -> None:
    ramp = np.linspace(0, 1, 128)[:, None]
    top = 1.0 if bottom == 0 else 0.0
    axes.imshow(
        ramp, cmap=style.rising(), aspect="auto", origin="lower", extent=(0, 1, bottom, top), vmin=0, vmax=1
    )
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    if bottom == 0:
        axes.set_ylabel("probability")
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    else:
        axes.set_ylabel("nats below\nthe frame's best")
        axes.set_yticks([bottom, bottom / 2, 0], [f"{-bottom:g} +", f"{-bottom / 2:g}", "0"])


def _labels(labels: list[int], names: Sequence[str] | None) -> list[str]:
    if names is None:
        return ["–" if label == BLANK else str(label) for label in labels]
    if max(labels) >= len(names):
        raise ShapeError(f"names: expected a text for each class to {max(labels)}, got {len(names)}")
    return ["–" if label == BLANK else style.visible(names[label]) for label in labels]


def _finding(tables: Tables, with_path: bool) -> str:
    line = "; the line is the best path" if with_path else ""
    if tables.log_prob == -np.inf:
        return f"No path of {len(tables.alpha)} frames gives the target{line}"
    return f"ln p(target | frames) = {tables.log_prob:.2f}, the same sum over any column{line}"
