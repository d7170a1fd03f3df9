"""elman plot: how a run learnt, and what its model sees in a text, in an image and in whole files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure

from elman.cli.common import CheckpointName, OwnCell, RunFolder, own_cell, say
from elman.data.sequence_codec import END
from elman.errors import ConfigError, RunError
from elman.metrics.lengths import even_bounds
from elman.metrics.translation import bleu_by_length
from elman.plots.alignment import alignment, join_pieces
from elman.plots.curves import learning_curve
from elman.plots.lengths import length_curve
from elman.plots.overlays import overlays
from elman.plots.style import save
from elman.plots.surprisal import surprisal
from elman.predict import load
from elman.runs import Run
from elman.tasks.base import Predictor
from elman.tasks.captioning_predictor import CaptionPredictor
from elman.tasks.language_predictor import LanguagePredictor
from elman.tasks.pair_task import PairTask, TextPredictor
from elman.tasks.sequence_predictor import SequencePredictor


def plot_command(
    run: RunFolder,
    text: Annotated[
        str | None,
        typer.Option(
            help="Also show how surprising each symbol of this text is to a language model, or where a model "
            "that writes looked in it for each word."
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also show where a captioner looked in this image for each word."),
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Also translate these pairs, a TSV file or two aligned files (--pairs A --pairs B), and "
            "show BLEU by the length of the source.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="RUN/plots if none.")
    ] = None,
    checkpoint: CheckpointName = "best",
    cell: OwnCell = None,
) -> None:
    """Draw the learning curves of a run, and what is asked for besides, as SVG and PNG."""
    folder = Run(run)
    records = folder.records()
    if not records:
        raise RunError(f"{folder.metrics_path}: no record yet; train the run first")
    title, target = folder.path.name, output or folder.path / "plots"
    pictures = {"learning": learning_curve(records, title=title)}
    if text is not None or image is not None or pairs:
        model = load(run, checkpoint, own_cell(cell))
        if text is not None:
            name, picture = _of_text(model, text, title)
            pictures[name] = picture
        if image is not None:
            pictures["overlays"] = _of_image(model, image, title)
        if pairs:
            pictures["lengths"] = _of_pairs(model, pairs, title)
    for name, picture in pictures.items():
        for suffix in ("svg", "png"):
            say(str(save(picture, target / f"{name}.{suffix}")))


def _of_text(model: Predictor, text: str, title: str) -> tuple[str, Figure]:
    """The picture of a text, and its name; ConfigError where the model has none of a text."""
    if isinstance(model, LanguagePredictor):
        score = model.score(text)
        return "surprisal", surprisal(score.symbols, score.log_probs, title=title)
    if not isinstance(model, SequencePredictor):
        raise ConfigError("--text needs a language model, or one that reads a text and writes another")
    shown = model.predict([text], alignment=True)[0]["alignment"]
    if not shown["weights"]:
        raise ConfigError("--text: nothing to read in it; give a text")
    sides = shown["weights"], shown["source"], shown["target"]
    if model.task.target.unit == "subwords":  # shown as the words that they make
        sides = join_pieces(*sides, whole=[END])
    return "alignment", alignment(*sides, title)


def _of_image(model: Predictor, image: Path, title: str) -> Figure:
    """Where a captioner looked; ConfigError for another model."""
    if not isinstance(model, CaptionPredictor):
        raise ConfigError("--image needs a run of the task captioning")
    look = model.look(str(image))
    return overlays(look.image, look.weights, look.words, title)


def _of_pairs(model: Predictor, files: Sequence[str], title: str) -> Figure:
    """BLEU by words of the source; ConfigError for a model that does not go from text to text."""
    if not isinstance(model, TextPredictor):
        raise ConfigError("--pairs needs a model from text to text, as of the task translation")
    task = model.task
    assert isinstance(task, PairTask)
    read = task.read_pairs(task.config, files).pairs
    if not read:
        raise ConfigError(f"--pairs: no pair in {', '.join(files)}")
    sources, references = [pair.source for pair in read], [pair.target for pair in read]
    told = [found["text"] for found in model.predict(sources)]
    lengths = [len(source.split()) for source in sources]
    bounds = even_bounds(lengths)
    bins = bleu_by_length(references, told, lengths, bounds, lowercase=task.config.data.lowercase)
    return length_curve({title: bins}, title)
