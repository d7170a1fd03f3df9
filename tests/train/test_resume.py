"""A run that was stopped, any number of times and in any way, ends as if it never had been.

Equal means every record (losses as hexadecimal digits) and every byte of weights, moments and carried state.
Being killed is in test_kill.py. Nothing here waits for a clock: signals are raised, and time passes, at
updates that the test names.
"""

import itertools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from elman.errors import ConfigError, DataError, RunError
from elman.runs import Run
from elman.storage import read_tensors
from elman.train import Reporter, Result, train
from small_runs import (
    PLAIN,
    SETTINGS,
    check_same,
    leftovers,
    records,
    resume_small,
    state,
    train_small,
    updates_of,
    write_text,
)

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "adam": {"train.optimizer": "adam", "train.schedule": "inverse_sqrt"},
    "sgd with momentum": {"train.optimizer": "sgd", "train.momentum": 0.9, "train.schedule": "linear"},
    "sgd": {"train.optimizer": "sgd", "train.schedule": "exponential", "train.decay_every": 7},
    "adagrad": {"train.optimizer": "adagrad", "train.clip_value": 0.1},
    "adagrad, epsilon inside": {"train.optimizer": "adagrad", "train.epsilon_inside": True},
}

MODELS: dict[str, dict[str, Any]] = {
    "gru, Cho's": {"model.cell": "gru", "model.options": {"reset": "before"}, "model.layers": 1},
    "tied lstm with peepholes": {"model.options": {"peepholes": True}, "model.tied": True},
    "one-hot elman on bytes": {"model.cell": "elman", "model.embedding": 0, "data.unit": "bytes"},
    "bfloat16": {"train.precision": "bfloat16"},
    "averaged weights": {"train.average": 0.9},
}


class StopAt(Reporter):
    """Raises a signal after each of these updates, and at the validations after each of those."""

    def __init__(
        self, updates: tuple[int, ...] = (), validations: tuple[int, ...] = (), number: int = signal.SIGTERM
    ) -> None:
        self.updates = updates
        self.validations = validations
        self.number = number
        self.last = 0
        self.started_at: list[int] = []
        self.saves: list[str] = []

    def started(self, run: Run, update: int, updates: int, description: str) -> None:
        self.last = update
        self.started_at.append(update)

    def updated(self, record: Mapping[str, Any]) -> None:
        self.last = record["update"]
        if self.last in self.updates:
            signal.raise_signal(self.number)

    def validating(self) -> None:
        if self.last in self.validations:
            signal.raise_signal(self.number)

    def saved(self, path: Path) -> None:
        self.saves.append(path.name)


@pytest.fixture(autouse=True)
def _no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing is for power cuts, which nothing here makes; on a busy disk it takes most of the time."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture(autouse=True)
def _listening() -> Iterator[None]:
    """Signals as in the foreground of a terminal, whatever started the tests."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run of SETTINGS."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train_small(text, run, SETTINGS) == Result(run, 24, "finished")
    return run


def test_the_uninterrupted_run_tells_every_update_once(whole: Path) -> None:
    found = Run(whole)
    assert updates_of(whole) == list(range(1, 25))
    assert [record["update"] for record in found.records() if record["kind"] == "valid"] == [6, 12, 18, 24]
    losses = [record["loss"] for record in found.records() if record["kind"] == "train"]
    assert len(set(losses)) == 24, "a loss that repeats would hide a batch that does"


def test_the_same_settings_give_the_same_run(whole: Path, text: Path, tmp_path: Path) -> None:
    train_small(text, tmp_path / "run", SETTINGS)
    check_same(tmp_path / "run", whole)


@pytest.mark.parametrize("key", ["train.seed", "model.dropout", "train.reset_probability", "train.backward"])
def test_what_draws_or_counts_is_in_use(key: str, whole: Path, text: Path, tmp_path: Path) -> None:
    """Otherwise nothing would be proved of it."""
    other = {"train.seed": 2, "model.dropout": 0.0, "train.reset_probability": 0.0, "train.backward": 5}[key]
    train_small(text, tmp_path / "run", {**SETTINGS, key: other})
    assert [r["loss"] for r in records(tmp_path / "run")[:5]] != [r["loss"] for r in records(whole)[:5]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_after_the_update(number: int, whole: Path, text: Path, tmp_path: Path) -> None:
    run, before = tmp_path / "run", signal.getsignal(number)
    reporter = StopAt((5, 9, 10, 17), number=number)
    results = [train_small(text, run, SETTINGS, reporter)]
    while results[-1].reason != "finished":
        newest = Run(run).checkpoints()[-1].name
        assert newest == f"update-{results[-1].update:08d}"
        assert updates_of(run)[-1] == results[-1].update
        results.append(resume_small(text, run, reporter))
    name = signal.Signals(number).name
    assert [(r.update, r.reason) for r in results] == [
        *((u, name) for u in reporter.updates),
        (24, "finished"),
    ]
    assert reporter.started_at == [0, 5, 9, 10, 17]
    assert signal.getsignal(number) is before
    check_same(run, whole)


def test_a_stop_after_every_update(text: Path, tmp_path: Path) -> None:
    run, reporter = tmp_path / "run", StopAt(tuple(range(1, 10)))
    settings = {**SETTINGS, "train.updates": 9}
    train_small(text, tmp_path / "whole", settings)
    result = train_small(text, run, settings, reporter)
    while result.update < 9:
        result = resume_small(text, run, reporter)
    assert reporter.started_at == list(range(9))
    resume_small(text, run)  # the last validation was cut short by the last signal
    check_same(run, tmp_path / "whole")


@pytest.mark.parametrize("name", [*OPTIMIZERS, *MODELS])
def test_every_optimizer_and_model_resumes(
    name: str, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**SETTINGS, "train.updates": 14, **{**OPTIMIZERS, **MODELS}[name]}
    if name == "bfloat16":
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            pytest.skip("this CPU does not compute in bfloat16")
        monkeypatch.setenv("ELMAN_KERNELS", "auto")  # no other way computes in it
    train_small(text, tmp_path / "whole", settings)
    run, reporter = tmp_path / "run", StopAt((3, 4, 11))
    train_small(text, run, settings, reporter)
    results = [resume_small(text, run, reporter) for _ in range(3)]
    assert [result.update for result in results] == [4, 11, 14]
    check_same(run, tmp_path / "whole")


def test_a_signal_ends_a_validation_which_is_done_again(whole: Path, text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = train_small(text, run, SETTINGS, StopAt(validations=(12,)))
    assert result == Result(run, 12, "SIGTERM")
    assert records(run)[-1]["kind"] == "train"
    assert Run(run).checkpoints()[-1].name == "update-00000012"
    # Stopped once more, before the validation that the resumed run begins with.
    assert resume_small(text, run, StopAt(validations=(12,))) == Result(run, 12, "SIGTERM")
    assert resume_small(text, run) == Result(run, 24, "finished")
    check_same(run, whole)


def test_a_signal_during_the_last_validation(whole: Path, text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train_small(text, run, SETTINGS, StopAt(validations=(24,))) == Result(run, 24, "SIGTERM")
    assert resume_small(text, run) == Result(run, 24, "finished")
    check_same(run, whole)


def test_a_second_signal_ends_the_process_and_loses_nothing_saved(
    whole: Path, text: Path, tmp_path: Path
) -> None:
    class Impatient(StopAt):
        def updated(self, record: Mapping[str, Any]) -> None:
            super().updated(record)
            super().updated(record)  # the second time, SIGINT is Python's own again

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_small(text, run, SETTINGS, Impatient((10,), number=signal.SIGINT))
    assert Run(run).checkpoints()[-1].name == "update-00000008"
    resume_small(text, run)
    check_same(run, whole)


def test_a_signal_that_is_ignored_stays_ignored(text: Path, tmp_path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert train_small(text, tmp_path / "run", PLAIN, StopAt((2,), number=signal.SIGINT)).reason == "finished"
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


class Clock(Reporter):
    """A clock that stands still but for a minute after each of these updates and validations."""

    def __init__(self, updates: tuple[int, ...], validations: tuple[int, ...] = ()) -> None:
        self.now = 0.0
        self.last = 0
        self.updates = updates
        self.validations = validations

    def updated(self, record: Mapping[str, Any]) -> None:
        self.last = record["update"]
        self.now += 60.0 * (self.last in self.updates)

    def validating(self) -> None:
        self.now += 60.0 * (self.last in self.validations)


@pytest.fixture
def clock_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Clock], Clock]:
    def put(clock: Clock) -> Clock:
        monkeypatch.setattr("elman.train.loop.time.monotonic", lambda: clock.now)
        return clock

    return put


def test_minutes_only_stop(
    whole: Path, text: Path, tmp_path: Path, clock_of: Callable[[Clock], Clock]
) -> None:
    run = tmp_path / "run"
    first = train_small(text, run, SETTINGS, clock_of(Clock((2, 7))), minutes=2)
    assert first == Result(run, 7, "minutes")
    second = resume_small(text, run, clock_of(Clock((8,), (12,))), minutes=1.5)
    assert second == Result(run, 12, "minutes"), "the deadline came during the validation"
    assert [r["update"] for r in records(run) if r["kind"] == "valid"] == [6]
    third = resume_small(text, run, clock_of(Clock((13,))), minutes=2)
    assert third == Result(run, 24, "finished")
    check_same(run, whole)


def test_a_checkpoint_at_least_every_so_many_minutes(
    whole: Path, text: Path, tmp_path: Path, clock_of: Callable[[Clock], Clock]
) -> None:
    class Saves(Clock):
        names: list[str]

        def saved(self, path: Path) -> None:
            self.names.append(path.name[-2:])

    clock = clock_of(Saves((3, 5, 8, 9)))
    assert isinstance(clock, Saves)
    clock.names = []
    settings = {**SETTINGS, "train.save_minutes": 2.0, "train.save_every": 10}
    train_small(text, tmp_path / "run", settings, clock)
    # Two minutes after the start, and two after the save at update 6, which was for the validation.
    assert list(dict.fromkeys(clock.names)) == ["05", "06", "09", "10", "12", "18", "20", "24"]
    assert [r["loss"] for r in records(tmp_path / "run") if r["kind"] == "train"] == [
        r["loss"] for r in records(whole) if r["kind"] == "train"
    ]


def test_a_thread_that_is_not_the_first_trains_too(text: Path, tmp_path: Path) -> None:
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(train_small(text, tmp_path / "run", PLAIN)))
    thread.start()
    thread.join()
    assert results == [Result(tmp_path / "run", 6, "finished")]


def test_training_leaves_the_callers_generator_alone(text: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    train_small(text, tmp_path / "run", PLAIN)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)  # what the caller has drawn decides nothing
    train_small(text, tmp_path / "again", PLAIN)
    check_same(tmp_path / "again", tmp_path / "run")


def test_a_finished_run_is_finished(text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_small(text, run, PLAIN)
    before, files = records(run), state(run)
    assert resume_small(text, run) == Result(run, 6, "finished")
    assert (records(run), state(run)) == (before, files)


def test_records_of_lost_work_are_dropped(whole: Path, text: Path, tmp_path: Path) -> None:
    """As after a kill: records go on past the newest checkpoint, and the last of them is cut."""
    run = tmp_path / "run"
    train_small(text, run, SETTINGS, StopAt((8,)))
    content = (whole / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    metrics = run / "metrics.jsonl"
    metrics.write_bytes(b"".join([metrics.read_bytes(), *content[9:13], content[13][:-20]]))
    resume_small(text, run)
    check_same(run, whole)


def test_work_before_the_first_checkpoint_is_done_again(whole: Path, text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    class Break(Reporter):
        def updated(self, record: Mapping[str, Any]) -> None:
            if record["update"] == 3:
                raise ZeroDivisionError("the reporter broke")

    with pytest.raises(ZeroDivisionError):
        train_small(text, run, SETTINGS, Break())
    assert (updates_of(run), Run(run).checkpoints()) == ([1, 2, 3], [])
    resume_small(text, run)
    check_same(run, whole)


def test_an_older_checkpoint_goes_on_too(whole: Path, text: Path, tmp_path: Path) -> None:
    """What to do where the newest is damaged: remove it."""
    run = tmp_path / "run"
    train_small(text, run, SETTINGS, StopAt((14,)))
    newest = Run(run).checkpoints()[-1]
    (newest / "optimizer.safetensors").write_bytes(b"")
    with pytest.raises(
        RunError, match=r"update-00000014/optimizer.safetensors.*remove .*update-00000014"
    ) as caught:
        resume_small(text, run)
    assert "update-00000012 may be whole" in str(caught.value)
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    resume_small(text, run)
    check_same(run, whole)


@pytest.fixture
def stopped(text: Path, tmp_path: Path) -> Path:
    """A run of PLAIN stopped after its third update."""
    train_small(text, tmp_path / "run", PLAIN, StopAt((3,)))
    return tmp_path / "run"


def unchanged(run: Path) -> Iterator[bytes]:
    """What must be as it was after a resume that was refused."""
    yield from (path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file())


def test_resume_without_a_run(text: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nothing: no such run folder; make one with elman train"):
        resume_small(text, tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"empty: this folder is not a run \(it has no run.json\)"):
        resume_small(text, tmp_path / "empty")
    with pytest.raises(RunError, match=r"text.txt: no such run folder"):
        resume_small(text, write_text(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "text.txt"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model.hidden": 5}, "model.hidden is not 5 in this one"),
        ({"train.updates": 7}, "train.updates is not 7"),
        ({"model.options": {"nonlinearity": "relu"}}, "model.options is not"),
        ({"model.hiden": 4}, "unknown key 'model.hiden'"),
        ({"train.batch": "many"}, "train.batch"),
    ],
)
def test_resume_with_other_settings(
    settings: dict[str, Any], message: str, stopped: Path, text: Path
) -> None:
    before = list(unchanged(stopped))
    with pytest.raises(ConfigError, match=message):
        resume_small(text, stopped, settings=settings)
    assert list(unchanged(stopped)) == before


@pytest.mark.parametrize(
    "settings",
    [
        PLAIN,
        {"train.betas": (0.9, 0.99)},
        {"train.betas": [0.9, 0.99]},
        {"train.clip_norm": "1.0"},
        {"model.options": {}},
    ],
)
def test_resume_with_the_same_settings(settings: dict[str, Any], stopped: Path, text: Path) -> None:
    assert resume_small(text, stopped, settings=settings).reason == "finished"


def test_resume_with_a_preset_or_a_file_of_settings(stopped: Path, text: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    others: list[dict[str, Any]] = [{"preset": "min-char-rnn"}, {"config": tmp_path / "config.toml"}]
    for options in others:
        with pytest.raises(
            ConfigError, match="a run keeps its settings; leave the preset and the settings file out"
        ):
            resume_small(text, stopped, **options)


def test_resume_of_another_task(stopped: Path, text: Path) -> None:
    with pytest.raises(ConfigError, match=r"run: this run is a language-model, not a tagger"):
        train("tagger", [text], stopped, resume=True)


def test_files_that_have_changed(text: Path, stopped: Path, tmp_path: Path) -> None:
    other = write_text(tmp_path, "other.txt", 901)
    before = list(unchanged(stopped))
    with pytest.raises(
        DataError, match=r"other.txt: the file has changed since the run began \(901 bytes now, 900 then\)"
    ):
        resume_small(other, stopped)
    with pytest.raises(DataError, match=r"gone.txt: no such file"):
        resume_small(tmp_path / "gone.txt", stopped)
    with pytest.raises(ConfigError, match="this run reads 1 files, got 2"):
        train("language-model", [text, other], stopped, resume=True)
    assert list(unchanged(stopped)) == before


def test_files_that_have_moved(tmp_path: Path) -> None:
    here, there = write_text(tmp_path), tmp_path / "moved.txt"
    train_small(here, tmp_path / "whole", PLAIN)
    run = tmp_path / "run"
    train_small(here, run, PLAIN, StopAt((3,)))
    here.rename(there)
    with pytest.raises(DataError, match=r"text.txt: no such file"):
        train("language-model", [], run, resume=True)
    assert resume_small(there, run).reason == "finished"
    check_same(run, tmp_path / "whole")


def test_the_lock_is_held_while_training(text: Path, tmp_path: Path) -> None:
    run, refused = tmp_path / "run", []

    class Second(Reporter):
        def updated(self, record: Mapping[str, Any]) -> None:
            with pytest.raises(RunError, match="another process is training this run") as caught:
                resume_small(text, run)
            refused.append(str(caught.value))

    train_small(text, run, PLAIN, Second())
    assert len(refused) == 6
    assert resume_small(text, run).reason == "finished", "and let go at the end"


def test_what_a_killed_save_left_is_cleared_away(stopped: Path, text: Path) -> None:
    for folder in (stopped, stopped / "checkpoints"):
        (folder / ".saving-update-00000004").mkdir()
        (folder / ".saving-update-00000004" / "weights.safetensors").write_bytes(b"half")
        (folder / ".saving-metrics").write_bytes(b"half")
    resume_small(text, stopped)
    assert leftovers(stopped) == []


def test_a_run_can_be_moved(whole: Path, text: Path, tmp_path: Path) -> None:
    train_small(text, tmp_path / "here", SETTINGS, StopAt((8,)))
    (tmp_path / "folder").mkdir()
    os.rename(tmp_path / "here", tmp_path / "folder" / "there")
    resume_small(text, tmp_path / "folder" / "there")
    check_same(tmp_path / "folder" / "there", whole)


def test_metrics_are_strict_json_lines(whole: Path) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    for line in (whole / "metrics.jsonl").read_text("utf-8").splitlines():
        json.loads(line, parse_constant=refuse)


def test_the_moments_are_kept_by_name(whole: Path) -> None:
    newest = Run(whole).checkpoints()[-1]
    weights, moments = (read_tensors(newest / f"{part}.safetensors") for part in ("weights", "optimizer"))
    expected = itertools.product(("step", "exp_avg", "exp_avg_sq"), weights)
    assert set(moments) == {f"{moment}/{name}" for moment, name in expected}
