"""elman.plots.curves: a run's records as a learning curve."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from elman.errors import DataError
from elman.plots import curves, style
from elman.plots.curves import Series, learning_curve


def train(update: int, loss: float = 2.0, **other: Any) -> dict[str, Any]:
    return {
        "kind": "train", "update": update, "loss": loss, "smoothed": loss + 0.1, "learning_rate": 0.002,
        "gradient_norm": 0.8, "symbols": 1600 * update, "seconds": 0.3 * update, **other,
    }  # fmt: skip


def valid(update: int, nats: float = 1.6, **other: Any) -> dict[str, Any]:
    return {
        "kind": "valid",
        "update": update,
        "nats": nats,
        "bits": 2.3,
        "stateful_nats": nats - 0.02,
        **other,
    }


def points(figure: Figure) -> dict[str, np.ndarray]:
    """(K, 2) of each line of losses, by its label."""
    return {str(line.get_label()): np.asarray(line.get_xydata()) for line in figure.axes[0].lines}


RUN = [train(update, 4.0 / math.sqrt(update)) for update in range(1, 101)] + [valid(50, 1.8), valid(100, 1.5)]


def test_axes_have_names_and_units_and_the_title_says_what_is_seen(picture: Callable) -> None:
    seen = picture(learning_curve(RUN))
    for text in (
        "loss (nats per symbol)", "bits per symbol", "updates", "learning", "rate", "gradient", "norm",
        "training, each update", "training, smoothed", "validation, zero state", "validation, state carried",
        "Validation loss at best 1.500 nats (2.164 bits) per symbol, at update 100",
    ):  # fmt: skip
        assert text in seen.texts
    for pair in style.SERIES[:3]:
        assert pair.dark in seen.sheet


def test_a_title_of_ones_own_stands_above_the_finding(picture: Callable) -> None:
    texts = picture(learning_curve(RUN, title="Two layers")).texts
    assert texts.index("Two layers") < next(
        i for i, text in enumerate(texts) if text.startswith("Validation loss")
    )


def test_the_axis_on_the_right_reads_in_bits() -> None:
    figure = learning_curve(RUN)
    loss = figure.axes[0]
    (right,) = loss.child_axes
    loss.set_ylim(0, 3 * math.log(2))
    figure.draw_without_rendering()
    assert right.get_ylim() == pytest.approx((0, 3))


def test_the_points_are_those_of_the_records_in_order_of_update() -> None:
    drawn = points(learning_curve(RUN[::-1]))
    assert drawn["training, each update"][:, 0].tolist() == list(range(1, 101))
    assert drawn["training, each update"][3, 1] == pytest.approx(2.0)
    assert drawn["training, smoothed"][3, 1] == pytest.approx(2.1)
    assert drawn["validation, zero state"].tolist() == [[50, 1.8], [100, 1.5]]
    assert drawn["validation, state carried"][:, 1] == pytest.approx([1.78, 1.48])


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_records_give_the_same_bytes(suffix: str) -> None:
    assert style.render(learning_curve(RUN), suffix) == style.render(learning_curve(RUN), suffix)


@pytest.mark.parametrize("records", [[train(1)], [valid(1)], [train(0, loss=0.0)], [train(7), train(7)]])
def test_one_record_is_enough(picture: Callable, records: list[dict[str, Any]]) -> None:
    assert "updates" in picture(learning_curve(records)).texts


def test_panels_without_values_say_so(picture: Callable) -> None:
    assert picture(learning_curve([valid(1)])).texts.count("not recorded") == 2


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([], "no records"),
        ([{"kind": "valid", "update": 5, "seconds": 1.0}], "no records"),
        (
            [train(1), {"kind": "train", "update": 2, "loss": 1.0}],
            r"record 2 \(train\).*'smoothed'.*no such key",
        ),
        ([{key: value for key, value in valid(1).items() if key != "nats"}], r"record 1 \(valid\).*'nats'"),
        ([{"kind": "valid", "nats": 1.0}], "record 1.*'update'"),
        ([{**train(1), "loss": "2.0"}], "record 1.*'loss', got '2.0'"),
        ([train(1, gradient_norm=None)], "'gradient_norm', got None"),
        ([{**train(1), "loss": True}], "'loss', got True"),
        (
            [train(1), {"kind": "test", "update": 1}],
            "record 2: expected the kind 'train' or 'valid', got 'test'",
        ),
        ([{"update": 1}], "record 1: .* got None"),
    ],
)
def test_wrong_records_are_named(records: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(DataError, match=told):
        learning_curve(records)


def test_a_validation_without_data_is_left_out(picture: Callable) -> None:
    texts = picture(learning_curve([train(1), {"kind": "valid", "update": 1, "seconds": 0.5}])).texts
    assert "training, smoothed" in texts
    assert not any(text.startswith("validation") for text in texts)


def test_a_validation_of_one_kind_has_no_other_name(picture: Callable) -> None:
    """Only language models are measured with the state carried too."""
    texts = picture(learning_curve([train(1), {"kind": "valid", "update": 1, "nats": 2.0}])).texts
    assert "validation" in texts
    assert "validation, zero state" not in texts


def test_a_loss_that_is_not_finite_is_marked_where_it_happened(picture: Callable) -> None:
    records = [train(1), train(2), train(3, math.inf), train(4, math.nan), train(5)]
    assert "not finite from 3 on" in picture(learning_curve(records)).texts
    assert "No loss of this run is finite" in picture(learning_curve([train(1, math.nan)])).texts


def test_a_wide_range_is_drawn_on_a_logarithmic_axis() -> None:
    assert learning_curve([train(1, 100.0), train(2, 1.0)]).axes[0].get_yscale() == "log"
    assert learning_curve([train(1, 4.0), train(2, 1.0)]).axes[0].get_yscale() == "linear"
    spike = [{**train(1), "gradient_norm": 50.0, "learning_rate": 1e-9}, train(2)]
    scales = [axes.get_yscale() for axes in learning_curve(spike).axes]
    assert scales == ["linear", "linear", "log"]


def test_a_hundred_thousand_records_keep_their_spikes(picture: Callable) -> None:
    records = [train(update, 2.0 + (update % 7) / 100) for update in range(1, 100_001)]
    records[66_666]["loss"] = 9.0
    records[33_333]["loss"] = 0.5
    figure = learning_curve(records)
    line = points(figure)["training, each update"]
    assert len(line) <= 2 * curves.POINTS
    drawn = dict(line.tolist())
    assert drawn[66_667] == 9.0
    assert drawn[33_334] == 0.5
    assert {1, 100_000} <= drawn.keys()
    assert len(picture(figure).source) < 400_000


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(4, 60))
def test_thinning_keeps_ends_extremes_and_order(values: list[float], points: int) -> None:
    series = Series(np.arange(len(values)), np.array(values))
    thinned = curves.thin(series, points)
    assert len(thinned.updates) <= max(points + 2, min(len(values), points))
    assert thinned.values.min() == min(values)
    assert thinned.values.max() == max(values)
    assert thinned.updates[0] == 0
    assert thinned.updates[-1] == len(values) - 1
    assert (np.diff(thinned.updates) > 0).all()
    assert (series.values[thinned.updates] == thinned.values).all()


@given(st.lists(st.floats(-1e3, 1e3), min_size=100, max_size=400))
def test_thinning_keeps_the_envelope_of_every_stretch(values: list[float]) -> None:
    """Within each tenth of the points, the drawn line reaches as high and as low as the data."""
    thinned = curves.thin(Series(np.arange(len(values)), np.array(values)), 20)
    edges = np.linspace(0, len(values), 11).astype(int).tolist()
    for start, end in itertools.pairwise(edges):
        inside = thinned.values[(thinned.updates >= start) & (thinned.updates < end)]
        assert inside.max() == max(values[start:end])
        assert inside.min() == min(values[start:end])
