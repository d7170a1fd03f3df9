#!/usr/bin/env python
"""Twenty SIGKILLs at random moments, and one after every named step of a save, leave no trace in a run.

    python reproduce/kill_and_resume.py [FOLDER]        seed 20; FOLDER: runs/kill_and_resume if none

A small character model of Python's own textwrap.py (LSTM, dropout, resets, k2 > k1, AdamW, a cosine
schedule) is trained undisturbed, and twice more by processes that are killed and resumed: by the clock, and
at each step of a save. Compared are every recorded loss as a hexadecimal float, the order of the updates, the
final weights, optimizer and carried state bit for bit, and what is left lying about. Exit status 0 where
nothing differs.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import torch

from elman.train import train

SEED = 20
KILLS = 20
SETTINGS = {
    "model.hidden": 48, "model.layers": 2, "model.dropout": 0.3, "train.updates": 120, "train.batch": 8,
    "train.window": 32, "train.backward": 48, "train.reset_probability": 0.1, "train.learning_rate": 0.01,
    "train.warmup": 10, "train.save_every": 3, "train.evaluate_every": 20,
}  # fmt: skip
STEPS = (
    "folder made", "weights written", "optimizer written", "carry written", "progress written",
    "manifest written", "folder flushed", "records flushed", "renamed", "name flushed", "old set aside",
    "old removed",
)  # fmt: skip


def live(run: Path, deadly: str | None) -> None:
    """Trains from where the run stands to the end, or dies as the step `deadly` of a save is done."""
    torch.set_num_threads(1)

    def notify(step: str) -> None:
        if step == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    there = (run / "run.json").exists()
    train("language-model", [textwrap.__file__], run, {} if there else SETTINGS, resume=there, notify=notify)


def life(run: Path, deadly: str = "", seconds: float | None = None) -> bool:
    """One process; whether it was killed, by itself at a step or from here after so many seconds."""
    process = subprocess.Popen([sys.executable, __file__, "--live", str(run), deadly])
    if seconds is not None:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    status = process.wait()
    if status not in (0, -signal.SIGKILL):
        sys.exit(f"a life of {run} ended with status {status}")
    return status != 0


def content(run: Path) -> dict[str, object]:
    """Everything of a run that must not differ."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = sorted((run / "checkpoints").iterdir())[-1]
    return {
        "updates": [record["update"] for record in records if record["kind"] == "train"],
        "losses": [record["loss"].hex() for record in records if record["kind"] == "train"],
        "validations": [(r["update"], r["nats"].hex()) for r in records if r["kind"] == "valid"],
        "checkpoint": last.name,
        **{part: (last / f"{part}.safetensors").read_bytes() for part in ("weights", "optimizer", "carry")},
        "left": sorted(path.name for path in run.rglob(".saving-*")),
    }


def report(name: str, expected: dict[str, object], found: dict[str, object]) -> int:
    """Prints what differs, and gives how many things do."""
    differs = [key for key in expected if found[key] != expected[key]]
    print(f"{name:6}  " + (f"differs in {', '.join(differs)}" if differs else "no difference"), flush=True)
    return len(differs)


def main() -> int:
    """Runs the proof, prints a table, and returns the exit status."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/kill_and_resume")
    for name in ("whole", "clock", "steps"):  # of an earlier proof; nothing else in the folder is touched
        shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(SEED)
    began = time.monotonic()
    life(folder / "whole")
    whole_life = time.monotonic() - began
    expected = content(folder / "whole")

    wrong, kills = 0, 0
    while kills < KILLS:
        born = time.monotonic()
        killed = life(folder / "clock", seconds=draw.uniform(0.3, 1.0) * whole_life)
        kills += killed
        if not killed:  # it came to its end: it must be whole, and the other kills are of a new run
            whole_life = min(whole_life, time.monotonic() - born)
            wrong += report("clock", expected, content(folder / "clock"))
            shutil.rmtree(folder / "clock")
    life(folder / "clock")
    for step in STEPS:
        if not life(folder / "steps", deadly=step):
            sys.exit(f"no save came to the step {step!r}")
    life(folder / "steps")

    print(f"{kills} kills by the clock, {len(STEPS)} at steps of a save, {SETTINGS['train.updates']} updates")
    for name in ("clock", "steps"):
        wrong += report(name, expected, content(folder / name))
    print(f"{time.monotonic() - began:.0f} seconds")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--live"]:
        live(Path(sys.argv[2]), sys.argv[3] or None)
    else:
        sys.exit(main())
