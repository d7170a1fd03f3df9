"""elman predict: what a model makes of each input; for tasks that write, what it writes."""

import itertools
import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from elman.cli.common import (
    AsJson,
    CheckpointName,
    OwnCell,
    RunFolder,
    WeightsPrecision,
    as_json,
    input_lines,
    own_cell,
    say,
    say_json,
    say_table,
)
from elman.cli.reranking import (
    Candidates,
    LanguageRun,
    LanguageWeight,
    Reranking,
    ReverseRun,
    ReverseWeight,
)
from elman.errors import ConfigError, DataError
from elman.predict import load
from elman.search.sampling import Sampling
from elman.tasks.base import Predictor
from elman.tasks.captioning_predictor import CaptionPredictor
from elman.tasks.dialogue_predictor import DialoguePredictor
from elman.tasks.sequence_predictor import SequencePredictor

OF_TEXTS = ("replace_unknown", "alignment", "stream")
"""Options of models that read a text."""

BATCH = 64
"""Lines of standard input that are answered together, where nobody sits before it."""


def predict_command(
    run: RunFolder,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help="Lines of standard input if none.", show_default=False),
    ] = None,
    best: Annotated[
        int | None, typer.Option(help="How many alternatives to give.", min=1, show_default=False)
    ] = None,
    json: AsJson = False,
    beam: Annotated[
        int | None, typer.Option(help="Beginnings followed at a time.", min=1, show_default=False)
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(help="Divide scores by length to this power.", min=0, show_default=False),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(help="Weight of the penalty for what was not looked at.", min=0, show_default=False),
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Draw in place of searching; 0: greedy.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw among the k likeliest.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw among the likeliest that add up to p.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same.", min=0)] = 0,
    prefix: Annotated[str, typer.Option(help="What is written begins with this.")] = "",
    replace_unknown: Annotated[
        bool, typer.Option("--replace-unknown", help="Write the word looked at for an unknown one.")
    ] = False,
    alignment: Annotated[
        bool, typer.Option("--alignment", help="With --json: where the model looked, symbol by symbol.")
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Write each symbol as soon as it is known.")
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(
            help=f"Lines of standard input answered together; {BATCH}, and 1 on a terminal.",
            min=1,
            show_default=False,
        ),
    ] = None,
    reverse: ReverseRun = None,
    reverse_weight: ReverseWeight = None,
    language: LanguageRun = None,
    language_weight: LanguageWeight = None,
    candidates: Candidates = None,
    checkpoint: CheckpointName = "best",
    cell: OwnCell = None,
    weights: WeightsPrecision = "float32",
) -> None:
    """Say what the model makes of each input.

    A language model scores and ranks texts and foretells the next symbol. A model that translates writes a
    line for each input, in order and as they come; with --best a line "score TAB text" for each alternative,
    with --json an object in each line; one that captions does so for each path, and the path stands first.
    Options from --beam to --batch are for such models; the answers of a dialogue model can be chosen by other
    runs, with --reverse and --language.
    """  # fmt: skip
    drawn = None
    if not temperature is top_k is top_p is None:
        drawn = Sampling(1.0 if temperature is None else temperature, top_k, top_p)
    options = {
        "beam": beam, "alpha": alpha, "coverage": coverage, "sampling": drawn, "seed": seed or None,
        "prefix": prefix or None, "replace_unknown": replace_unknown or None, "alignment": alignment or None,
        "stream": stream or None, "batch": batch,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    model = load(run, checkpoint, own_cell(cell), weights=weights)
    Reranking(reverse, reverse_weight, language, language_weight, candidates).set(model)
    rows = iter(inputs) if inputs else input_lines()
    first = next(rows, None)
    if first is None:
        raise DataError("predict: expected at least one INPUT, as an argument or a line of standard input")
    rows = itertools.chain([first], rows)
    if isinstance(model, SequencePredictor | CaptionPredictor):
        _write(model, rows, best, json, given)
    elif given:
        raise ConfigError(
            f"{_options(given)}: for models that write sequences, and {run} is a language model; leave it out"
        )
    else:
        _tell(model, list(rows), best, json)


def _tell(model: Predictor, inputs: list[str], best: int | None, json: bool) -> None:
    """All inputs at once, in a table: they may be compared with each other."""
    predictions = model.predict(inputs, model.best if best is None else best)
    if json:
        say_json(predictions)
        return
    columns = [key for key in predictions[0] if key != "each"]  # a symbol a row is for JSON and pictures
    say_table(columns, [[_short(prediction[key]) for key in columns] for prediction in predictions])


def _write(
    model: SequencePredictor | CaptionPredictor,
    rows: Iterable[str],
    best: int | None,
    json: bool,
    given: dict[str, Any],
) -> None:
    """What is written for each input, in order, some inputs at a time."""
    if isinstance(model, CaptionPredictor) and (other := [name for name in OF_TEXTS if name in given]):
        raise ConfigError(
            f"{_options(other)}: for models that read a text, and this one reads pictures; leave it out"
        )
    size = given.pop("batch", 1 if sys.stdin.isatty() else BATCH)
    prefix = given.pop("prefix", "")
    if given.pop("stream", False) and isinstance(model, SequencePredictor):
        if json or best or given.keys() - {"sampling", "seed", "replace_unknown"}:
            raise ConfigError("--stream: one text, greedy or drawn; leave --json, --best and the search out")
        if isinstance(model, DialoguePredictor) and model.reranker is not None:
            raise ConfigError(
                "--stream: an answer that is chosen among others is whole; leave one of them out"
            )
        for text in rows:
            for piece in model.stream(text, prefix=prefix, **given):
                say(piece, end="")
            say()
        return
    if given.get("alignment") and not json:
        raise ConfigError("--alignment: it is written with --json only; add that")
    count, rows = 0, iter(rows)

    def answers(texts: list[str], first: int) -> Iterable[dict[str, Any]]:
        prefixes = [prefix] * len(texts) if prefix else None
        return model.predict(texts, best or model.best, prefixes=prefixes, first=first, **given)

    while texts := list(itertools.islice(rows, size)):
        try:
            found = answers(texts, count)
        except DataError:  # one by one, so that those before the one that cannot be read are answered
            found = itertools.chain.from_iterable(
                map(answers, ([text] for text in texts), itertools.count(count))
            )
        for one in found:
            say(as_json(one) if json else model.text(one))
        count += len(texts)


def _options(names: Iterable[str]) -> str:
    """Options as they are typed."""
    return ", ".join("--" + name.replace("_", "-") for name in names)


def _short(value: Any) -> Any:
    """A value for a table: alternatives on one line, symbols that cannot be seen made visible."""
    if isinstance(value, list):
        return ", ".join(" ".join(str(_short(part)) for part in item.values()) for item in value)
    if isinstance(value, float):
        return round(value, 4)
    return {" ": "␣", "\n": "⏎", "\t": "⇥"}.get(value, value)
