"""docs/attention.md: its examples run, and its table of kinds is the table of the package."""

import re
from pathlib import Path

from elman.attention import ATTENTIONS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "attention.md").read_text(encoding="utf-8")


def test_the_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/attention.md", "exec"), {})


def test_the_table_is_complete() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE)
    assert set(rows[: len(ATTENTIONS)]) == set(ATTENTIONS)
