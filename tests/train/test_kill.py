"""A run that was killed by SIGKILL, at any moment and any number of times, ends as one that never was.

The moments are every named step of a save, and points in between that are drawn from a seed: by counting
function calls, which always finds the same ones, and by the clock, which finds others each time. The verdict
does not depend on which. The long proof of the same is reproduce/kill_and_resume.py.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from small_runs import STEPS, check_same, updates_of, write_text

DRIVER = Path(__file__).with_name("lives.py")

Reports = list[tuple[dict[str, Any], dict[str, Any]]]

IN_TEMPORARY = STEPS[: STEPS.index("renamed")]
"""Steps after which the checkpoint stands under its temporary name."""


def plan() -> list[dict[str, Any]]:
    draw = random.Random(20)
    return [
        {"run": "whole"},
        *({"run": "steps", "step": step} for step in [*STEPS, *STEPS]),
        {"run": "steps", "held": True},
        {"run": "steps"},
        *({"run": "parts", "part": draw.uniform(0, 0.1)} for _ in range(3)),
        *({"run": "parts", "part": draw.uniform(0.1, 0.6)} for _ in range(7)),
        {"run": "parts"},
        *({"run": "seconds", "seconds": draw.uniform(0, 0.3)} for _ in range(4)),
        {"run": "seconds"},
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lives")


@pytest.fixture(scope="module")
def reports(folder: Path) -> Reports:
    """Each life of the plan with what came of it."""
    lives = plan()
    tests = str(Path(__file__).parent.parent)
    path = os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, DRIVER, write_text(folder), folder], input=json.dumps(lives), capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(zip(lives, json.loads(done.stdout), strict=True))


def of(reports: Reports, run: str) -> Reports:
    return [(life, report) for life, report in reports if life["run"] == run]


def test_every_life_ended_as_it_was_to(reports: Reports) -> None:
    for life, report in reports:
        if life.keys() == {"run"}:
            assert report["status"] == 0, life
        elif "step" in life or "held" in life:
            assert report["killed"], life
        else:  # where the moment comes after the end, the run is finished
            assert report["killed"] or report["status"] == 0, life
    drawn = [report["killed"] for life, report in reports if "part" in life]
    assert sum(drawn) >= 5, "most moments are before the end"


def test_after_each_death_nothing_that_was_saved_is_lost(reports: Reports) -> None:
    for name in ("steps", "parts", "seconds"):
        newest = 0
        for life, report in of(reports, name):
            saved = [int(checkpoint.removeprefix("update-")) for checkpoint in report["checkpoints"]]
            assert max([0, *saved]) >= newest, life
            newest = max([0, *saved])
            recorded = report["recorded"]
            assert recorded == list(range(1, len(recorded) + 1)), life
            assert len(recorded) >= newest, f"{life}: a checkpoint without its records"


def test_a_death_in_a_save_leaves_a_temporary_folder_which_the_next_life_removes(reports: Reports) -> None:
    """So that the kills are where they say."""
    for life, report in of(reports, "steps"):
        expected = life.get("step") in [*IN_TEMPORARY, "old set aside"] or "held" in life
        assert len(report["left"]) == expected, life
        assert all("/.saving-update-" in path for path in report["left"])


@pytest.mark.parametrize("run", ["steps", "parts", "seconds"])
def test_the_run_ends_as_the_uninterrupted_one(run: str, reports: Reports, folder: Path) -> None:
    assert of(reports, run)
    assert updates_of(folder / run) == list(range(1, 25))
    check_same(folder / run, folder / "whole")
