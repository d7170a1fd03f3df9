"""The count of functions whose braces balance, on texts whose answer is plain to see."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPECIFICATION = importlib.util.spec_from_file_location("braces", ROOT / "reproduce" / "braces.py")
assert SPECIFICATION is not None
assert SPECIFICATION.loader is not None
braces = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(braces)


@pytest.mark.parametrize(
    ("body", "verdicts"),
    [
        ("int f(void)\n{\n\treturn 1;\n}\n", [True]),
        ("static int f(int a,\n\t     int b)\n{\n\tif (a) {\n\t\tb++;\n\t}\n}\n", [True]),
        ("int f(void)\n{\n\tif (a) {\n\t\tb++;\n}\n", [False]),
        ("int f(void)\n{\n\tif (a)\n\t\tb++; }\n}\n", [False]),
        ("int f(void)\n{\n\tputs(\"}{{\"); /* { */ // {\n\tc = '{';\n}\n", [True]),
        ("int f(void)\n{\n\tif (a) {\n\nint g(void)\n{\n\treturn 1;\n}\n", [False, True]),
        ("int f(void)\n{\n\treturn 1;\n", []),
        ("struct s\n{\n\tint a;\n};\n", []),
    ],
)
def test_functions_are_found_and_judged(body: str, verdicts: list[bool]) -> None:
    assert braces.functions(body) == verdicts
