"""elman data: the catalogue of data sets. Listing reads nothing and fetches nothing; only `get` downloads."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import DownloadColumn, Progress

from elman.cli.common import AsJson, errors, say, say_json, say_table
from elman.data.catalog import Entry, entries, find, get, locate

app = typer.Typer(help="The catalogue of data sets, and where yours are.", no_args_is_help=True)


@app.command("list")
def list_command(json: AsJson = False) -> None:
    """List the data sets, their sizes and where they are here; licences and addresses with --json."""
    rows = [_row(entry) for entry in entries()]
    if json:
        say_json(rows)
    else:
        columns = ["name", "title", "size", "here"]  # licence and address: --json, or docs/data.md
        say_table(columns, [[row[column] for column in columns] for row in rows])


@app.command("get")
def get_command(
    name: Annotated[str, typer.Argument(help="A name from `elman data list`.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="Where to put it.")
    ] = None,
    accept_unverified: Annotated[
        bool, typer.Option("--accept-unverified", help="Keep a file whose official checksum is not known.")
    ] = False,
) -> None:
    """Print the folder of a data set.

    Download it first, from its official address, where it is not here yet.
    """
    entry = find(name)
    with Progress(*Progress.get_default_columns(), DownloadColumn(), console=errors, transient=True) as bar:
        task = bar.add_task(entry.name, total=None)
        folder = get(
            name,
            output,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            accept_unverified=accept_unverified,
        )
    say(str(folder))


def _row(entry: Entry) -> dict[str, str]:
    place = locate(entry.name)
    sizes = [file.size for file in entry.files]
    known = [size for size in sizes if size is not None]
    return {
        "name": entry.name,
        "title": entry.title,
        "size": f"{sum(known) / 1e6:.1f} MB" if known and len(known) == len(sizes) else "unknown",
        "licence": entry.licence,
        "here": str(place) if place else "-",
        "source": entry.source,
    }
