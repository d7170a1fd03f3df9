"""elman ngram: n-gram models made from text, measured, looked at, turned into other forms, and let write."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress as Bar
from rich.progress import TaskID, TextColumn

from elman.cli.common import AsJson, errors, say, say_json, say_table
from elman.errors import ConfigError
from elman.search.ngram import MAX_ORDER, UNITS, NgramModel, Unit, total
from elman.search.ngram_estimate import MEMORY, Report, estimate
from elman.search.ngram_files import check_place, load_ngram, save_ngram
from elman.search.ngram_text import Progress, read_pieces
from elman.search.sampling import Sampling

app = typer.Typer(help="N-gram models: train on text, score, convert, generate.", no_args_is_help=True)

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A binary or ARPA file.", show_default=False)]
Texts = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Text, plain or gzip.", show_default=False)
]
UnitOption = Annotated[
    str, typer.Option(help="What a symbol is: words, or characters. A binary model knows it.")
]
UNITS_OF_MEMORY = {"K": 10, "M": 20, "G": 30}
QUIET_SECONDS = 10
"""Between two plain lines, where there is no terminal."""


@app.command("train")
def train_command(
    files: Texts,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="MODEL",
            help="MODEL.arpa and MODEL.arpa.gz are ARPA, all else binary.",
            show_default=False,
        ),
    ],
    order: Annotated[int, typer.Option(help="Words of the longest n-grams.", min=1, max=MAX_ORDER)] = 3,
    unit: UnitOption = "words",
    vocabulary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The words to know, between white space.")
    ] = None,
    vocabulary_size: Annotated[
        int | None, typer.Option(help="Know only so many words, the most frequent.", min=1)
    ] = None,
    minimum_count: Annotated[int, typer.Option(help="Know only words seen so often.", min=1)] = 1,
    prune: Annotated[
        str,
        typer.Option(metavar="'0 0 1'", help="Leave out n-grams seen at most so often; a number an order."),
    ] = "0",
    entropy: Annotated[
        float,
        typer.Option(help="Leave out n-grams whose loss raises the perplexity by less than this share."),
    ] = 0.0,
    memory: Annotated[
        str, typer.Option(help="For counts, as 512M or 2G; what does not fit is sorted on disk.")
    ] = f"{MEMORY >> 30}G",
    json: AsJson = False,
) -> None:
    """Estimate a model by interpolated modified Kneser-Ney smoothing. Every line is a sentence."""
    begin = time.perf_counter()
    check_place(output)
    words = None
    if vocabulary is not None:
        words = b"".join(read_pieces(vocabulary)).decode().split()
    with _progress() as progress:
        model, report = estimate(
            files, order, unit=_unit(unit), vocabulary=words, vocabulary_size=vocabulary_size,
            minimum_count=minimum_count, prune=_thresholds(prune), entropy=entropy, memory=_memory(memory),
            progress=progress,
        )  # fmt: skip
        save_ngram(model, output, progress)
    seconds = time.perf_counter() - begin
    for remark in report.remarks():
        errors.print(f"remark: {remark}", markup=False, soft_wrap=True)
    _say_training(output, model, report, seconds, json)


@app.command("score")
def score_command(
    model: Model,
    files: Texts,
    unit: UnitOption = "words",
    sentences: Annotated[bool, typer.Option("--sentences", help="A line for each sentence.")] = False,
    json: AsJson = False,
) -> None:
    """Measure a model on text: log probability, perplexity with and without unknown words."""
    with _progress() as progress:
        read = load_ngram(model, _unit(unit), progress).model
    if sentences:
        for path in files:
            for score in read.sentences([path]):
                row = [score.log_prob, score.words, score.unknown]
                say("\t".join(map(str, row)))
        return
    text = total(read.sentences(files))
    figures = {
        "sentences": text.sentences,
        "words": text.words,
        "unknown": text.unknown,
        "log_prob": text.log_prob,
        "perplexity": text.perplexity,
        "perplexity_known": text.perplexity_known,
        "bits_per_character": text.bits_per_character,
    }
    if json:
        say_json(figures)
    else:
        say_table(["figure", "value"], [(name.replace("_", " "), value) for name, value in figures.items()])


@app.command("info")
def info_command(model: Model, unit: UnitOption = "words", json: AsJson = False) -> None:
    """Tell what a model holds, how large it is, and how long it takes to open."""
    with _progress() as progress:
        read = load_ngram(model, _unit(unit), progress)
    content: dict[str, Any] = {
        "model": str(model),
        "form": read.form,
        "unit": read.model.unit,
        "order": read.model.order,
        "vocabulary": len(read.model.vocabulary),
        **{f"{n}-grams": count for n, count in enumerate(read.model.counts, 1)},
        "file_bytes": model.stat().st_size,
        "memory_bytes": read.model.size,
        "seconds_to_open": read.seconds,
    }
    _say_remarks(read.remarks)
    if json:
        say_json(content)
    else:
        say_table(["", ""], [(name.replace("_", " "), value) for name, value in content.items()])


@app.command("convert")
def convert_command(
    model: Model,
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The other form.", show_default=False)],
    unit: UnitOption = "words",
) -> None:
    """Turn an ARPA file into a binary one, or back."""
    with _progress() as progress:
        read = load_ngram(model, _unit(unit), progress)
        save_ngram(read.model, output, progress)
    _say_remarks(read.remarks)
    say(str(output))


@app.command("generate")
def generate_command(
    model: Model,
    count: Annotated[int, typer.Option(help="Sentences.", min=1)] = 5,
    temperature: Annotated[
        float, typer.Option(help="0: always the likeliest; 1: as the model expects.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed writes the same text.", min=0)] = 0,
    unit: UnitOption = "words",
) -> None:
    """Write sentences drawn from a model."""
    with _progress() as progress:
        read = load_ngram(model, _unit(unit), progress).model
    for number in range(count):
        say(read.generate(sampling=Sampling(temperature), seed=seed + number))


@contextmanager
def _progress() -> Iterator[Progress]:
    """Shows the stage of long work and its share: a bar, or lines where there is no terminal."""
    if not errors.is_terminal:
        yield _Lines()
        return
    with Bar(
        *Bar.get_default_columns(), TextColumn("{task.fields[rate]}"), console=errors, transient=True
    ) as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, share: float, rate: str) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=1.0, rate="")
            bar.update(tasks[what], completed=share, rate=rate)

        yield show


class _Lines:
    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, what: str, share: float, rate: str) -> None:
        if time.monotonic() - self._said >= QUIET_SECONDS:
            self._said = time.monotonic()
            errors.print(f"{what}: {share:.0%}  {rate}", markup=False, soft_wrap=True)


def _say_training(output: Path, model: NgramModel, report: Report, seconds: float, json: bool) -> None:
    content: dict[str, Any] = {
        "model": str(output),
        "sentences": report.sentences,
        "words": report.words,
        "unknown": report.unknown,
        "vocabulary": report.vocabulary,
        "sorted_on_disk": report.runs,
        "file_bytes": output.stat().st_size,
        "seconds": seconds,
        "words_per_second": report.words / seconds,
    }
    rows = [
        (n, order.found, order.kept, model.counts[n - 1], *order.discounts)
        for n, order in enumerate(report.orders, 1)
    ]
    columns = ["order", "found", "after_counts", "written", "discount_1", "discount_2", "discount_3"]
    if json:
        orders = [dict(zip(columns, row, strict=True)) for row in rows]
        say_json({**content, "orders": orders, "remarks": report.remarks()})
        return
    say_table(["", ""], [(name.replace("_", " "), value) for name, value in content.items()])
    say()
    say_table([column.replace("_", " ") for column in columns], rows)


def _say_remarks(remarks: list[str]) -> None:
    for remark in remarks:
        errors.print(f"remark: {remark}", markup=False, soft_wrap=True)


def _unit(name: str) -> Unit:
    if name not in UNITS:
        raise ConfigError(f"--unit: expected {' or '.join(UNITS)}, got {name!r}")
    return name


def _thresholds(text: str) -> list[int]:
    fields = text.replace(",", " ").split()
    if not all(field.isdecimal() for field in fields):
        raise ConfigError(f"--prune: expected counts, as in '0 0 1', got {text!r}")
    return [int(field) for field in fields]


def _memory(text: str) -> int:
    number, letter = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    if not number.isdecimal() or letter not in ("", *UNITS_OF_MEMORY):
        raise ConfigError(f"--memory: expected bytes, or a number and K, M or G as in 2G, got {text!r}")
    return int(number) << UNITS_OF_MEMORY.get(letter, 0)
