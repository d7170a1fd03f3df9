"""elman info, plot, settings: look at a run, and at what a task can be told."""

from pathlib import Path
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure

from elman.cli.common import AsJson, CheckpointName, OwnCell, RunFolder, own_cell, say, say_json, say_table
from elman.data.sequence_codec import END
from elman.errors import ConfigError, RunError
from elman.plots.alignment import alignment, join_pieces
from elman.plots.curves import learning_curve
from elman.plots.style import save
from elman.plots.surprisal import surprisal
from elman.predict import load
from elman.runs import Run
from elman.tasks import TASKS, find_task
from elman.tasks.base import Predictor
from elman.tasks.config import settings_table
from elman.tasks.language_predictor import LanguagePredictor
from elman.tasks.sequence_predictor import SequencePredictor


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
        str | None,
        typer.Option(
            help="Also show how surprising each symbol of this text is to a language model, or where a model "
            "that writes looked in it for each word."
        ),
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
        name, picture = _picture(model, text, folder.path.name)
        pictures[name] = picture
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


def _picture(model: Predictor, text: str, title: str) -> tuple[str, Figure]:
    """The picture of a text, and its name; ConfigError where the model has none of a text."""
    if isinstance(model, LanguagePredictor):
        score = model.score(text)
        return "surprisal", surprisal(score.symbols, score.log_probs, title=title)
    if not isinstance(model, SequencePredictor):
        raise ConfigError("--text needs a language model, or one that reads a text and writes another")
    shown = model.predict([text], alignment=True)[0]["alignment"]
    if not shown["weights"]:
        raise ConfigError("--text: nothing to read in it; give a text")
    sides = shown["weights"], shown["source"], shown["target"]
    if model.task.target.unit == "subwords":  # shown as the words that they make
        sides = join_pieces(*sides, whole=[END])
    return "alignment", alignment(*sides, title)


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
