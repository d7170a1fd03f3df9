"""Lives of a training process: each ends by SIGKILL at a chosen moment, and the next one resumes.

    python lives.py TEXT FOLDER < PLAN

PLAN is a JSON list of lives. Each names its run in FOLDER and the moment of its death:

    {"step": name}      as this step of a save has been done, the first time
    {"part": p}         this part of the way through a whole life, counted in function calls and returns
    {"seconds": s}      so many seconds after its birth, from outside
    {"held": true}      in the middle of a save, when another life has been refused the run
    {}                  none: it trains to the end; the first life must be such, to count by

Each life is a fork of this process, which loads torch once and computes nothing: threads of a computation
would not survive the fork.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from elman.errors import RunError
from elman.runs import Run
from elman.train import train
from small_runs import SETTINGS, leftovers, updates_of

EVERY_STEP = {**SETTINGS, "train.save_every": 2}
REFUSED = 3


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fork(life: Callable[[], object]) -> int:
    """The process id of a child that lives this life, and leaves with status 0, or 1 where it raised."""
    if child := os.fork():
        return child
    status = 0
    try:
        life()
    except SystemExit as error:
        status = int(str(error.code))
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    os._exit(status)


def live(text: Path, run: Path, notify: Callable[[str], None] = lambda step: None) -> None:
    """Trains to the end, from the start or from where the run stands."""
    if (run / "run.json").exists():
        train("language-model", [text], run, resume=True, notify=notify)
    else:
        train("language-model", [text], run, EVERY_STEP, notify=notify)


def counting(at: int | None, life: Callable[[], None]) -> int:
    """Lives, and dies at the `at`-th call or return of a function; gives their number."""
    events = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal events
        events += 1
        if events == at:
            die()

    sys.setprofile(count)
    try:
        life()
    finally:
        sys.setprofile(None)
    return events


def one(text: Path, run: Path, moment: dict[str, Any], whole: int) -> tuple[int, int]:
    """One life; its wait status, and how many calls and returns it counted where it was to count them."""
    if "step" in moment:
        wanted = moment["step"]
        return os.waitpid(fork(lambda: live(text, run, lambda step: step == wanted and die())), 0)[1], 0
    if "part" in moment:
        at = max(1, int(whole * moment["part"]))
        return os.waitpid(fork(lambda: counting(at, lambda: live(text, run))), 0)[1], 0
    if "seconds" in moment:
        child = fork(lambda: live(text, run))
        time.sleep(moment["seconds"])
        os.kill(child, signal.SIGKILL)
        return os.waitpid(child, 0)[1], 0
    if "held" in moment:
        return held(text, run), 0
    reading, writing = os.pipe()
    child = fork(lambda: os.write(writing, str(counting(None, lambda: live(text, run))).encode()))
    os.close(writing)
    with os.fdopen(reading) as pipe:
        counted = int(pipe.read() or 0)
    return os.waitpid(child, 0)[1], counted


def held(text: Path, run: Path) -> int:
    """One process waits in the middle of a save, another is refused, the first is killed; its wait status."""
    reading, writing = os.pipe()

    def wait(step: str) -> None:
        if step == "weights written":
            os.write(writing, b"x")
            signal.pause()

    def second() -> None:
        try:
            live(text, run)
        except RunError as error:
            sys.exit(REFUSED if "another process is training this run" in str(error) else 1)

    first = fork(lambda: live(text, run, wait))
    os.read(reading, 1)
    before = sorted(leftovers(run))
    refused = os.waitpid(fork(second), 0)[1]
    after = sorted(leftovers(run))
    os.kill(first, signal.SIGKILL)
    status = os.waitpid(first, 0)[1]
    assert os.waitstatus_to_exitcode(refused) == REFUSED, "two processes trained one run"
    assert after == before, "the second touched what the first was writing"
    return status


def report(run: Path, status: int) -> dict[str, Any]:
    """What stands in the run after a life; raises where something of it cannot be read."""
    found: dict[str, Any] = {"killed": os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "status": status}
    found["left"] = sorted(str(path.relative_to(run.parent)) for path in leftovers(run))
    if not run.exists():
        return {**found, "recorded": [], "checkpoints": []}
    checkpoints = [path.name for path in Run(run).checkpoints()]
    for name in checkpoints:
        Run(run).load(name, ("weights", "optimizer", "carry"))
    return {**found, "recorded": updates_of(run), "checkpoints": checkpoints}


def main() -> None:
    text, folder = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)  # loads what optimizers load late
    whole = 0
    reports = []
    for moment in json.load(sys.stdin):
        run = folder / moment.pop("run")
        status, counted = one(text, run, moment, whole)
        whole = whole or counted
        reports.append(report(run, status))
    json.dump(reports, sys.stdout)


if __name__ == "__main__":
    main()
