"""pyproject.toml, constraints.txt and the installed package say the same."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]


def bare_name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_everything_asked_for_is_pinned_and_nothing_else() -> None:
    extras = PROJECT["optional-dependencies"]
    asked = [
        *PROJECT["dependencies"],
        *(requirement for extra in extras.values() for requirement in extra),
        *PYPROJECT["build-system"]["requires"],
    ]
    own = [name for name in asked if bare_name(name) == PROJECT["name"]]  # an extra that takes in another
    assert own == ["elman[translation]"]
    assert sorted(pins()) == sorted(bare_name(name) for name in asked if name not in own)


def test_torch_is_never_a_build_requirement() -> None:
    """It weighs hundreds of megabytes, and the native module takes pointers and sizes, not tensors."""
    assert not [name for name in PYPROJECT["build-system"]["requires"] if "torch" in name]


def test_the_installed_package_is_this_one() -> None:
    assert importlib.metadata.version("elman") == PROJECT["version"], "reinstall: make env"


def test_the_command_line_has_its_entry_point() -> None:
    pytest.importorskip("elman.cli", reason="elman.cli does not exist yet")
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="elman")
    assert callable(entry.load())
