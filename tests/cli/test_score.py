"""elman score: the figures, the alignments, and what it says of files that do not fit."""

import json
from pathlib import Path

import pytest

from elman.cli import main


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Exit status of the command line."""
    monkeypatch.setattr("sys.argv", ["elman", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    reference, hypothesis = tmp_path / "ref.txt", tmp_path / "hyp.txt"
    reference.write_text("The cat sat.\nhello\n", encoding="utf-8")
    hypothesis.write_text("the cat\nhello there\n", encoding="utf-8")
    return reference, hypothesis


def test_figures_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: tuple[Path, Path]
) -> None:
    assert run(monkeypatch, "score", *files, "--lower", "--strip-punctuation", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["error_rate"] == 2 / 4
    assert (figures["hits"], figures["deletions"], figures["insertions"]) == (3, 1, 1)
    assert "case:lower|punctuation:stripped" in figures["signature"]


def test_the_worst_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: tuple[Path, Path]
) -> None:
    assert run(monkeypatch, "score", *files, "--show", 1) == 0
    shown = capsys.readouterr().out
    assert "line 1: 2 errors" in shown
    assert "REF: The cat sat.\nHYP: the cat ****\n     S       D" in shown


def test_files_that_do_not_fit_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: tuple[Path, Path]
) -> None:
    files[1].write_text("one\n", encoding="utf-8")
    assert run(monkeypatch, "score", *files) == 2
    assert "1 lines, expected 2 as in" in capsys.readouterr().err
    assert run(monkeypatch, "score", files[0], files[0].parent / "none.txt") == 2
    assert "none.txt: cannot be read as UTF-8 text" in capsys.readouterr().err
