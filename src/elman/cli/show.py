"""elman info, settings: what a run folder holds, and what a task can be told."""

from typing import Annotated, Any

import typer

from elman.cli.common import AsJson, RunFolder, say_json, say_table
from elman.runs import Run
from elman.tasks import TASKS, find_task
from elman.tasks.config import settings_table


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
