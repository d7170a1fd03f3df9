"""elman ctc: what can be said about data for CTC before a model is trained."""

from pathlib import Path
from typing import Annotated

import typer

from elman.cli import ctc_decoding
from elman.cli.common import say
from elman.errors import DataError
from elman.lattice.ctc_check import check_file

app = typer.Typer(help="Connectionist temporal classification.", no_args_is_help=True)
app.command("decode")(ctc_decoding.decode_command)
app.command("tune")(ctc_decoding.tune_command)


@app.command("check")
def check_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="*.jsonl or *.tsv", show_default=False)
    ],
    classes: Annotated[
        int | None, typer.Option(help="Classes with the blank; ids of targets are held against it.")
    ] = None,
) -> None:
    """Find the targets that CTC cannot reach: too few frames once repeats are counted, labels out of range.

    A line of a file is {"frames": 240, "target": "hello"} in *.jsonl (or a list of ids as the target), and
    240 <tab> hello in *.tsv. Every such line is named; the exit status is 2 where there is one.
    """
    examples = bad = 0
    for path in files:
        report = check_file(path, classes)
        for line, message in report.problems:
            say(f"{path}:{line}: {message}")
        examples += report.examples
        bad += len(report.problems)
    if bad:
        raise DataError(
            f"{bad:,} of {examples:,} targets cannot be reached; leave them out or shorten time less"
        )
    say(f"{examples:,} targets can be reached")
