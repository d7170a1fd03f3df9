"""elman ctc decode, tune: what can be mended is one line and status 2."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from elman.data.alphabet import Alphabet
from elman.data.logits import CachedLogits, write_logits

ALPHABET = Alphabet("_ ab")
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(command: Command) -> Command:
    """Runs `elman ctc ARGUMENTS` in this process: exit status, standard output, standard error."""
    return partial(command, "ctc")


def logits_of(text: str) -> torch.Tensor:
    """A blank after each symbol, all almost sure."""
    path = [c for symbol in ALPHABET.encode(text) for c in (symbol, 0)]
    return torch.nn.functional.one_hot(torch.tensor(path), 4) * 9.0


def write(path: Path, utterances: list[torch.Tensor], references: tuple[str, ...] = ()) -> Path:
    write_logits(path, CachedLogits(utterances, ALPHABET, names=("first", "second"), references=references))
    return path


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """'a ab' and 'b', of which the network says 'b a', the a hardly likelier than a blank."""
    unsure = logits_of("b a")
    unsure[4] = torch.tensor([8.0, 0, 9, 0])
    return write(tmp_path / "cached.safetensors", [logits_of("a ab"), unsure], ("a ab", "b"))


def test_decode_writes_what_was_said(cached: Path, tmp_path: Path, command: Command) -> None:
    status, out, errors = command("decode", cached)
    assert (status, errors) == (0, "")
    rows = [line.split("\t") for line in out.splitlines()]
    assert [(name, text) for name, _, text in rows] == [("first", "a ab"), ("second", "b a")]
    assert all(float(score) < 0 for _, score, _ in rows)
    _, greedy, _ = command("decode", cached, "--greedy")
    assert [line.split("\t")[2] for line in greedy.splitlines()] == ["a ab", "b a"]
    _, mended, _ = command("decode", cached, "--beta", -4)
    assert mended.splitlines()[1].split("\t")[2].strip() == "b"
    words = tmp_path / "words.txt"
    words.write_text("ab\nb\n")
    _, allowed, _ = command("decode", cached, "--lexicon", words, "--best", 2, "--json")
    first, second = json.loads(allowed)
    assert len(second["transcripts"]) == 2
    assert first["transcripts"][0]["words"][-1] == "ab"
    assert {word for one in (*first["transcripts"], *second["transcripts"]) for word in one["words"]} <= {
        "ab",
        "b",
    }
    assert second["transcripts"][0]["symbols"][0] == "b"
    assert second["transcripts"][0]["starts"][0] == 0
    _, hot, _ = command("decode", cached, "--hotword", "b=3", "--beta", -4)
    bonus = [float(text.splitlines()[1].split("\t")[1]) for text in (mended, hot)]
    assert bonus[1] - bonus[0] == pytest.approx(3, abs=1e-3)


def test_tune_finds_the_beta_that_mends_the_errors(cached: Path, command: Command) -> None:
    status, out, errors = command("tune", cached, "--betas", -12, 4, "--json")
    trials = json.loads(out)
    assert status == 0
    assert errors.count("\n") == len(trials)
    assert trials[0]["rate"] == 0
    assert trials[0]["beta"] < -1
    assert next(trial for trial in trials if trial["beta"] == 0)["rate"] == pytest.approx(1 / 3)
    assert float(command("tune", cached, "--betas", -12, 4)[1].splitlines()[-1].split()[-1]) == 0


@pytest.mark.parametrize("name", ["decode", "tune"])
def test_what_can_be_mended_is_one_line_and_status_2(
    name: str, cached: Path, tmp_path: Path, command: Command
) -> None:
    def told(text: str, *arguments: object) -> None:
        status, out, errors = command(name, *arguments)
        assert (status, out, errors.count("\n")) == (2, "", 1)
        assert text in errors

    told("no such file", tmp_path / "nowhere.npz")
    wrong = tmp_path / "wrong.safetensors"
    other = CachedLogits([torch.zeros(2, 4)], Alphabet("_ a"), references=("a",))
    write_logits(wrong, other)
    told("3 symbols for 4 classes", wrong)
    bad = logits_of("b")
    bad[1, 2] = math.nan
    told("frame 1", write(tmp_path / "nan.safetensors", [logits_of("a"), bad], ("a", "b")))
    words = tmp_path / "words.txt"
    words.write_text("ab\nax\n")
    told("'x'", cached, "--lexicon", words)
    told("no such file", cached, "--lexicon", tmp_path / "none.txt")
    told("--units letters", cached, "--model", tmp_path, "--units", "letters")
    told("--hotword b=much", cached, "--hotword", "b=much")
    if name == "tune":
        told("no references", write(tmp_path / "bare.safetensors", [logits_of("a"), logits_of("b")]))
