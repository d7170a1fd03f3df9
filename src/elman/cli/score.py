"""elman score: how far a hypothesis is from its reference."""

from pathlib import Path
from typing import Annotated

import typer

from elman.cli.common import AsJson, say, say_json, say_table
from elman.errors import DataError
from elman.metrics.edits import show
from elman.metrics.error_rate import ErrorRate, Normalisation, Unit, error_rate


def score_command(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="Text file, one reference a line.")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help="Text file, one hypothesis a line.")],
    unit: Annotated[Unit, typer.Option(help="Words, characters, or labels as they are.")] = "word",
    lower: Annotated[bool, typer.Option("--lower", help="Compare without regard to case.")] = False,
    strip_punctuation: Annotated[
        bool, typer.Option("--strip-punctuation", help="Leave punctuation and symbols out.")
    ] = False,
    show_worst: Annotated[
        int, typer.Option("--show", help="Alignments to show, those with the most errors.", min=0)
    ] = 0,
    json: AsJson = False,
) -> None:
    """Word, character or label error rate of one text against another, line by line."""
    references, hypotheses = _lines(reference), _lines(hypothesis)
    if len(references) != len(hypotheses):
        raise DataError(
            f"{hypothesis}: {len(hypotheses)} lines, expected {len(references)} as in {reference}: one for "
            f"each, empty where nothing was recognised"
        )
    found = error_rate(
        references, hypotheses, unit, Normalisation(lower=lower, strip_punctuation=strip_punctuation)
    )
    figures = _figures(found)
    if json:
        say_json(figures)
        return
    say_table(["figure", "value"], [(name.replace("_", " "), value) for name, value in figures.items()])
    worst = sorted(range(len(found.pairs)), key=lambda n: -found.pairs[n].counts.errors)[:show_worst]
    for n in worst:
        pair = found.pairs[n]
        say(f"\nline {n + 1}: {pair.counts.errors} errors")
        say(show(pair.reference, pair.hypothesis, pair.edits))


def _figures(found: ErrorRate) -> dict[str, object]:
    counts = found.counts
    return {
        "error_rate": found.rate, "symbols": counts.symbols, "hits": counts.hits,
        "substitutions": counts.substitutions, "deletions": counts.deletions, "insertions": counts.insertions,
        "sequences": len(found.pairs), "sequence_accuracy": found.sequence_accuracy,
        "signature": found.signature,
    }  # fmt: skip


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text: {error}") from error
