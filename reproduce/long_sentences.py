"""Long sentences: with attention, and through one vector (Bahdanau, Cho and Bengio 2015, figure 2).

    python reproduce/long_sentences.py make FOLDER    joins pairs: train.tsv, valid.tsv, test1.tsv ...
    python reproduce/long_sentences.py compare FOLDER PICTURE NAME=RUN ...      BLEU of 1 to 5 sentences

Pairs are joined by a space, one to five of them, drawn anew for each row (seed 1); training has as many rows
as Multi30k has pairs, each pair beginning one. The test sets join the 1,000 pairs of test_2016_flickr in
their order, 1, 2, .. 5 at a time: all have the same sentences in them, cut in another way. How much the
search divides scores by length (alpha) is chosen for each run on 300 rows of valid.tsv, from the same values.
Needs ELMAN_DATA and elman[translation]; reproduce/long_sentences.sh runs all of it.
"""

import gzip
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import elman
from elman.data import catalog
from elman.metrics.lengths import Bin
from elman.metrics.translation import bleu, bleu_by_length
from elman.plots import style
from elman.plots.lengths import length_curve

SOURCE, TARGET = "de", "en"
MOST = 5
SEED = 1
"""Of what is joined."""

ALPHAS = (1.0, 1.25, 1.5, 1.75, 2.0)
VALID_ROWS = 300


def pairs(name: str) -> list[tuple[str, str]]:
    """The pairs of a part of Multi30k."""
    folder = catalog.locate("multi30k")
    if folder is None:
        sys.exit("multi30k is not there: set ELMAN_DATA to the folder that has it")
    sides = []
    for language in (SOURCE, TARGET):
        with gzip.open(folder / f"{name}.{language}.gz", "rt", encoding="utf-8") as file:
            sides.append([" ".join(line.split()) for line in file])  # a tab stands within a few
    return list(zip(*sides, strict=True))


def joined(parts: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Some pairs as one."""
    return " ".join(source for source, _ in parts), " ".join(target for _, target in parts)


def drawn(known: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """A row for each pair, which begins it, and none to four others after it."""
    random_ = random.Random(SEED)
    return [joined([pair, *random_.choices(known, k=random_.randrange(MOST))]) for pair in known]


def grouped(known: Sequence[tuple[str, str]], size: int) -> list[tuple[str, str]]:
    """The pairs in their order, `size` at a time."""
    return [joined(known[start : start + size]) for start in range(0, len(known), size)]


def make(folder: Path) -> None:
    """Writes the sets of rows."""
    folder.mkdir(parents=True, exist_ok=True)
    sets = {"train": drawn(pairs("train")), "valid": drawn(pairs("val"))}
    sets |= {f"test{size}": grouped(pairs("test_2016_flickr"), size) for size in range(1, MOST + 1)}
    for name, rows in sets.items():
        text = "".join(f"{source}\t{target}\n" for source, target in rows)
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")


def rows_of(file: Path) -> list[list[str]]:
    """[source, target] of each row."""
    return [line.split("\t") for line in file.read_text("utf-8").splitlines()]


def translated(model: Any, rows: Sequence[Sequence[str]], alpha: float) -> list[str]:
    return [found["text"] for found in model.predict([source for source, _ in rows], alpha=alpha)]


def chosen(model: Any, folder: Path) -> float:
    """The alpha with which a model does best on validation rows."""
    rows = rows_of(folder / "valid.tsv")[:VALID_ROWS]
    references = [target for _, target in rows]
    found = [bleu(references, translated(model, rows, alpha), lowercase=True).value for alpha in ALPHAS]
    return ALPHAS[found.index(max(found))]


def measured(model: Any, folder: Path, alpha: float) -> list[Bin]:
    """BLEU of a model for 1 to 5 sentences joined, lower case, with intervals of resampled rows."""
    sizes: list[int] = []
    told: list[str] = []
    references: list[str] = []
    for size in range(1, MOST + 1):
        rows = rows_of(folder / f"test{size}.tsv")
        told += translated(model, rows, alpha)
        references += [target for _, target in rows]
        sizes += [size] * len(rows)
    return bleu_by_length(references, told, sizes, range(1, MOST + 2), lowercase=True)


def compare(folder: Path, picture: Path, runs: Sequence[str]) -> None:
    """Prints the figures of each run and draws them."""
    systems = {}
    for run in runs:
        name, _, path = run.partition("=")
        model = elman.load(path)
        alpha = chosen(model, folder)
        systems[name] = measured(model, folder, alpha)
        scores = [round(point.score, 2) for point in systems[name]]
        lost = round(scores[0] - min(scores[1:]), 2)
        sys.stdout.write(json.dumps({"system": name, "alpha": alpha, "bleu": scores, "lost": lost}) + "\n")
    figure = length_curve(systems, "Sentences joined, German to English", unit="sentences")
    style.save(figure, picture)


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"] and len(sys.argv) == 3:
        make(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["compare"] and len(sys.argv) > 4:
        compare(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
    else:
        sys.exit(__doc__)
