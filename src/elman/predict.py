"""From a run folder to a model in use. Nothing here trains, and nothing of the training code is imported.

model = elman.load("runs/shakespeare")
print(model.generate("ROMEO:", length=300, temperature=0.8, seed=1).text)
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from elman.cells import Cell
from elman.errors import ConfigError
from elman.runs import Run
from elman.streaming import Precision, check_precision
from elman.tasks.base import Predictor, Task
from elman.tasks.config import make_config
from elman.weights import put_weights

SEARCH = "search."
"""Settings that a trained model may be used with in place of its run's: their keys begin so."""


def load_model(
    run: str | Path, checkpoint: str = "best", cell: type[Cell] | None = None
) -> tuple[Run, Task, nn.Module]:
    """The run folder, its task and its model with the weights of `checkpoint`: "best", "newest", or a
    folder's name.

    cell: the class of a run that was trained with a cell of the user's own. Raises RunError where the folder
    is missing or
    damaged, ConfigError where it needs a cell that was not given.
    """
    folder = Run(run)
    task = folder.task()
    found = folder.load(checkpoint)
    with torch.random.fork_rng(
        devices=[]
    ):  # the fresh weights are overwritten; the caller's generator is left alone
        model = task.build(cell)
    put_weights(model, found.tensors["weights"], str(found.path / "weights.safetensors"))
    return folder, task, model.eval()


def load(
    run: str | Path,
    checkpoint: str = "best",
    cell: type[Cell] | None = None,
    *,
    weights: Precision = "float32",
) -> Predictor:
    """A trained model for use, with weights in float32, bfloat16 or int8 (elman.streaming).

    What it can do is its task's (for language models: elman.tasks.language_predictor).
    """
    check_precision(weights)
    _, task, model = load_model(run, checkpoint, cell)
    return task.predictor(model, weights)


def evaluate(
    run: str | Path,
    files: Sequence[str | Path] = (),
    *,
    checkpoint: str = "best",
    cell: type[Cell] | None = None,
    weights: Precision = "float32",
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> dict[str, Any]:
    """The task's figures on `files`, or on the run's own validation data where none are named.

    weights: bfloat16 or int8 measure the model as it streams with such weights. settings: of the search, for
    tasks that have one, in place of the run's, {"search.beam": 1}, or of what is done with data that cannot
    be used, {"data.skip": True}.
    """
    check_precision(weights)
    _, task, model = load_model(run, checkpoint, cell)
    task = _searching(task, settings or {})
    return task.evaluate(model, [str(path) for path in files], progress, weights)


def _searching(task: Task, settings: Mapping[str, Any]) -> Task:
    """The task with other settings of its search; raises ConfigError for any that shaped the model."""
    for key in settings:
        if not key.startswith(SEARCH) and key not in task.reading:
            others = ", ".join((f"those of {SEARCH[:-1]}", *task.reading))
            raise ConfigError(f"{key}: a model that is trained keeps its settings; only {others} can change")
    if settings:
        task.config = make_config(type(task), {**task.config.model_dump(mode="json"), **settings})
    return task
