"""elman ctc check: lines on standard output, one complaint and status 2."""

import sys
from pathlib import Path

import pytest

from elman.cli import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["elman", *map(str, arguments)])
    try:
        main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0


def test_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("6\thello\n")
    assert run(monkeypatch, "ctc", "check", path) == 0
    assert capsys.readouterr().out == "1 targets can be reached\n"
    path.write_text("6\thello\n5\tapple\n")
    assert run(monkeypatch, "ctc", "check", path) == 2
    captured = capsys.readouterr()
    assert captured.out == f"{path}:2: 5 labels with 1 repeat need 6 frames, there are 5\n"
    assert captured.err.count("\n") == 1
    assert "1 of 2 targets cannot be reached" in captured.err
