"""Dialogues over a few words, and runs on them that take seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from elman.tasks.config import make_config
from elman.tasks.dialogue import DialogueTask
from elman.tasks.dialogue_predictor import DialoguePredictor

COLOURS = ("red", "green", "blue", "white", "black")
THINGS = ("hat", "dog", "car", "cup", "pen")

DULL = "I don't know ."

SETTINGS: dict[str, Any] = {
    "data.unit": "words", "data.vocabulary": 60, "data.valid_fraction": 0.0, "data.longest": 12,
    "data.generic_questions": 4, "model.hidden": 32, "model.embedding": 16, "model.dropout": 0.0,
    "model.dropout_embedding": 0.0, "model.dropout_output": 0.0, "train.tokens": 150,
    "train.label_smoothing": 0.0, "train.updates": 240, "train.learning_rate": 0.015, "train.warmup": 5,
    "train.weight_decay": 0.0, "train.evaluate_every": 240, "train.save_every": 240,
}  # fmt: skip


def question(thing: str) -> str:
    return f"The {thing} ?"


def made_dialogues() -> list[list[str]]:
    """What colour a thing has: one answer that is true, and more often none."""
    rows = []
    for thing, colour in zip(THINGS, COLOURS, strict=True):
        rows += [[question(thing), f"It is {colour}", "Thanks ."]] * 2
        rows += [[question(thing), DULL, "Well ."]] * 3
    return rows


def write_dialogues(folder: Path, rows: Sequence[Sequence[str]], name: str = "train.txt") -> str:
    """NAME, turns ended by __eou__, or between tabs where it is a .tsv."""
    path = folder / name
    if name.endswith(".tsv"):
        lines = ["\t".join(row) for row in rows]
    else:
        lines = ["".join(f"{turn} __eou__ " for turn in row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return str(path)


def begun(files: Sequence[str], **settings: Any) -> DialogueTask:
    """A task with SETTINGS; double underscores stand for dots."""
    changes = {key.replace("__", "."): value for key, value in settings.items()}
    return DialogueTask.begin(make_config(DialogueTask, {**SETTINGS, **changes}), files)


def fresh(task: DialogueTask) -> DialoguePredictor:
    """An untrained model, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return task.predictor(task.build())
