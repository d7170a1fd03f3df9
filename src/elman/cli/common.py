"""What several commands share: options, the two consoles, tables, and a user's own cell."""

import importlib.util
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from elman.cells import Cell
from elman.errors import ConfigError, DataError
from elman.streaming import Precision

errors = Console(stderr=True, highlight=False)
"""Progress and remarks."""

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")]
CheckpointName = Annotated[
    str, typer.Option("--checkpoint", help="best, newest, or the name of a folder in RUN/checkpoints.")
]
WeightsPrecision = Annotated[
    Precision,
    typer.Option("--weights", help="Precision of the weights: int8 and bfloat16 are read faster."),
]
OwnCell = Annotated[
    str | None,
    typer.Option("--cell", metavar="FILE:CLASS", help="The cell of a run that was trained with your own."),
]


def say(text: str = "", end: str = "\n") -> None:
    """Writes a result to standard output at once, as it is; DataError where that is full or gone bad."""
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_output()  # what could not be written would be tried again at the end
        raise DataError(
            f"standard output: cannot be written: {error.strerror or error}; make room, or write elsewhere"
        ) from error


def drop_output() -> None:
    """Lets nothing more come out of standard output: nobody can have it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def input_lines() -> Iterator[str]:
    """The lines of standard input as they come, without a byte order mark before the first.

    Bytes that are not UTF-8 are left to whoever encodes them, who can name the line.
    """
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
    for row, line in enumerate(sys.stdin):
        yield (line if row else line.removeprefix("\ufeff")).rstrip("\n").removesuffix("\r")


def say_json(content: Any) -> None:
    """Writes JSON to standard output."""
    say(as_json(content, indent=1))


def as_json(content: Any, indent: int | None = None) -> str:
    """JSON, in which what is no number is null: NaN and infinities are no JSON."""
    return json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def say_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Writes a table to standard output, numbers to the right."""
    table = Table(
        title=title,
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
        show_header=any(columns),
    )
    rows = [list(row) for row in rows]
    for place, column in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[place], int | float) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*[figure(value) for value in row])
    console = Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())
    with console.capture() as shown:
        console.print(table)
    say(shown.get(), end="")


def figure(value: Any) -> str:
    """A value as people read it: four decimals for fractions, thousands apart."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 1e4 else f"{value:,.0f}"
    return str(value)


def own_cell(name: str | None) -> type[Cell] | None:
    """The class that FILE:CLASS names; the one place where a user's code is run, because the user said so.

    Raises ConfigError naming the file where it cannot be run or has no such cell.
    """
    if name is None:
        return None
    path, _, class_name = name.rpartition(":")
    if not path or not Path(path).is_file():
        raise ConfigError(f"{name}: expected FILE:CLASS, a Python file that is there and a class in it")
    specification = importlib.util.spec_from_file_location(Path(path).stem, path)
    if specification is None or specification.loader is None:
        raise ConfigError(f"{path}: not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{path}: cannot be run: {type(error).__name__}: {error}") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Cell)):
        cells = [
            n for n, value in vars(module).items() if isinstance(value, type) and issubclass(value, Cell)
        ]
        raise ConfigError(
            f"{path}: expected a class {class_name} made from elman.Cell; it has {', '.join(cells) or 'none'}"
        )
    return found
