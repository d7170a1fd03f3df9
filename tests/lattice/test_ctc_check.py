"""The preflight over files: every line that cannot work, by its number."""

from pathlib import Path

import pytest

from elman.errors import DataError
from elman.lattice.ctc_check import check_file


def test_lines_that_cannot_work_are_named(tmp_path: Path) -> None:
    table = tmp_path / "a.tsv"
    table.write_text("5\thello\n6\thello\tspeaker\n\n4\tabcd\n3\tabcd\n")
    report = check_file(table)
    assert report.examples == 4
    assert report.problems == [
        (1, "5 labels with 1 repeat need 6 frames, there are 5"),
        (5, "4 labels with 0 repeats need 4 frames, there are 3"),
    ]
    lines = tmp_path / "b.jsonl"
    lines.write_text('{"frames": 3, "target": [1, 4], "file": "x"}\n{"frames": 2, "target": "aa"}\n')
    assert check_file(lines, classes=5).problems == [(2, "2 labels with 1 repeat need 3 frames, there are 2")]
    assert check_file(lines, classes=4).problems[0] == (1, "label 4, expected 1 to 3; 0 is the blank")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.tsv", "5\n", "a.tsv:1: expected frames, a tab and the target, got '5'"),
        ("a.tsv", "5\ta\nfive\ta\n", "a.tsv:2: expected frames"),
        ("a.jsonl", '{"frames": 5}', "a.jsonl:1: expected .*a text or a list of ids"),
        ("a.jsonl", '{"frames": 5.5, "target": "a"}', "whole number"),
        ("a.jsonl", '{"frames": true, "target": "a"}', "whole number"),
        ("a.jsonl", '{"frames": 5, "target": [1.5]}', "list of ids"),
        ("a.jsonl", "[]", "a.jsonl:1: expected"),
        ("a.jsonl", "{", "a.jsonl:1: not JSON"),
        ("a.csv", "", r"a.csv: expected a file named \*.jsonl or \*.tsv"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=told):
        check_file(tmp_path / name)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        check_file(tmp_path / "none.tsv")
    (tmp_path / "latin.tsv").write_bytes(b"5\t\xe9\n")
    with pytest.raises(DataError, match="not a text in UTF-8"):
        check_file(tmp_path / "latin.tsv")
