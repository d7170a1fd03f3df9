"""Training on the screen: a bar with rate and time left, or plain lines where there is no terminal."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from elman.runs import Run
from elman.train import Reporter

QUIET_SECONDS = 10
"""Between two plain lines."""


class Screen(Reporter):
    """Writes to `console` (standard error). Use it as a context, so that the bar is put away at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._updates = 0
        self._began = (0.0, 0, 0)
        self._said = 0.0

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def started(self, run: Run, update: int, updates: int, description: str) -> None:
        where = f"going on after update {update:,}" if update else "from the start"
        self._console.print(f"{run.path}: {description}; {where}", markup=False, soft_wrap=True)
        self._updates = updates
        self._began = (time.monotonic(), update, -1)
        if not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            expand=True,
        )
        self._task = self._bar.add_task("updates", total=updates, completed=update, figures="")
        self._bar.start()

    def updated(self, record: Mapping[str, Any]) -> None:
        start, update, symbols = self._began
        if symbols < 0:  # the first update also warms up; the rate is counted from its end
            self._began = (time.monotonic(), record["update"], record["symbols"])
            start, update, symbols = self._began
        passed = time.monotonic() - start
        rate = (record["symbols"] - symbols) / passed if passed > 0 else 0.0
        figures = f"loss {record['smoothed']:.3f}  {rate:,.0f} symbols/s"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=record["update"], figures=figures)
        elif time.monotonic() - self._said >= QUIET_SECONDS or record["update"] == self._updates:
            self._said = time.monotonic()
            done = record["update"] - update
            left = f", {_clock((self._updates - record['update']) * passed / done)} left" if done else ""
            self._print(f"update {record['update']:,} of {self._updates:,}  {figures}{left}")

    def validating(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, figures="validating")

    def validated(self, record: Mapping[str, Any]) -> None:
        shown = "  ".join(
            f"{name.replace('_', ' ')} {record[name]:.4f}"
            for name in ("nats", "bits", "perplexity", "stateful_nats", "bleu")
            if name in record
        )
        self._print(f"update {record['update']:,}  valid: {shown or 'no validation data'}")

    def saved(self, path: Path) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, figures=f"saved {path.name}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    """h:mm:ss"""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"
