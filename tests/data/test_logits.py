"""Cached logits: what is written is read, in both forms, and every fault of a file is told."""

from pathlib import Path

import numpy as np
import pytest
import torch

from elman.data.alphabet import Alphabet
from elman.data.logits import CachedLogits, read_logits, write_logits
from elman.errors import DataError

ALPHABET = Alphabet(["<blank>", "|", "ä", "th"], separator="|")


def cached() -> CachedLogits:
    utterances = [torch.randn(3, 4), torch.randn(0, 4), torch.randn(2, 4)]
    return CachedLogits(utterances, ALPHABET, ("x", "y", "z"), ("ä|th", "", "th"))


def test_both_forms_are_read_as_they_were_written(tmp_path: Path) -> None:
    wanted = cached()
    write_logits(tmp_path / "a.safetensors", wanted)
    np.savez(
        tmp_path / "a.npz",
        logits=torch.cat(list(wanted.utterances)).numpy(),
        lengths=np.array([3, 0, 2]),
        symbols=np.array(ALPHABET.symbols),
        separator="|",
        names=np.array(wanted.names),
        references=np.array(wanted.references),
    )
    for name in ("a.safetensors", "a.npz"):
        found = read_logits(tmp_path / name)
        assert all(torch.equal(a, b) for a, b in zip(found.utterances, wanted.utterances, strict=True))
        assert (found.names, found.references) == (wanted.names, wanted.references)
        assert (found.alphabet.symbols, found.alphabet.separator) == (ALPHABET.symbols, 1)
        (batch,) = found.batches()
        assert batch.data.shape == (3, 3, 4)
        assert batch.lengths.tolist() == [3, 0, 2]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"logits": None}, "expected 'logits' in it; it has lengths, symbols"),
        ({"logits": np.zeros((5, 4, 1), np.float32)}, r"expected floats \(T, C\), got \(5, 4, 1\)"),
        ({"logits": np.zeros((5, 4), np.int64)}, "expected floats"),
        ({"logits": np.array([["x"] * 4] * 5)}, "logits: expected numbers"),
        ({"lengths": np.array([3, 3])}, "add up to 6 frames, but logits has 5"),
        ({"lengths": np.array([-1, 6])}, "integers .* of 0 or more"),
        ({"symbols": np.array(["_", "a"])}, "2 symbols for 4 classes"),
        ({"symbols": np.array(["_", "a", "a", "b"])}, "'a' of class 1 stands twice"),
        ({"symbols": np.array([1, 2, 3, 4])}, "symbols: expected a list of texts"),
        ({"symbols": np.array(["_", "a", "b", "c"], dtype=object)}, "not an .npz file of plain arrays"),
        ({"separator": "|"}, "separator '|' is not one of its symbols"),
        ({"names": np.array(["one"])}, "1 names for 2 utterances"),
    ],
)
def test_faults_are_told(tmp_path: Path, changed: dict, told: str) -> None:
    content = {
        "logits": np.zeros((5, 4), np.float32),
        "lengths": np.array([3, 2]),
        "symbols": np.array(["_", " ", "a", "b"]),
    }
    content = {name: value for name, value in (content | changed).items() if value is not None}
    np.savez(tmp_path / "a.npz", **content)  # pyrefly: ignore[bad-argument-type]
    with pytest.raises(DataError, match=rf"a\.npz: .*{told}"):
        read_logits(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.txt", "none.npz"])
def test_what_is_no_such_file_is_told(tmp_path: Path, name: str) -> None:
    if name.startswith("a"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 and nothing more of it")
    with pytest.raises(DataError, match=name):
        read_logits(tmp_path / name)
