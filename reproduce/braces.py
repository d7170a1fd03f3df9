"""Counts the functions of a C file and those whose braces balance.

    python reproduce/braces.py FILE

A function is a text that begins with a line in the first column which holds an opening parenthesis and ends without
a semicolon (its head may go on over further lines), followed by a line that is "{" alone. It balances where the
depth of braces, counted outside strings, character constants and comments, returns to zero at a "}" in the first
column, and never below zero before. A last function that the file's end cuts off is not counted.
Exit status 0 where at least half balance.
"""

import re
import sys
from pathlib import Path

# Strings, character constants and comments: braces in them are text.
TEXT = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|/\*.*?\*/|//[^\n]*', re.DOTALL)


def functions(source: str) -> list[bool]:
    """For each function whether its braces balance."""
    lines = TEXT.sub(lambda match: "\n" * match.group().count("\n"), source).split("\n")
    found: list[bool] = []
    for row, line in enumerate(lines):
        head = " ".join(lines[max(0, row - 8) : row])
        if line.rstrip() == "{" and re.search(r"\([^;{}]*\)\s*$", head):
            verdict = _balances(lines[row:])
            if verdict is not None:
                found.append(verdict)
    return found


def _balances(lines: list[str]) -> bool | None:
    """Whether the body that begins `lines` closes at the first column; None where the file ends inside it."""
    depth = 0
    for place, line in enumerate(lines):
        if place and line.startswith("{"):
            return False  # another function begins inside this one
        depth += line.count("{") - line.count("}")
        if line.startswith("}") or depth <= 0:
            return depth == 0 and line.startswith("}")
    return None


def main() -> int:
    """Prints the count and returns the exit status."""
    verdicts = functions(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(f"{sum(verdicts)} of {len(verdicts)} functions balance")
    return 0 if verdicts and 2 * sum(verdicts) >= len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
