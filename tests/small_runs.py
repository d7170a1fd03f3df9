"""Runs of language models that take a fraction of a second, and what of two runs must be equal.

The text is made from the counter, so that it is the same everywhere; times are the one thing that may differ
between two runs of the same settings.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from elman import counter
from elman.runs import Run
from elman.storage import read_json
from elman.train import Reporter, Result, train

SETTINGS: dict[str, Any] = {
    "model.hidden": 6, "model.layers": 2, "model.dropout": 0.3, "evaluate_window": 16,
    "train.updates": 24, "train.batch": 3, "train.window": 5, "train.backward": 8,
    "train.reset_probability": 0.2, "train.learning_rate": 0.02, "train.warmup": 4,
    "train.save_every": 4, "train.evaluate_every": 6,
}  # fmt: skip
"""Dropout, resets, k2 > k1 and a schedule: all that draws random numbers or counts updates is in use."""

PLAIN: dict[str, Any] = {
    "model.cell": "elman", "model.hidden": 4, "model.layers": 1, "model.dropout": 0.0, "model.embedding": 0,
    "train.updates": 6, "train.batch": 2, "train.window": 4, "train.save_every": 2, "train.evaluate_every": 3,
    "evaluate_window": 16,
}  # fmt: skip
"""The smallest run that has checkpoints and validations."""

STEPS = [
    "folder made", "weights written", "optimizer written", "carry written", "progress written",
    "manifest written", "folder flushed", "records flushed", "renamed", "name flushed",
    "old set aside", "old removed",
]  # fmt: skip
"""What a save does, in order; from "renamed" on the checkpoint is there."""


def write_text(folder: Path, name: str = "text.txt", size: int = 900) -> Path:
    """A text of `size` characters in lines of words over eight letters."""
    drawn = counter.bits(7, torch.arange(size)).tolist()
    path = folder / name
    path.write_text("".join("\n" if n % 31 == 0 else "abcdefgh  "[n % 10] for n in drawn), "utf-8")
    return path


def train_small(
    text: Path,
    run: Path,
    settings: Mapping[str, Any] = PLAIN,
    reporter: Reporter | None = None,
    **options: Any,
) -> Result:
    """`elman.train.train` on one file."""
    return train("language-model", [text], run, settings, reporter=reporter, **options)


def resume_small(text: Path, run: Path, reporter: Reporter | None = None, **options: Any) -> Result:
    """Goes on with a run of `train_small`."""
    return train("language-model", [text], run, resume=True, reporter=reporter, **options)


def records(run: Path) -> list[dict[str, Any]]:
    """Every record without its times, floats as hexadecimal digits: equal means equal to the last bit."""
    return [
        {
            key: value.hex() if isinstance(value, float) else value
            for key, value in record.items()
            if key != "seconds"
        }
        for record in Run(run).records()
    ]


def state(run: Path) -> dict[str, Any]:
    """All that training goes on from: the newest checkpoint's files, byte by byte, and its counts."""
    newest = Run(run).checkpoints()[-1]
    progress = read_json(newest / "progress.json")
    del progress["seconds"]
    tensors = {path.name: path.read_bytes() for path in sorted(newest.glob("*.safetensors"))}
    return {"checkpoint": newest.name, **progress, **tensors}


def check_same(run: Path, whole: Path) -> None:
    """Asserts that `run` ended as the uninterrupted run `whole` did."""
    got, wanted = records(run), records(whole)
    first = next((n for n, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), None)
    assert first is None, f"record {first}: {got[first]} instead of {wanted[first]}"
    assert len(got) == len(wanted)
    left, right = state(run), state(whole)
    assert [key for key in right if left.get(key) != right[key]] == []
    assert leftovers(run) == []


def updates_of(run: Path) -> list[int]:
    """The updates that were recorded, in the order of the lines."""
    return [record["update"] for record in Run(run).records() if record["kind"] == "train"]


def leftovers(run: Path) -> list[Path]:
    """Whatever stands under a temporary name in a run, or beside it."""
    return [*run.rglob(".saving-*"), *run.parent.glob(".saving-*")]
