"""Pairs of texts made from the counter: the target is the source with its words reversed, in other words."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from elman import counter

WORDS = ("ein", "roter", "hund", "läuft", "im", "schnee", "und", "zwei", "männer")
OTHERS = ("a", "red", "dog", "runs", "in", "snow", "and", "two", "men")

SETTINGS: dict[str, Any] = {
    "data.unit": "words", "data.vocabulary": 30, "data.valid_fraction": 0.2, "bleu_sentences": 4,
    "model.hidden": 8, "model.embedding": 6, "model.dropout": 0.2,
    "train.updates": 14, "train.tokens": 60, "train.learning_rate": 0.02, "train.warmup": 4,
    "train.save_every": 4, "train.evaluate_every": 6,
}  # fmt: skip
"""A run of a fraction of a second, with all that draws random numbers in use."""


def made_pairs(count: int, key: int = 5) -> list[tuple[str, str]]:
    """Pairs of one to five words."""
    drawn = counter.bits(key, torch.arange(count)[:, None], torch.arange(6)).tolist()
    rows = [[number % 9 for number in row[1 : 2 + row[0] % 5]] for row in drawn]
    return [(" ".join(WORDS[n] for n in row), " ".join(OTHERS[n] for n in reversed(row))) for row in rows]


def write_aligned(folder: Path, pairs: Sequence[tuple[str, str]], name: str = "train") -> tuple[str, str]:
    """NAME.de and NAME.en.gz."""
    left, right = folder / f"{name}.de", folder / f"{name}.en.gz"
    left.write_text("".join(f"{source}\n" for source, _ in pairs), "utf-8")
    right.write_bytes(gzip.compress("".join(f"{target}\n" for _, target in pairs).encode(), mtime=0))
    return str(left), str(right)


def write_table(folder: Path, pairs: Sequence[tuple[str, str]], name: str = "train.tsv") -> str:
    """NAME, a row for each pair."""
    path = folder / name
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), "utf-8")
    return str(path)
