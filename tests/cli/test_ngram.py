"""elman ngram: train, score, info, convert, generate; what can be mended is one line and status 2."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from elman.kernels import native_available
from elman.search.ngram_files import open_ngram

pytestmark = pytest.mark.skipif(not native_available(), reason="n-gram models need the native module")

TEXT = "the cat sits on the mat\nthe cats sit on the mats\n\na cat sits\n" * 8

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(command: Command) -> Command:
    """Runs `elman ngram ARGUMENTS` in this process: exit status, standard output, standard error."""
    return partial(command, "ngram")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def test_train_score_info_convert_generate(tmp_path: Path, command: Command, text: Path) -> None:
    path = tmp_path / "model.ngram"
    status, out, errors = command("train", text, "-o", path, "--order", 3, "--json")
    trained = json.loads(out)
    assert (status, trained["sentences"], trained["words"]) == (0, 32, 8 * 19)
    assert trained["remarks"]  # so small a text has no discounts of its own
    assert all(remark in " ".join(errors.split("\n")) for remark in trained["remarks"])
    _, out, _ = command("score", path, text, "--json")
    figures = json.loads(out)
    assert figures["unknown"] == 0
    assert figures["perplexity"] == pytest.approx(math.exp(-figures["log_prob"] / (figures["words"] + 32)))
    _, out, _ = command("score", path, text, "--sentences")
    scores = [float(line.split("\t")[0]) for line in out.splitlines()]
    assert len(scores) == 32
    assert sum(scores) == pytest.approx(figures["log_prob"])
    arpa = tmp_path / "model.arpa.gz"
    assert command("convert", path, arpa)[:2] == (0, f"{arpa}\n")
    _, out, _ = command("info", arpa, "--json")
    told = json.loads(out)
    assert (told["form"], told["order"], told["vocabulary"]) == ("ARPA", 3, 12)
    assert [told[f"{n}-grams"] for n in (1, 2, 3)] == list(open_ngram(path).counts)
    _, out, _ = command("generate", path, "--count", 4, "--seed", 3)
    assert len(out.splitlines()) == 4
    assert command("generate", path, "--count", 4, "--seed", 3)[1] == out
    assert set(out.split()) <= set(TEXT.split())


def test_unknown_words_are_counted_apart(tmp_path: Path, command: Command, text: Path) -> None:
    path, other = tmp_path / "model.ngram", tmp_path / "other.txt"
    command("train", text, "-o", path, "--order", 2, "--vocabulary-size", 5)
    other.write_text("the dog sits\n")
    figures = json.loads(command("score", path, other, "--json")[1])
    assert (figures["words"], figures["unknown"]) == (3, 1)
    assert figures["perplexity"] != figures["perplexity_known"]


def test_characters(tmp_path: Path, command: Command, text: Path) -> None:
    path = tmp_path / "model.ngram"
    assert command("train", text, "-o", path, "--unit", "characters", "--order", 4)[0] == 0
    figures = json.loads(command("score", path, text, "--json")[1])
    assert figures["words"] == len(TEXT) - 32
    assert figures["bits_per_character"] == pytest.approx(-figures["log_prob"] / len(TEXT) / math.log(2))
    out = command("generate", path, "--count", 3)[1]
    assert "<space>" not in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "nowhere.txt", "-o", "m"], "nowhere.txt: no such file"),
        (["train", "TEXT", "-o", "m", "--prune", "0 x"], "--prune: expected counts"),
        (["train", "TEXT", "-o", "m", "--prune", "1"], "prune: expected 0 for order 1"),
        (["train", "TEXT", "-o", "m", "--memory", "2Q"], "--memory"),
        (["train", "TEXT", "-o", "m", "--unit", "bytes"], "--unit"),
        (["train", "TEXT", "-o", "m.gz"], "cannot be compressed"),
        (["score", "TEXT", "TEXT"], "not an ARPA file"),
        (["info", "nowhere"], "nowhere: no such file"),
    ],
)
def test_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
    text: Path,
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, errors = command(*[str(text) if word == "TEXT" else word for word in arguments])
    assert (status, out) == (2, "")
    assert told in errors
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == [text]
