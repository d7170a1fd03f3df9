"""ContiguousReader against a walk through the text, one symbol and one stream at a time.

Most corpora here are the numbers 0 .. L - 1, so that a symbol is its own place. Shapes: T time, N streams.
"""

import math
import random
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data.readers import IGNORE, ContiguousReader, Window
from elman.data.text import Corpus
from elman.errors import ConfigError, DataError


def numbered(length: int, starts: tuple[int, ...] = (0,)) -> Corpus:
    return Corpus(torch.arange(length, dtype=torch.int32), torch.tensor(starts))


class Case(NamedTuple):
    length: int
    starts: tuple[int, ...]
    streams: int
    window: int
    backward: int

    def reader(self, reset_probability: float = 0.0, seed: int = 0) -> ContiguousReader:
        corpus = numbered(self.length, self.starts)
        return ContiguousReader(
            corpus, self.streams, self.window, self.backward, reset_probability=reset_probability, seed=seed
        )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    length = draw(st.integers(2, 30))
    starts = (0, *sorted(draw(st.sets(st.integers(1, length - 1), max_size=4))))
    window = draw(st.integers(1, length - 1))
    return Case(length, starts, draw(st.integers(1, length)), window, window + draw(st.integers(0, 12)))


def walk(case: Case, update: int, stream: int) -> list[tuple[int, int, bool]]:
    """(symbol, target, reset) of an update's new steps: a walk of update * window steps, then window more."""
    place = stream * case.length // case.streams
    for _ in range(update * case.window):
        place = place + 1 if place + 1 < case.length else 0
    steps = []
    for _ in range(case.window):
        following = place + 1 if place + 1 < case.length else 0
        steps.append((place, IGNORE if following in case.starts else following, place in case.starts))
        place = following
    return steps


def column(window: Window, stream: int) -> list[tuple[int, int, bool]]:
    parts = (window.inputs, window.targets, window.resets)
    return [tuple(row) for row in zip(*(part[:, stream].tolist() for part in parts), strict=True)]


@given(cases(), st.integers(0, 40))
def test_new_steps_are_those_of_a_walk_through_the_text(case: Case, update: int) -> None:
    window = case.reader().read(update)
    assert window.inputs.dtype == window.targets.dtype == torch.int64
    assert window.resets.dtype == torch.bool
    for stream in range(case.streams):
        steps = walk(case, update, stream)
        assert column(window, stream)[window.history :] == steps
        assert int(window.positions[stream]) == steps[0][0]


@given(cases(), st.integers(0, 40))
def test_history_is_the_text_before_and_is_not_learnt_from_again(case: Case, update: int) -> None:
    window = case.reader().read(update)
    # As many steps as there have been, and no more than a gradient may go back.
    assert window.history == min(case.backward - case.window, update * case.window)
    assert len(window.inputs) == window.history + case.window
    before = [[step for u in range(update) for step in walk(case, u, s)] for s in range(case.streams)]
    for stream in range(case.streams):
        expected = before[stream][len(before[stream]) - window.history :]
        got = column(window, stream)[: window.history]
        assert [(symbol, reset) for symbol, _, reset in got] == [
            (symbol, reset) for symbol, _, reset in expected
        ]
        assert all(target == IGNORE for _, target, _ in got)


@given(cases(), st.integers(0, 40))
def test_the_carried_state_is_that_of_the_next_windows_first_step(case: Case, update: int) -> None:
    reader = case.reader()
    window, following = reader.read(update), reader.read(update + 1)
    assert 0 <= window.advance <= len(window.inputs)
    joined = torch.cat([window.inputs[: window.advance], following.inputs])
    # What is carried over and what is read after it is the text without a gap or a repetition.
    for stream in range(case.streams):
        symbols = joined[:, stream].tolist()
        assert all(b == (a + 1) % case.length for a, b in pairwise(symbols))


@given(cases())
def test_whole_revolutions_visit_every_prediction_equally_often(case: Case) -> None:
    reader = case.reader()
    seen: Counter[tuple[int, int]] = Counter()
    for update in range(case.length):  # each stream makes `window` revolutions
        window = reader.read(update)
        seen.update(zip(window.inputs.flatten().tolist(), window.targets.flatten().tolist(), strict=True))
    seen = Counter({pair: count for pair, count in seen.items() if pair[1] != IGNORE})
    within = {(p, p + 1) for p in range(case.length - 1) if p + 1 not in case.starts}
    assert seen == Counter(dict.fromkeys(within, case.streams * case.window))


@settings(max_examples=40)
@given(cases(), st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_a_window_is_a_function_of_the_update_alone(case: Case, seed: int, shuffler: random.Random) -> None:
    updates = list(range(12))
    in_order = [case.reader(0.5, seed).read(update) for update in updates]
    reader = case.reader(0.5, seed)
    shuffler.shuffle(updates)
    for update in [*updates, *updates]:
        again, first = reader.read(update), in_order[update]
        for name in ("inputs", "targets", "resets", "positions"):
            assert torch.equal(getattr(again, name), getattr(first, name))
        assert (again.history, again.advance) == (first.history, first.advance)


class TestRandomResets:
    @settings(max_examples=50)
    @given(cases(), st.integers(0, 2**32 - 1))
    def test_a_step_that_is_read_again_is_reset_again(self, case: Case, seed: int) -> None:
        reader = case.reader(0.5, seed)
        known: dict[tuple[int, int], bool] = {}
        for update in range(15):
            window = reader.read(update)
            first = update * case.window - window.history
            for stream in range(case.streams):
                for t, reset in enumerate(window.resets[:, stream].tolist()):
                    assert known.setdefault((stream, first + t), reset) == reset

    @given(cases())
    def test_only_the_first_step_of_a_window_is_reset_at_random(self, case: Case) -> None:
        plain, sure = case.reader(), case.reader(1.0)
        for update in range(6):
            window, resets = plain.read(update), sure.read(update).resets
            new = torch.arange(len(resets)) + update * case.window - window.history
            assert torch.equal(resets, window.resets | (new % case.window == 0)[:, None])

    @pytest.mark.parametrize("probability", [0.05, 0.3, 0.9])
    def test_as_often_as_was_said(self, probability: float) -> None:
        reader = ContiguousReader(numbered(1000), 8, 5, reset_probability=probability, seed=3)
        drawn = torch.stack([reader.read(update).resets[0] for update in range(500)]).double()
        sigma = math.sqrt(probability * (1 - probability))
        assert abs(float(drawn.mean()) - probability) < 4 * sigma / math.sqrt(drawn.numel())
        # Streams, and updates that follow each other, are reset independently.
        for a, b in ((drawn[:, 0], drawn[:, 1]), (drawn[1:, 0], drawn[:-1, 0])):
            correlation = float(((a - probability) * (b - probability)).mean()) / sigma**2
            assert abs(correlation) < 4 / math.sqrt(len(a))

    def test_seeds_draw_differently(self) -> None:
        one, other = (
            torch.cat([ContiguousReader(numbered(50), 4, 3, reset_probability=0.5, seed=seed).read(u).resets
                       for u in range(20)])
            for seed in (1, 2)
        )  # fmt: skip
        assert not torch.equal(one, other)


def test_streams_start_at_equal_distances() -> None:
    assert ContiguousReader(numbered(10), 4, 2).read(0).inputs[0].tolist() == [0, 2, 5, 7]


def test_backward_is_the_window_where_nothing_is_said() -> None:
    window = ContiguousReader(numbered(10), 1, 4).read(3)
    assert (window.history, window.advance) == (0, 4)


def test_an_epoch_reads_as_many_new_symbols_as_there_are() -> None:
    reader = ContiguousReader(numbered(60), 3, 4, 7)
    assert reader.epoch == 5
    assert sum(int(reader.read(u).inputs[reader.read(u).history :].numel()) for u in range(5)) == 60


@pytest.mark.parametrize(
    ("length", "streams", "window", "backward", "kind", "message"),
    [
        (10, 0, 2, None, ConfigError, "batch and window must be at least 1, got 0 and 2"),
        (10, 2, 0, None, ConfigError, "batch and window must be at least 1, got 2 and 0"),
        (10, 2, 4, 3, ConfigError, r"backward \(k2\) must be at least window \(k1 = 4\), got 3"),
        (10, 2, 10, None, DataError, "the training text has 10 symbols, a window needs 11; .*train.window"),
        (0, 1, 1, None, DataError, "the training text has 0 symbols, a window needs 2"),
        (10, 11, 2, None, DataError, "the training text has 10 symbols for 11 streams; .*train.batch"),
    ],
)
def test_sizes_out_of_range_are_named(
    length: int, streams: int, window: int, backward: int | None, kind: type[Exception], message: str
) -> None:
    starts = (0,) if length else ()
    with pytest.raises(kind, match=message):
        ContiguousReader(numbered(length, starts), streams, window, backward)


def test_the_smallest_text_and_the_longest_window() -> None:
    assert column(ContiguousReader(numbered(2), 1, 1).read(0), 0) == [(0, 1, True)]
    assert column(ContiguousReader(numbered(2), 1, 1).read(1), 0) == [(1, IGNORE, False)]
    whole = column(ContiguousReader(numbered(4), 1, 3).read(0), 0)
    assert whole == [(0, 1, True), (1, 2, False), (2, 3, False)]
