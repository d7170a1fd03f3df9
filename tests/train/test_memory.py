"""Sizes that cannot fit are refused with both figures, before a weight or a folder is made.

What the system says of its memory is told by files made here; that the estimate of a model's need is one is
measured on training itself.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from elman.errors import ConfigError
from elman.tasks import find_task
from elman.tasks.config import make_config
from elman.train import memory
from elman.train.memory import GIB, available_memory, check_memory
from small_runs import PLAIN, resume_small, train_small, write_text

MEMINFO = """MemTotal:       16384000 kB
MemFree:         1000000 kB
MemAvailable:    8000000 kB
HugePages_Total:       0
"""
AVAILABLE = 8000000 * 1024


def system(root: Path, files: dict[str, str]) -> Path:
    """A file system with these files under /proc and /sys."""
    for name, content in {"proc/meminfo": MEMINFO, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


TWO = "sys/fs/cgroup"
ONE = "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, AVAILABLE),
        # Version 2, seen from inside a container: its own group is the root.
        (
            {
                "proc/self/cgroup": "0::/\n",
                f"{TWO}/memory.max": "3000000\n",
                f"{TWO}/memory.current": "1000000\n",
            },
            2000000,
        ),
        (
            {
                "proc/self/cgroup": "0::/\n",
                f"{TWO}/memory.max": "max\n",
                f"{TWO}/memory.current": "1000000\n",
            },
            AVAILABLE,
        ),
        # What only caches files is given back when it is asked for.
        (
            {
                "proc/self/cgroup": "0::/\n",
                f"{TWO}/memory.max": "3000000\n",
                f"{TWO}/memory.current": "2900000\n",
                f"{TWO}/memory.stat": "anon 400000\ninactive_file 2000000\nactive_file 500000\n",
            },
            2100000,
        ),
        # Seen from outside: the least of the group and those above it.
        (
            {
                "proc/self/cgroup": "0::/user.slice/job.scope\n",
                f"{TWO}/user.slice/memory.max": "5000000\n",
                f"{TWO}/user.slice/memory.current": "4400000\n",
                f"{TWO}/user.slice/job.scope/memory.max": "2000000\n",
                f"{TWO}/user.slice/job.scope/memory.current": "1000000\n",
            },
            600000,
        ),
        # Version 1, with its paths as they are outside, and where a container sees its own as the root.
        (
            {
                "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/docker/ab\n0::/\n",
                f"{ONE}/docker/ab/memory.limit_in_bytes": "4000000\n",
                f"{ONE}/docker/ab/memory.usage_in_bytes": "3000000\n",
                f"{ONE}/docker/ab/memory.stat": "inactive_file 5\ntotal_inactive_file 500000\n",
                f"{ONE}/memory.limit_in_bytes": "9223372036854771712\n",
                f"{ONE}/memory.usage_in_bytes": "3000000\n",
            },
            1500000,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/docker/ab\n",
                f"{ONE}/memory.limit_in_bytes": "4000000\n",
                f"{ONE}/memory.usage_in_bytes": "3000000\n",
            },
            1000000,
        ),
        # More in use than allowed, as just after a limit was lowered.
        ({"proc/self/cgroup": "0::/\n", f"{TWO}/memory.max": "3\n", f"{TWO}/memory.current": "4\n"}, 0),
        ({"proc/meminfo": "MemTotal: 5 kB\n"}, None),
    ],
)
def test_what_the_system_says(files: dict[str, str], expected: int | None, tmp_path: Path) -> None:
    assert available_memory(system(tmp_path, files)) == expected


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None


def test_this_system_says_something_plausible() -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux is asked")
    free = available_memory()
    assert free is not None
    assert 1 << 26 < free < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_both_figures_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 3 * GIB)
    check_memory(3 * GIB, "this")
    with pytest.raises(ConfigError) as caught:
        check_memory(3 * GIB + GIB // 2, "this")
    assert str(caught.value) == (
        "this needs about 3.5 GiB of memory, 3.0 GiB are free; make model.hidden or the "
        "batches smaller (train.batch and train.window, or train.tokens)"
    )
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    check_memory(1 << 100, "what cannot be known")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path)


@pytest.mark.parametrize(
    ("settings", "need"),
    [
        ({"model.hidden": 1_000_000, "model.cell": "lstm"}, r"[\d,]{6,}\.\d GiB of memory"),
        ({"model.hidden": 4_000_000_000}, "more than 8,589,934,592 GiB"),
        ({"model.embedding": 4_000_000_000, "model.hidden": 3_000_000_000}, "more than 8,589,934,592 GiB"),
        ({"train.batch": 10**12}, r"[\d,]{6,}\.\d GiB of memory"),
        ({"train.window": 10**12}, r"[\d,]{6,}\.\d GiB of memory"),
        ({"train.backward": 10**12}, r"[\d,]{6,}\.\d GiB of memory"),
        ({"evaluate_window": 10**12}, r"[\d,]{6,}\.\d GiB of memory"),
    ],
)
def test_sizes_that_cannot_fit_are_refused(
    settings: dict[str, Any], need: str, text: Path, tmp_path: Path
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError, match=need):
        train_small(text, tmp_path / "run", {**PLAIN, **settings})
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"], "no folder is made"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000, "kB: nothing of it is allocated"


def test_what_would_just_not_fit_is_not_tried(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that this machine could hold, and is told it cannot: 450 MB of weights."""
    monkeypatch.setattr(memory, "available_memory", lambda: GIB)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = r"of 11\d,\d{3},\d{3} weights needs about 3\.\d GiB of memory, 1\.0 GiB are free"
    with pytest.raises(ConfigError, match=said):
        train_small(text, tmp_path / "run", {**PLAIN, "model.cell": "lstm", "model.hidden": 5300})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    assert not (tmp_path / "run").exists()


def test_a_run_that_no_longer_fits_is_not_resumed(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_small(text, tmp_path / "run", PLAIN)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    with pytest.raises(ConfigError, match=r"needs about 0\.0 GiB of memory, 0\.0 GiB are free"):
        resume_small(text, tmp_path / "run")
    assert {path: path.read_bytes() for path in before} == before


MEASURED: dict[str, dict[str, Any]] = {
    "activations": {"model.hidden": 192, "train.batch": 16},
    "symbols": {"model.hidden": 8, "data.unit": "bytes", "train.batch": 192},
    "steps one by one": {"model.hidden": 96, "model.options": {"peepholes": True}, "train.batch": 24},
    "weights": {"model.hidden": 800, "model.layers": 1, "train.batch": 2, "train.window": 8},
}
"""Settings, of which each needs most of its memory for something else."""

MEASURE = """
import json, os, resource, sys
import torch
from elman.train import train

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

torch.set_num_threads(1)
torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)  # loads what optimizers load late
for row, settings in enumerate(json.load(sys.stdin)):
    if not os.fork():  # whose peak begins anew
        least = {**settings, "model.hidden": 2, "train.batch": 1, "train.window": 2, "evaluate_window": 2}
        train("language-model", [sys.argv[1]], f"{sys.argv[1]}-{row}-least", least)
        before = peak()
        train("language-model", [sys.argv[1]], f"{sys.argv[1]}-{row}", settings)
        print(peak() - before, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak in this way")
def test_the_estimate_is_one_from_above(tmp_path: Path) -> None:
    """Of what two updates, a validation and a save take beyond the least run; at most four times that."""
    text = write_text(tmp_path, size=60_000)
    ends = {"train.updates": 2, "train.save_every": 2, "train.evaluate_every": 2}
    plan = [{**settings, **ends} for settings in MEASURED.values()]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, text], input=json.dumps(plan), capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kind = find_task("language-model")
    for name, settings, peak in zip(MEASURED, plan, map(int, done.stdout.split()), strict=True):
        task = kind.begin(make_config(kind, settings), [str(text)])
        estimate = task.memory(task.build())
        assert peak > 40e6, f"{name}: too little to tell"
        assert peak < estimate < 4 * peak, f"{name}: {estimate / 1e6:.0f} MB for {peak / 1e6:.0f} MB"
