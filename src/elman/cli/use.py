"""elman evaluate, generate: a trained model in use."""

from typing import Annotated, Any

import typer
from rich.progress import Progress

from elman.cli.common import (
    AsJson,
    CheckpointName,
    OwnCell,
    RunFolder,
    WeightsPrecision,
    errors,
    own_cell,
    say,
    say_json,
    say_table,
)
from elman.errors import ConfigError
from elman.predict import evaluate, load
from elman.tasks.config import parse_setting
from elman.tasks.language_predictor import COMPLETION_STOPS, LanguagePredictor


def evaluate_command(
    run: RunFolder,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="The run's validation data if none.", show_default=False),
    ] = None,
    json: AsJson = False,
    checkpoint: CheckpointName = "best",
    cell: OwnCell = None,
    weights: WeightsPrecision = "float32",
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            "--set",
            metavar="KEY=VALUE",
            help="A setting of the search, as search.beam=1, or of what is left out, as data.skip=true.",
        ),
    ] = None,
) -> None:
    """Measure a model on files, or on the validation data of its run."""
    with Progress(console=errors, transient=True) as bar:
        task = bar.add_task("evaluating", total=1.0)
        figures = evaluate(
            run, files or [], checkpoint=checkpoint, cell=own_cell(cell), weights=weights,
            settings=dict(parse_setting(text) for text in setting or []),
            progress=lambda fraction: bar.update(task, completed=fraction),
        )  # fmt: skip
    if json:
        say_json(figures)
    else:
        say_table(["figure", "value"], [(name.replace("_", " "), value) for name, value in figures.items()])


def generate_command(
    run: RunFolder,
    prompt: Annotated[str, typer.Option(help="The text to go on with; empty: from nothing.")] = "",
    length: Annotated[int, typer.Option(help="Symbols to write, at most.", min=0)] = 500,
    temperature: Annotated[
        float, typer.Option(help="0: always the likeliest; 1: as the model expects.")
    ] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Choose among the k likeliest.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Choose among the likeliest that add up to p.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed writes the same text.", min=0)] = 0,
    stop: Annotated[
        list[str] | None, typer.Option(help="End after this text (\\n: a line's end); may be repeated.")
    ] = None,
    best: Annotated[
        int | None, typer.Option(help="In place of one drawn text, the likeliest completions.", min=1)
    ] = None,
    json: AsJson = False,
    checkpoint: CheckpointName = "best",
    cell: OwnCell = None,
    weights: WeightsPrecision = "float32",
) -> None:
    """Write text with a language model: the prompt and what follows it."""
    model = load(run, checkpoint, own_cell(cell), weights=weights)
    if not isinstance(model, LanguagePredictor):
        raise ConfigError(f"{run}: this run is not of a language model; use elman predict {run} INPUT...")
    stops = [text.replace("\\n", "\n").replace("\\t", "\t") for text in stop or []]
    if best is not None:
        found = model.complete(prompt, best=best, length=length, stop=stops or COMPLETION_STOPS)
        rows = [{"text": item.text, "log_prob": item.log_prob} for item in found]
        if json:
            say_json(rows)
        else:
            shown = [(row["log_prob"], (prompt + row["text"]).replace("\n", "⏎")) for row in rows]
            say_table(["log_prob", "completion"], shown)
        return
    options: dict[str, Any] = {
        "length": length,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
        "stop": stops,
    }
    if json:
        made = model.generate(prompt, **options)
        say_json({"prompt": prompt, "text": made.text, "ids": made.ids, "log_probs": made.log_probs})
        return
    pieces = model.stream(prompt, **options)
    first = next(pieces, "")  # before anything is said: a prompt that cannot be read is an error
    say(prompt + first, end="")
    for piece in pieces:
        say(piece, end="")
    say()
