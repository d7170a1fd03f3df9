"""Disks that are full, and places that may not be written: what was saved stays, and the message says where.

The full disk is a real one of a few pages, and so is the read-only one, where whoever runs the tests may
mount them; elsewhere those tests are skipped. That any single refusal is survived is in test_runs.py.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import elman
from elman.errors import RunError
from elman.runs import Run
from elman.train import Reporter, Result
from small_runs import (
    PLAIN,
    SETTINGS,
    STEPS,
    check_same,
    leftovers,
    resume_small,
    train_small,
    updates_of,
    write_text,
)

PAGES = 256
"""Size of the small disk, in pages; a run of SETTINGS takes about a quarter of it."""

FULL = r"No space left on device \(0\.\d MiB free in "


def mount(place: Path, *arguments: str) -> None:
    """Mounts something at `place`, or skips the test."""
    if not shutil.which("mount"):
        pytest.skip("needs a disk of its own, and this system has no mount command")
    done = subprocess.run(["mount", *arguments, place], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs a disk of its own, and may not mount one: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of PAGES pages."""
    place = tmp_path / "disk"
    place.mkdir()
    mount(place, "-t", "tmpfs", "-o", f"size={PAGES * os.sysconf('SC_PAGE_SIZE')}", "tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of SETTINGS on a disk that has room."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train_small(text, run, SETTINGS)
    return run


def fill(disk: Path) -> None:
    """Takes all the room that is left."""
    with (disk / "ballast").open("ab", buffering=0) as file:
        try:
            while file.write(bytes(1 << 16)):
                pass
        except OSError:
            return


class FillAt(Reporter):
    """Fills the disk after this update."""

    def __init__(self, disk: Path, update: int) -> None:
        self.disk = disk
        self.update = update
        self.last = 0

    def updated(self, record: Mapping[str, Any]) -> None:
        self.last = record["update"]
        if record["update"] == self.update:
            fill(self.disk)


def test_the_disk_is_as_small_as_it_should_be(disk: Path) -> None:
    fill(disk)
    assert shutil.disk_usage(disk).free == 0
    with pytest.raises(OSError, match="No space left on device"):
        (disk / "more").write_bytes(b"x")


@pytest.mark.parametrize("step", [None, *STEPS[: STEPS.index("manifest written")]])
def test_a_disk_that_fills_up_during_a_save(step: str | None, disk: Path, text: Path, whole: Path) -> None:
    """Before it (None), or as one of its steps has been done; the checkpoint after update 8 still loads."""
    run, armed = disk / "run", False

    class Arm(FillAt):
        def updated(self, record: Mapping[str, Any]) -> None:
            nonlocal armed
            armed = record["update"] == 12
            if armed and step is None:
                fill(disk)

    def notify(done: str) -> None:
        if armed and done == step:
            fill(disk)

    with pytest.raises(RunError, match=rf"update-00000012: cannot be written: {FULL}") as caught:
        train_small(text, run, SETTINGS, Arm(disk, 12), notify=notify)
    assert f" free in {run}" in str(caught.value)
    assert "what was saved before is unharmed" in str(caught.value)
    assert leftovers(run) == []
    assert Run(run).checkpoints()[-1].name == "update-00000008"
    assert Run(run).load("newest", ("weights", "optimizer", "carry")).progress["update"] == 8
    assert elman.load(run).predict(["abc"])
    (disk / "ballast").unlink()
    assert resume_small(text, run) == Result(run, 24, "finished")
    check_same(run, whole)


def test_a_disk_that_is_full_before_a_record(disk: Path, text: Path, whole: Path) -> None:
    run = disk / "run"
    settings = {**SETTINGS, "train.save_every": 100, "train.evaluate_every": 100}
    reporter = FillAt(disk, 5)
    with pytest.raises(RunError, match=rf"metrics.jsonl: cannot be written: {FULL}"):
        # The page that the records end in has room for a few more; no checkpoint is due before the end.
        train_small(text, run, {**settings, "train.updates": 90}, reporter)
    assert updates_of(run) == list(range(1, reporter.last + 1)), "the line that was cut is not read"
    assert 5 <= reporter.last < 90
    assert not run.joinpath("metrics.jsonl").read_bytes().endswith(b"\n"), "it was cut"

    shutil.rmtree(run)
    (disk / "ballast").unlink()
    with pytest.raises(RunError, match=rf"cannot be written: {FULL}"):
        train_small(text, run, SETTINGS, FillAt(disk, 9))
    with pytest.raises(RunError, match=rf"cannot be written: {FULL}"):
        resume_small(text, run)  # still full
    assert leftovers(run) == []
    assert Run(run).load("newest").progress["update"] == 8
    (disk / "ballast").unlink()
    resume_small(text, run)
    check_same(run, whole)


def test_a_disk_that_is_full_from_the_start(disk: Path, text: Path) -> None:
    fill(disk)
    with pytest.raises(
        RunError, match=rf"run: cannot be written: {FULL}.*choose another folder, or make room"
    ):
        train_small(text, disk / "run", PLAIN)
    assert [path.name for path in disk.iterdir()] == ["ballast"]


def test_a_disk_that_becomes_read_only(disk: Path, text: Path, whole: Path) -> None:
    run = disk / "run"
    shutil.copytree(whole, run)
    for path in (run / "checkpoints").glob("update-00000024/*"):
        path.unlink()
    (run / "checkpoints" / "update-00000024").rmdir()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    before = sorted(run.rglob("*"))
    with pytest.raises(RunError, match=r"run: cannot be written: Read-only file system \(0\.\d MiB free in"):
        resume_small(text, run)
    with pytest.raises(RunError, match=r"other: cannot be written: Read-only file system"):
        train_small(text, disk / "other", PLAIN)
    assert sorted(run.rglob("*")) == before
    assert elman.load(run, "newest").predict(["abc"])
    assert [r["update"] for r in Run(run).records() if r["kind"] == "valid"] == [6, 12, 18, 24]
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    resume_small(text, run)
    check_same(run, whole)


NOBODY = 65534


@pytest.fixture
def bound() -> Iterator[Path]:
    """A folder where permissions bind: those of another user's, where the tests run as root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(folder)


@contextmanager
def permissions(folder: Path, modes: Mapping[str, int]) -> Iterator[None]:
    """Within, these paths of a folder have these modes, and whoever runs the tests is bound by them."""
    root = os.geteuid() == 0
    before = {name: (folder / name).stat().st_mode for name in modes}
    for path in [folder, *folder.rglob("*")] if root else []:
        os.chown(path, NOBODY, NOBODY)
    for name, mode in modes.items():
        (folder / name).chmod(mode)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for name, mode in before.items():
            (folder / name).chmod(mode)


def test_a_folder_that_may_not_be_written(text: Path, bound: Path) -> None:
    train_small(text, bound / "run", PLAIN)
    (bound / "run" / "lock").unlink()
    document = write_text(bound)
    with permissions(bound, {"run": 0o555, "run/checkpoints": 0o555, ".": 0o555}):
        with pytest.raises(RunError, match=r"run: cannot be written: Permission denied \("):
            resume_small(document, bound / "run")
        with pytest.raises(RunError, match=r"other: cannot be written: Permission denied \("):
            train_small(document, bound / "other", PLAIN)
        with pytest.raises(RunError, match=r"c: cannot be written: Permission denied \("):
            train_small(document, bound / "a" / "b" / "c", PLAIN)
        assert elman.load(bound / "run").predict(["abc"])
    assert sorted(path.name for path in bound.iterdir()) == ["run", "text.txt"]


@pytest.mark.parametrize("save", [True, False])
def test_a_folder_that_is_closed_while_training(save: bool, text: Path, bound: Path, whole: Path) -> None:
    run = bound / "run"
    document = Path(shutil.copy(text, bound))
    closing = ExitStack()
    modes = {"run/checkpoints": 0o555} if save else {"run/metrics.jsonl": 0o444}

    class Close(Reporter):
        def updated(self, record: Mapping[str, Any]) -> None:
            if record["update"] == 10:
                closing.enter_context(permissions(bound, modes))

    place = "update-00000012" if save else "metrics.jsonl"
    with closing, pytest.raises(RunError, match=rf"{place}: cannot be written: Permission denied"):
        train_small(document, run, SETTINGS, Close())
    assert Run(run).load("newest").progress["update"] == 8
    assert leftovers(run) == []
    resume_small(document, run)
    check_same(run, whole)


@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        "codec.json",
        "manifest.json",
        "metrics.jsonl",
        "checkpoints/update-00000006/weights.safetensors",
    ],
)
def test_a_file_that_may_not_be_read(name: str, text: Path, bound: Path) -> None:
    run = bound / "run"
    train_small(text, run, PLAIN)
    with (
        permissions(bound, {f"run/{name}": 0o200}),
        pytest.raises(RunError, match=rf"run/{name}: cannot be read: Permission denied"),
    ):
        elman.load(run, "best" if name == "metrics.jsonl" else "newest")
    for folder in ("run", "run/checkpoints"):
        with (
            permissions(bound, {folder: 0o000}),
            pytest.raises(RunError, match=r"run.*: cannot be read: Permission denied"),
        ):
            elman.load(run)
