"""elman info, plot, doctor: look at a run, and at the machine."""

import os
import platform
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from elman import kernels
from elman.cells import CELLS
from elman.cli.common import AsJson, CheckpointName, OwnCell, RunFolder, own_cell, say, say_json, say_table
from elman.errors import ConfigError, RunError
from elman.plots.curves import learning_curve
from elman.plots.style import save
from elman.plots.surprisal import surprisal
from elman.predict import load
from elman.runs import Run
from elman.scan import choose
from elman.streaming import choose_streams
from elman.tasks import TASKS, find_task
from elman.tasks.config import settings_table
from elman.tasks.language_predictor import LanguagePredictor
from elman.train.memory import GIB, available_memory

OTHER_FORMS: list[tuple[str, dict[str, Any]]] = [
    ("elman", {"nonlinearity": "sigmoid"}),
    ("gru", {"reset": "before"}),
    ("gru", {"update": "write"}),
    ("lstm", {"peepholes": True}),
    ("lstm", {"projection": 1}),
]
"""What `elman doctor` shows beside each cell with its defaults: forms that may be computed in another way."""


def info_command(run: RunFolder, json: AsJson = False) -> None:
    """Tell what a run folder holds: task, settings, data, progress, checkpoints."""
    folder = Run(run)
    records = folder.records()
    trained = [record for record in records if record["kind"] == "train"]
    valid = [record for record in records if record["kind"] == "valid" and "nats" in record]
    best = folder.best()
    content: dict[str, Any] = {
        "run": str(run),
        **{key: folder.description[key] for key in ("task", "created", "elman")},
        "updates": trained[-1]["update"] if trained else 0,
        "of": folder.description["config"]["train"]["updates"],
        "seconds": trained[-1]["seconds"] if trained else 0.0,
        "loss": trained[-1]["smoothed"] if trained else None,
        "valid": valid[-1]["nats"] if valid else None,
        "best": best.name if best else None,
        "checkpoints": [path.name for path in folder.checkpoints()],
        "weights": _weights(folder) if folder.checkpoints() else None,
        "files": folder.description["files"],
        "config": folder.description["config"],
    }
    if json:
        say_json(content)
        return
    tables = ("files", "config", "checkpoints")
    say_table(["", ""], [(key, value) for key, value in content.items() if key not in tables])
    say_table(["", ""], [("checkpoints", ", ".join(content["checkpoints"]) or "none")])
    say_table(
        ["file", "bytes", "sha256"],
        [(f["path"], f["size"], f["sha256"][:16]) for f in content["files"]],
        title="\nfiles",
    )
    say_table(["setting", "value"], list(_flat(content["config"])), title="\nsettings")


def plot_command(
    run: RunFolder,
    text: Annotated[
        str | None, typer.Option(help="Also show how surprising each symbol of this text is.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="RUN/plots if none.")
    ] = None,
    checkpoint: CheckpointName = "best",
    cell: OwnCell = None,
) -> None:
    """Draw the learning curves of a run, as SVG and PNG."""
    folder = Run(run)
    records = folder.records()
    if not records:
        raise RunError(f"{folder.metrics_path}: no record yet; train the run first")
    target = output or folder.path / "plots"
    pictures = {"learning": learning_curve(records, title=folder.path.name)}
    if text is not None:
        model = load(run, checkpoint, own_cell(cell))
        if not isinstance(model, LanguagePredictor):
            raise ConfigError(f"{run}: --text needs a language model")
        score = model.score(text)
        pictures["surprisal"] = surprisal(score.symbols, score.log_probs, title=folder.path.name)
    for name, picture in pictures.items():
        for suffix in ("svg", "png"):
            say(str(save(picture, target / f"{name}.{suffix}")))


def settings_command(
    task: Annotated[str, typer.Argument(help=f"One of {', '.join(TASKS)}.", show_default=False)],
    json: AsJson = False,
) -> None:
    """List the settings of a task, for -s KEY=VALUE or a TOML file: key, default, meaning."""
    rows = settings_table(find_task(task))
    if json:
        say_json([dict(zip(("key", "default", "meaning"), row, strict=True)) for row in rows])
    else:
        say_table(["setting", "default", "meaning"], rows)


def doctor_command(json: AsJson = False) -> None:
    """Tell how this machine computes: versions, threads, instruction sets, each cell's path and why."""
    free = available_memory()
    content: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "free memory": f"{free / GIB:.1f} GiB" if free is not None else "unknown: no /proc/meminfo here",
        "native module": kernels.native_status(),
        "instruction sets": ", ".join(kernels.instruction_sets()) or "unknown without the native module",
        "bfloat16": "computed by the processor"
        if torch.ops.mkldnn._is_mkldnn_bf16_supported()
        else "emulated, slower than float32",
        kernels.VARIABLE: kernels.mode(),
        "ELMAN_DATA": os.environ.get("ELMAN_DATA", "not set"),
    }
    paths = []
    forms = [(name, {}) for name in CELLS] + OTHER_FORMS
    for name, options in forms:
        cell = CELLS[name](2, 2, **options)
        choice = choose(cell)
        shown = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
        paths.append({"cell": shown, "path": choice.path, "reason": choice.reason})
        paths[-1]["streams"] = choose_streams(cell).path
    if json:
        say_json({**content, "cells": paths})
        return
    say_table(["", ""], list(content.items()))
    say_table(["cell", "path", "reason", "streams"], [tuple(row.values()) for row in paths], title="\ncells")


def _weights(folder: Run) -> int:
    return sum(tensor.numel() for tensor in folder.load("newest").tensors["weights"].values())


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in tree.items():
        rows += (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, dict) and value
            else [(prefix + key, str(value))]
        )
    return rows
