"""The run folder: how it is made, saves that fail at every step, what is kept, the records and the lock.

Damage to its files is in test_run_damage.py, what a full disk does in train/test_disk.py.
"""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from elman.errors import RunError
from elman.runs import Run
from small_runs import STEPS, leftovers

PARTS = ("weights", "optimizer", "carry")
DESCRIPTION = {"elman": "0", "created": "now", "task": "language-model", "config": {}, "files": []}


def content(update: int) -> dict[str, dict[str, Tensor]]:
    return {part: {"values": torch.full((3,), float(update))} for part in PARTS}


def save(run: Run, update: int, nats: float | None = None) -> Path:
    """A training step's worth of records, a checkpoint, and a validation with this figure."""
    run.record({"kind": "train", "update": update, "loss": 1.0})
    path = run.save(update, content(update), {"update": update})
    if nats is not None:
        run.record({"kind": "valid", "update": update, "nats": nats})
    return path


def names(run: Run) -> list[int]:
    return [int(path.name.removeprefix("update-")) for path in run.checkpoints()]


def value(run: Run, which: str = "newest") -> float:
    """The number that `content` put into a checkpoint; every part of it is read."""
    tensors = run.load(which, PARTS).tensors
    values = {float(tensors[part]["values"].unique()) for part in PARTS}
    assert len(values) == 1
    return values.pop()


@pytest.fixture(autouse=True)
def _no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing is for power cuts, which nothing here makes; on a busy disk it takes most of the time."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", DESCRIPTION, {"unit": "bytes"})


# Making a run folder


def test_a_run_folder_holds_what_it_was_made_with(run: Run, tmp_path: Path) -> None:
    again = Run(str(run.path))
    assert again.description == {"format": 1, **DESCRIPTION}
    assert again.codec == {"unit": "bytes"}
    assert (again.checkpoints(), again.records(), again.best()) == ([], [], None)
    assert sorted(path.name for path in run.path.iterdir()) == ["codec.json", "manifest.json", "run.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with pytest.raises(RunError, match=r"run: no checkpoint yet; go on with elman train --resume"):
        again.load()


def test_an_empty_folder_becomes_a_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert Run.create(tmp_path / "run", DESCRIPTION, None).codec is None


def test_folders_above_are_made(tmp_path: Path) -> None:
    Run.create(tmp_path / "a" / "b" / "run", DESCRIPTION, None)
    assert Run(tmp_path / "a" / "b" / "run").description["task"] == "language-model"


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Run.create("run", DESCRIPTION, None).path == Path("run")
    assert (tmp_path / "run" / "run.json").exists()
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    with pytest.raises(RunError, match="this is the current folder; name one inside it"):
        Run.create(".", DESCRIPTION, None)
    Run.create("../other", DESCRIPTION, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside", "other", "run"]


def test_nothing_is_overwritten(run: Run, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in run.path.iterdir()}
    with pytest.raises(RunError, match=r"run: already exists; go on with it by --resume"):
        Run.create(run.path, DESCRIPTION, "other")
    assert {path: path.read_bytes() for path in run.path.iterdir()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match=r"file: already exists"):
        Run.create(tmp_path / "file", DESCRIPTION, None)
    assert (tmp_path / "file").read_text() == "mine"


def test_places_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for below in ("run", "a/b/run"):
        with pytest.raises(RunError, match=r"file is a file, expected a folder"):
            Run.create(tmp_path / "file" / below, DESCRIPTION, None)
    with pytest.raises(RunError, match="File name too long"):
        Run.create(tmp_path / ("r" * 300), DESCRIPTION, None)
    with pytest.raises(RunError, match="File name too long"):
        Run(tmp_path / ("r" * 300))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def failing(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    """`function`, but the `at`-th call (from 1) is refused as a full disk does; reading is not."""
    calls = 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += "rb" not in (*arguments, *options.values())
        if calls == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return function(*arguments, **options)

    return call


CALLS = {
    "os.fsync": os.fsync,
    "pathlib.Path.rename": Path.rename,
    "pathlib.Path.open": Path.open,
    "pathlib.Path.mkdir": Path.mkdir,
}


def refusals(call: str, attempt: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[RunError]:
    """Attempts with the first, second ... use of `call` refused until one goes through; the errors."""
    function = (lambda handle: None) if call == "os.fsync" else CALLS[call]
    for at in range(1, 40):
        with monkeypatch.context() as patch:
            patch.setattr(call, failing(function, at))
            try:
                attempt()
            except RunError as error:
                refused = error
            else:
                assert at > 1, f"{call} is not used"
                return
        yield refused
    pytest.fail("it never went through")


@pytest.mark.parametrize("call", CALLS)
def test_a_folder_that_cannot_be_made_is_not_half_made(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    for error in refusals(call, lambda: Run.create(path, DESCRIPTION, None), monkeypatch):
        assert "run: cannot be written: No space left on device (" in str(error)
        assert " MiB free in " in str(error)
        if path.exists():  # refused after the rename: then it is whole
            assert Run(path).description["task"] == "language-model"
            shutil.rmtree(path)
        assert list(tmp_path.iterdir()) == []


# Saving


def test_the_steps_of_a_save(run: Run) -> None:
    for update in (1, 2):
        save(run, update)
    told: list[str] = []
    run.notify = told.append
    save(run, 3)
    assert told == STEPS
    told.clear()
    run.save(3, content(4), {})
    assert (told, value(run)) == ([], 3.0), "what is there is not written again"


def test_a_save_comes_back_as_it_was(run: Run) -> None:
    kinds = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool]
    tensors = {f"a/b.{kind}": torch.tensor([[0, 1], [1, 0]], dtype=kind).t() for kind in kinds}
    tensors |= {
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(2.5),
        "odd": torch.tensor([float("nan"), -0.0]),
    }
    progress = {"update": 7, "seconds": 0.1, "smoothed": None}
    run.keep_records(0)
    path = run.save(7, {"weights": tensors, "carry": {}}, progress)
    found = run.load("newest", ("weights", "carry"))
    assert (found.path, found.progress, found.tensors["carry"]) == (path, progress, {})
    assert found.tensors["weights"].keys() == tensors.keys()
    for name, expected in tensors.items():
        got = found.tensors["weights"][name]
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        assert torch.equal(got.nan_to_num(9), expected.nan_to_num(9))


@pytest.mark.parametrize("earlier", [1, 3])
@pytest.mark.parametrize("step", STEPS)
def test_a_save_that_fails_leaves_the_earlier_one(step: str, earlier: int, run: Run) -> None:
    for update in range(1, earlier + 1):
        save(run, update)

    def refuse(done: str) -> None:
        if done == step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run.notify = refuse
    if step == "old set aside" and earlier == 1:
        save(run, 9)
        return  # there is nothing old yet
    with pytest.raises(
        RunError, match=r"update-00000009: cannot be written: No space left on device"
    ) as caught:
        save(run, 9)
    assert "what was saved before is unharmed" in str(caught.value)
    assert leftovers(run.path) == []
    saved = STEPS.index(step) >= STEPS.index("renamed")
    assert (names(run)[-1], value(Run(run.path))) == ((9, 9.0) if saved else (earlier, earlier))
    run.notify = lambda done: None
    save(run, 9)
    assert value(Run(run.path)) == 9.0
    assert leftovers(run.path) == []


@pytest.mark.parametrize("call", CALLS)
def test_a_save_that_the_system_refuses_leaves_the_earlier_ones(
    call: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for update in (1, 2, 3):
        save(run, update)
    seen = []
    for error in refusals(call, lambda: run.save(9, content(9), {"update": 9}), monkeypatch):
        seen.append(error)
        assert "update-00000009: cannot be written: No space left on device" in str(error)
        assert leftovers(run.path) == []
        assert value(Run(run.path), "update-00000003") == 3.0
        newest = names(run)[-1]
        assert value(Run(run.path)) == newest
        if newest == 9:
            shutil.rmtree(run.path / "checkpoints" / "update-00000009")
    assert seen
    assert value(Run(run.path)) == 9.0


def test_an_interrupt_during_a_save_leaves_nothing(run: Run) -> None:
    save(run, 1)

    def interrupt(done: str) -> None:
        if done == "manifest written":
            raise KeyboardInterrupt

    run.notify = interrupt
    with pytest.raises(KeyboardInterrupt):
        save(run, 2)
    assert (leftovers(run.path), names(run)) == ([], [1])


def test_every_file_is_flushed_before_the_rename(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut needs: contents, then names, then the name that makes them count, then that name."""
    save(run, 1)
    told: list[str] = []

    def flush(handle: int) -> None:
        told.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)

    monkeypatch.setattr("os.fsync", flush)
    run.notify = lambda step: told.append(step) if step in ("renamed", "old removed") else None
    save(run, 2)
    folder = ".saving-update-00000002"
    files = [
        "weights.safetensors",
        "optimizer.safetensors",
        "carry.safetensors",
        "progress.json",
        "manifest.json",
    ]
    assert told == [*files, folder, "metrics.jsonl", "renamed", "checkpoints", "old removed"]


# What is kept


def test_the_two_newest_and_the_best_are_kept(run: Run) -> None:
    for update, nats in enumerate([3.0, 1.0, 2.0, 2.5, 1.5, 0.5, 0.7, 0.6], 1):
        save(run, update, nats)
    assert (names(run), run.best()) == ([6, 7, 8], run.path / "checkpoints" / "update-00000006")
    assert [value(run), value(run, "best"), value(run, "update-00000007")] == [8.0, 6.0, 7.0]
    save(run, 9)
    save(run, 10)
    assert names(run) == [6, 9, 10], "those without a figure are never the best"


def test_the_newest_serves_where_none_is_the_best(run: Run) -> None:
    save(run, 1)
    save(run, 2)
    assert (run.best(), value(run, "best")) == (None, 2.0)


def test_a_figure_that_is_no_number_is_not_the_best(run: Run) -> None:
    for update, nats in [
        (1, float("nan")),
        (2, 4.0),
        (3, float("nan")),
        (4, float("-inf")),
        (5, float("nan")),
    ]:
        save(run, update, nats)
    assert (names(run), value(run, "best")) == ([2, 4, 5], 2.0)


def test_the_first_of_equals_is_the_best(run: Run) -> None:
    for update in (1, 2, 3, 4):
        save(run, update, 1.25)
    assert names(run) == [1, 3, 4]


def test_only_checkpoints_count_as_checkpoints(run: Run) -> None:
    folder = run.path / "checkpoints"
    save(run, 99_999_999)
    save(run, 100_000_000)
    for name in (
        "update-backup",
        "update-00000007.old",
        "update-7",
        "update-0000000007",
        "update-٠٠٠٠٠٠٠٧",
        "x",
    ):
        (folder / name).mkdir()
    (folder / "notes.txt").write_text("mine")
    assert names(run) == [99_999_999, 100_000_000]
    assert value(run) == 100_000_000.0
    save(run, 100_000_001)
    assert names(run) == [100_000_000, 100_000_001]
    assert len(list(folder.iterdir())) == 9, "what is not ours stays"


def test_a_checkpoint_is_named_by_its_folder(run: Run, tmp_path: Path) -> None:
    save(run, 1)
    for which in ("update-00000002", "update-1", "../checkpoints/update-00000001", "", str(tmp_path)):
        with pytest.raises(RunError, match=r"no checkpoint .*; there are update-00000001"):
            run.load(which)


# Records


def test_records_come_back_in_order(run: Run) -> None:
    sent = [{"kind": "train", "update": update, "loss": 0.1 * update} for update in (1, 2, 3)]
    for record in sent:
        run.record(record)
    assert Run(run.path).records() == sent


@pytest.mark.parametrize("cut", range(1, 45))
def test_a_cut_last_line_is_left_out(cut: int, run: Run) -> None:
    for update in (1, 2):
        run.record({"kind": "train", "update": update, "loss": 0.5})
    whole = run.metrics_path.read_bytes()
    line = len(whole) // 2
    assert line < 45, "every cut of a line is made"
    run.metrics_path.write_bytes(whole[: -min(cut, line)])
    assert [record["update"] for record in run.records()] == [1]


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind": "train", "upd', b"", b"\0\0\0\0", b"\xff\xfe", b"[" * 100_000, b"7", b"null", b"[1]",
        b"{}",
        b'{"kind": "train"}', b'{"kind": "other", "update": 2}', b'{"kind": ["train"], "update": 2}',
        b'{"kind": "train", "update": "2"}', b'{"kind": "train", "update": true}',
        b'{"kind": "train", "update": 2.5}', b'{"kind": "valid", "update": 2, "nats": "low"}',
        b'{"kind": "valid", "update": 2, "nats": null}',
        b'{"kind": "valid", "update": 2, "nats": 1' + b"0" * 400 + b"}",
        b'{"kind": "train", "update": 2}{"kind": "train", "update": 3}', b"9" * 5000,
    ],
    ids=lambda line: line[:30].decode("ascii", "backslashreplace"),
)  # fmt: skip
def test_a_damaged_line_is_named(line: bytes, run: Run) -> None:
    save(run, 1, 1.0)
    save(run, 2)
    lines = run.metrics_path.read_bytes().splitlines()
    run.metrics_path.write_bytes(b"\n".join([lines[0], line, *lines[1:], b""]))
    again = Run(run.path)
    for read in (again.records, again.best, again.load, lambda: again.keep_records(1)):
        with pytest.raises(RunError, match=r"metrics.jsonl: line 2 is damaged: .*; remove it to go on"):
            read()
    assert [value(again, "update-00000001"), value(again)] == [1.0, 2.0], "the checkpoints do not need it"


def test_records_that_are_gone_are_missed(run: Run) -> None:
    save(run, 1)
    run.metrics_path.unlink()
    with pytest.raises(RunError, match=r"metrics.jsonl: missing"):
        Run(run.path).records()
    assert value(Run(run.path)) == 1.0


def test_later_records_are_dropped(run: Run) -> None:
    for update in (1, 2, 3):
        save(run, update, 0.5)
    run.keep_records(2)
    assert [(r["kind"], r["update"]) for r in run.records()] == [
        ("train", 1), ("valid", 1), ("train", 2), ("valid", 2),
    ]  # fmt: skip
    before = run.metrics_path.stat()
    run.keep_records(2)
    assert run.metrics_path.stat().st_ino == before.st_ino, "nothing to drop, nothing to write"
    assert leftovers(run.path) == []


def test_a_cut_line_is_dropped_where_nothing_else_is(run: Run) -> None:
    """Or the next record would be written behind it."""
    save(run, 1)
    with run.metrics_path.open("ab") as file:
        file.write(b'{"kind": "tr')
    run.keep_records(1)
    run.record({"kind": "train", "update": 2})
    assert [record["update"] for record in run.records()] == [1, 2]


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.rename", "pathlib.Path.open"])
def test_records_stay_where_dropping_is_refused(call: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for update in (1, 2, 3):
        save(run, update)
    before = run.metrics_path.read_bytes()
    for error in refusals(call, lambda: run.keep_records(2), monkeypatch):
        assert "metrics.jsonl: cannot be written: No space left on device" in str(error)
        assert leftovers(run.path) == []
        if run.metrics_path.read_bytes() != before:  # refused after the rename
            assert [record["update"] for record in run.records()] == [1, 2]
            run.metrics_path.write_bytes(before)
    assert [record["update"] for record in run.records()] == [1, 2]


# The lock

HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


def test_a_run_that_another_process_trains_is_refused(run: Run) -> None:
    (run.path / ".saving-metrics").write_text("of the other process")
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, run.path / "lock"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(
                RunError, match=r"run: another process is training this run; wait for it or stop it"
            ),
            run.lock(),
        ):
            pytest.fail("two processes hold the lock")
        assert leftovers(run.path) != [], "nothing of the other's is touched"
    finally:
        other.kill()
        other.communicate()
    with run.lock():  # it goes with the process that was killed
        assert leftovers(run.path) == []


def test_the_lock_is_let_go_by_an_error(run: Run) -> None:
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    with run.lock(), pytest.raises(RunError, match="another process"), Run(run.path).lock():
        pytest.fail("held twice")
