"""elman train"""

import signal
from pathlib import Path
from typing import Annotated

import typer

from elman.cli.common import OwnCell, errors, own_cell
from elman.cli.progress import Screen
from elman.errors import ConfigError
from elman.runs import Run
from elman.tasks import TASKS
from elman.tasks.config import OWN_CODE, parse_setting
from elman.train import train


def train_command(
    task: Annotated[str, typer.Argument(help=f"One of {', '.join(TASKS)}.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="RUN", help="The run folder to make, or to resume.", show_default=False
        ),
    ],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE...", help="What to train on.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", metavar="TOML", help="A file of settings.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "-s", "--set", metavar="KEY=VALUE", help="A setting, as model.hidden=512; may be repeated."
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Settings that go by a name, as min-char-rnn.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so long, saved; the schedule counts updates.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run from its newest checkpoint.")
    ] = False,
    cell: OwnCell = None,
) -> None:
    """Train a model on files of your own.

    Defaults < --preset < --config < --set. Ctrl-C or SIGTERM saves and stops; --resume goes on exactly where
    it was.
    """
    settings = dict(parse_setting(text) for text in setting or [])
    named = settings.get(OWN_CODE)
    if isinstance(named, str) and ":" in named:
        if cell is not None and cell != named:
            raise ConfigError(f"-s {OWN_CODE}={named} and --cell {cell} differ; give one of them")
        cell = named
    with Screen(errors) as screen:
        result = train(
            task, files or [], output, settings, preset=preset, config=config, minutes=minutes, resume=resume,
            cell=own_cell(cell), reporter=screen,
        )  # fmt: skip
    if result.reason == "finished":
        best = Run(result.run).best()
        errors.print(
            f"finished after {result.update:,} updates" + (f"; best: {best.name}" if best else ""),
            markup=False,
            soft_wrap=True,
        )
        return
    reason = {"minutes": f"stopped after {minutes} minutes"}.get(result.reason, f"stopped by {result.reason}")
    errors.print(
        f"{reason}, saved after update {result.update:,}; go on with: elman train {task} -o {result.run} "
        "--resume",
        markup=False,
        soft_wrap=True,
    )
    if result.reason != "minutes":
        raise typer.Exit(128 + signal.Signals[result.reason])
