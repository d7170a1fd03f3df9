"""Runs the benchmarks one after the other and writes their tables to docs/benchmarks.md.

    python benchmarks/report.py [--only NAME ...] [--data FOLDER] [--run FOLDER]

What is not run again keeps the table that the page has. Rivals are no dependencies of elman: a benchmark
whose rival is not installed says so, and its earlier table stays. The machine should have nothing else to do.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
HERE = Path(__file__).parent


class Benchmark(NamedTuple):
    """A section of the page. needs: modules of rivals.

    arguments: DATA stands for the folder of data sets, RUN for a run of `elman train translation`.
    """

    title: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()


BENCHMARKS = {
    "machine": Benchmark("The machine's limits", ("machine.py",)),
    "training": Benchmark("Training a layer", ("scan_training.py",)),
    "few": Benchmark("Few sequences without gradients", ("scan_inference.py",)),
    "ragged": Benchmark("Training on ragged batches", ("scan_training.py", "--ragged")),
    "bfloat16": Benchmark("Training in bfloat16", ("bfloat16_training.py",)),
    "tokens": Benchmark("Training on symbols", ("token_training.py", "--threads", "2")),
    "cells": Benchmark("Cells that a user writes", ("user_cells.py", "--threads", "2", "--compiled")),
    "language": Benchmark(
        "Updates of a language model",
        ("language_training.py", "DATA/tinyshakespeare/input.txt", "--threads", "2"),
    ),
    "generation": Benchmark("Drawing symbols", ("generation.py", "--threads", "2"), ("onnx", "onnxruntime")),
    "ctc": Benchmark("CTC loss and alignment", ("ctc.py",)),
    "beam": Benchmark("CTC beam search", ("ctc_beam.py",), ("fast_ctc_decode",)),
    "lexicon": Benchmark(
        "CTC beam search with a lexicon and a trigram", ("ctc_beam.py", "--lexicon"), ("flashlight",)
    ),
    "hmm": Benchmark("Hidden Markov models", ("hmm.py",), ("hmmlearn",)),
    "crf": Benchmark("Conditional random fields", ("crf.py",), ("torchcrf",)),
    "translation": Benchmark(
        "Translating",
        (
            "translation.py",
            "RUN",
            "DATA/multi30k/test_2016_flickr.de.gz",
            "--threads",
            "2",
            "--what",
            "decode",
        ),
    ),
    "ngram": Benchmark("N-gram models", ("ngram.py", "--data", "DATA")),
}
HEAD = """# Benchmarks

Written by `make bench` (benchmarks/report.py). Rivals do the same work in turn, round after round; figures
are medians, a ratio is taken within a round and stands with the least and the most of the rounds. Above 1,
elman is the faster. Each section says with what it was taken. What follows from the figures is in
[results.md](results.md).
"""


def sections() -> dict[str, str]:
    """What the page has, by title."""
    if not PAGE.exists():
        return {}
    parts = re.split(r"^## (.*)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def run(benchmark: Benchmark, data: Path | None, own: Path | None) -> str | None:
    """A section's text; None, with the reason told, where it cannot be run here."""
    missing = [name for name in benchmark.needs if importlib.util.find_spec(name) is None]
    if missing:
        print(f"{benchmark.title}: not run, {', '.join(missing)} is not installed", file=sys.stderr)
        return None
    if data is None and any("DATA" in argument for argument in benchmark.arguments):
        print(f"{benchmark.title}: not run, it needs --data or ELMAN_DATA", file=sys.stderr)
        return None
    if own is None and "RUN" in benchmark.arguments:
        print(f"{benchmark.title}: not run, it needs --run", file=sys.stderr)
        return None
    arguments = [str(own) if a == "RUN" else a.replace("DATA", str(data)) for a in benchmark.arguments]
    print(f"{benchmark.title}: {' '.join(arguments)}", file=sys.stderr)
    done = subprocess.run(
        [sys.executable, str(HERE / arguments[0]), *arguments[1:]],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return f"\n    python benchmarks/{' '.join(benchmark.arguments)}\n\n{done.stdout.strip()}\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), default=list(BENCHMARKS))
    parser.add_argument("--data", type=Path, default=os.environ.get("ELMAN_DATA"))
    parser.add_argument("--run", type=Path, help="a run of elman train translation, German to English")
    arguments = parser.parse_args()
    texts = sections()
    for name in arguments.only:
        text = run(BENCHMARKS[name], arguments.data, arguments.run)
        if text is not None:
            texts[BENCHMARKS[name].title] = text
        written = [f"## {b.title}\n{texts[b.title]}" for b in BENCHMARKS.values() if b.title in texts]
        page = re.sub(r"\n{3,}", "\n\n", "\n".join([HEAD, *written])).rstrip()
        PAGE.write_text(page + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
