"""elman doctor: how this machine computes, and how a cell is computed on it."""

import os
import platform
from typing import Annotated, Any

import torch
import typer

from elman import kernels
from elman.attention import ATTENTIONS
from elman.cells import CELLS, Cell
from elman.cells.decoder import AttentionCell
from elman.cli.common import AsJson, own_cell, say, say_json, say_table
from elman.errors import ConfigError
from elman.models.writing import choose_steps
from elman.native_path import program
from elman.scan import choose
from elman.streaming import choose_streams
from elman.train.memory import GIB, available_memory

OTHER_FORMS: list[tuple[str, dict[str, Any]]] = [
    ("elman", {"nonlinearity": "sigmoid"}),
    ("gru", {"reset": "before"}),
    ("gru", {"update": "write"}),
    ("lstm", {"peepholes": True}),
    ("lstm", {"projection": 1}),
]
"""What `elman doctor` shows beside each cell with its defaults: forms that may be computed in another way."""

SIZES = (3, 4)
"""Input and hidden units of a cell that is shown."""


def doctor_command(
    cell: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|NAME+ATTENTION|FILE:CLASS",
            help="Show how this cell is computed: its stages and programs. lstm+additive: attending.",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Tell how this machine computes: versions, threads, instruction sets, each cell's path and why."""
    if cell is None:
        _machine(json)
    else:
        _cell(cell, json)


def _machine(json: bool) -> None:
    content = _facts()
    paths = []
    cells = [(name, CELLS[name](2, 2)) for name in CELLS]
    for name, options in OTHER_FORMS:
        shown = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
        cells.append((shown, CELLS[name](2, 2, **options)))
    cells += [(name, _made(name)) for name in (f"lstm+{attention}" for attention in ATTENTIONS)]
    for shown, cell in cells:
        choice = choose(cell)
        paths.append({"cell": shown, "path": choice.path, "reason": choice.reason})
        paths[-1]["streams"] = choose_streams(cell).path
        paths[-1]["searches"] = choose_steps(cell).path
    if json:
        say_json({**content, "cells": paths})
        return
    say_table(["", ""], list(content.items()))
    columns = ["cell", "path", "reason", "streams", "searches"]
    say_table(columns, [tuple(row.values()) for row in paths], title="\ncells")


def _facts() -> dict[str, Any]:
    free = available_memory()
    native = kernels.native_available()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "free memory": f"{free / GIB:.1f} GiB" if free is not None else "unknown: no /proc/meminfo here",
        "native module": kernels.native_status(),
        "instruction sets": ", ".join(kernels.instruction_sets()) or "unknown without the native module",
        "kernels for": kernels.instructions() if native else "none without the native module",
        "bfloat16": "computed by the processor"
        if torch.ops.mkldnn._is_mkldnn_bf16_supported()
        else "emulated, slower than float32",
        kernels.VARIABLE: kernels.mode(),
        "ELMAN_DATA": os.environ.get("ELMAN_DATA", "not set"),
    }


def _cell(name: str, json: bool) -> None:
    made = _made(name)
    choice = choose(made)
    lines, reason = program(made)
    facts = {
        "cell": f"{type(made).__name__}, {SIZES[0]} inputs, {SIZES[1]} hidden units",
        "path": choice.path,
        "reason": choice.reason,
        "native engine": "can run it" if reason is None else f"cannot: {reason}",
    }
    if json:
        say_json({**facts, "program": lines})
        return
    say_table(["", ""], list(facts.items()))
    say("\n".join(["", *lines]) if lines else "")


def _made(name: str) -> Cell:
    inner, _, attention = name.partition("+")
    if inner in CELLS and attention in ATTENTIONS:
        decoder = AttentionCell([CELLS[inner](*SIZES)], ATTENTIONS[attention](SIZES[1], SIZES[1]))
        return decoder.bind(torch.zeros(2, 1, SIZES[1]))
    kind = CELLS.get(name) or (own_cell(name) if ":" in name else None)
    if kind is None:
        raise ConfigError(
            f"--cell: expected one of {', '.join(CELLS)}, one of them that attends (lstm+additive; by "
            f"{', '.join(ATTENTIONS)}), or FILE:CLASS, got {name!r}"
        )
    try:
        return kind(*SIZES)
    except TypeError as error:
        raise ConfigError(f"{name}: expected {kind.__name__}(input_size, hidden_size): {error}") from error
