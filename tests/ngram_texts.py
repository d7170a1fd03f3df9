"""Small texts for n-gram models, and models of them."""

import random
from collections.abc import Sequence
from pathlib import Path

from elman.search.ngram import NgramModel
from elman.search.ngram_estimate import Report, estimate


def drawn(seed: int, sentences: int = 60, words: int = 12, longest: int = 9) -> list[list[str]]:
    """Sentences whose words follow each other unevenly, so that counts of counts fall as in real text."""
    random_numbers = random.Random(seed)
    rows = []
    for _ in range(sentences):
        row, word = [], random_numbers.randrange(words)
        for _ in range(random_numbers.randrange(longest + 1)):
            step = min(int(random_numbers.expovariate(0.55)), words - 1)
            word = (3 * word + step) % words if random_numbers.random() < 0.8 else step
            row.append(f"w{word}")
        rows.append(row)
    return rows


def write(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    path.write_text("".join(" ".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def model_of(
    folder: Path, rows: Sequence[Sequence[str]], order: int, **options: object
) -> tuple[NgramModel, Report]:
    return estimate([write(folder / "text.txt", rows)], order, **options)  # type: ignore[arg-type]
