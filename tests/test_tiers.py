"""The plan of the house, checked: imports run downward, files are short, nothing loads code from a file.

The modules are read with `ast`, so that an import inside a function counts too, and nothing is executed.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"

# From the ground up. A module or package imports from the rows above its own and from itself; the others of
# its own row are strangers to it. The last row is the package's own __init__ and __main__.
TIERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("padded", "tokens", "kernels"),
    ("counter", "attend"),
    ("data", "attention"),
    ("cells",),
    ("tracing",),
    ("programs",),
    ("torch_path", "native_path"),
    ("operators",),
    ("scan",),
    ("layers", "energy", "lattice"),
    ("search", "metrics"),
    ("streaming",),
    ("models",),
    ("tasks",),
    ("weights", "storage"),
    ("runs",),
    ("train", "predict"),
    ("plots",),
    ("cli", "serve", "studio"),
    ("__init__", "__main__"),
)

# What a tier may not use although it lies below, with the reason.
NOT_FOR: dict[str, dict[str, str]] = {
    "data": {"kernels": "reading files is not computing"},
    "cells": dict.fromkeys(("scan", "kernels"), "a cell is plain torch; who runs it is not its affair"),
}

# Never imported, not even through others: using a model must not need what trains one.
NEVER_REACHES: dict[str, str] = {"predict": "train"}

UNSAFE_MODULES = ("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")
UNSAFE_CALLS = ("torch.load", "torch.save", "eval", "exec", "builtins.eval", "builtins.exec")
NATIVE = "elman._native"
NATIVE_IMPORTER = "kernels"
MAX_LINES = 500

RANK = {name: rank for rank, row in enumerate(TIERS) for name in row}


class Module:
    """One file of the package: its dotted name, its tree, and the modules of the package that it imports."""

    def __init__(self, root: Path, path: Path, known: frozenset[str]) -> None:
        self.path = path.relative_to(root).as_posix()
        self.name = dotted(root, path)
        self.package = self.name if path.stem == "__init__" else self.name.rpartition(".")[0]
        self.text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text, filename=self.path)
        self.imports = [(line, resolve(target, known)) for line, target in self._targets()]

    @property
    def tier(self) -> str:
        """`cells` for elman.cells.lstm; `__init__` for elman itself."""
        return tier(self.name)

    def _targets(self) -> Iterator[tuple[int, str]]:
        """(line, dotted name) of everything imported; `from a import b` gives a.b."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Call) and callee(node, {}).endswith(("import_module", "__import__")):
                first = node.args[0] if node.args else None
                # A name that is not written out could hide any import; it is refused by `rules`.
                yield node.lineno, str(first.value) if isinstance(first, ast.Constant) else "?"

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = self.package.split(".")
        base = ".".join(parents[: len(parents) - node.level + 1])
        return f"{base}.{node.module}" if node.module else base


def dotted(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tier(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def resolve(target: str, known: frozenset[str]) -> str:
    """The module behind a target: elman.errors for elman.errors.ElmanError; other packages' names stay."""
    if target == NATIVE or target.startswith(f"{NATIVE}."):
        return NATIVE
    while target.startswith("elman.") and target not in known:
        target = target.rpartition(".")[0]
    return target


def inside(name: str) -> bool:
    return name == "elman" or name.startswith("elman.")


def callee(node: ast.Call, aliases: dict[str, str]) -> str:
    """`torch.load` for a call of torch.load, whatever name torch or load was imported under."""
    parts: list[str] = []
    function = node.func
    while isinstance(function, ast.Attribute):
        parts.insert(0, function.attr)
        function = function.value
    if not isinstance(function, ast.Name):
        return "." + ".".join(parts)
    return ".".join([aliases.get(function.id, function.id), *parts])


def aliases_of(tree: ast.Module) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update({alias.asname: alias.name for alias in node.names if alias.asname})
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return found


def read(root: Path) -> dict[str, Module]:
    paths = sorted((root / "elman").rglob("*.py"))
    known = frozenset(dotted(root, path) for path in paths)
    return {module.name: module for module in (Module(root, path, known) for path in paths)}


def import_errors(module: Module) -> Iterator[str]:
    if module.tier not in RANK:
        yield f"{module.path}: give it a tier, a place for {module.tier!r} in TIERS"
        return
    for line, target in module.imports:
        where = f"{module.path}:{line}"
        if target == "?":
            yield f"{where}: a computed import; write the module's name"
        elif target.split(".")[0] in UNSAFE_MODULES:
            yield f"{where}: imports {target}, which can run code from a file"
        elif target == NATIVE:
            if module.name != f"elman.{NATIVE_IMPORTER}":
                yield f"{where}: imports {NATIVE}; only {NATIVE_IMPORTER} does, ask it"
        elif inside(target) and tier(target) != module.tier:
            yield from tier_errors(where, module.tier, tier(target))


def tier_errors(where: str, importer: str, imported: str) -> Iterator[str]:
    if imported not in RANK:
        return  # told once, at the module itself
    if RANK[imported] >= RANK[importer]:
        yield f"{where}: {importer} imports {imported}, which is not below it"
    elif imported in NOT_FOR.get(importer, {}):
        yield f"{where}: {importer} imports {imported}: {NOT_FOR[importer][imported]}"


def call_errors(module: Module) -> Iterator[str]:
    aliases = aliases_of(module.tree)
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        name = callee(node, aliases)
        if name in UNSAFE_CALLS:
            yield f"{module.path}:{node.lineno}: calls {name}, which can run code from a file"
        if any(keyword.arg == "allow_pickle" for keyword in node.keywords):
            yield f"{module.path}:{node.lineno}: says allow_pickle; arrays are read without pickle"


def reach_errors(modules: dict[str, Module]) -> Iterator[str]:
    for start, forbidden in NEVER_REACHES.items():
        for module in modules.values():
            if module.tier == start:
                chain = path_to(modules, module.name, forbidden)
                if chain:
                    yield f"{module.path}: reaches {forbidden} by {' -> '.join(chain)}"


def path_to(modules: dict[str, Module], start: str, forbidden: str) -> list[str]:
    """A shortest chain of imports from `start` into the tier `forbidden`; importing a.b runs a/__init__."""
    chains, seen = [[start]], {start}
    while chains:
        chain = chains.pop(0)
        if tier(chain[-1]) == forbidden:
            return chain
        module = modules[chain[-1]]
        following = [target for _, target in module.imports if target in modules]
        packages = {name.rpartition(".")[0] for name in (module.name, *following)}
        for target in (*following, *sorted(packages & modules.keys())):
            if target not in seen:
                seen.add(target)
                chains.append([*chain, target])
    return []


def length_errors(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.py*")):
        if path.suffix in (".py", ".pyi"):
            count = len(path.read_text(encoding="utf-8").splitlines())
            if count > MAX_LINES:
                name = path.relative_to(root).as_posix()
                yield f"{name}: {count} lines, at most {MAX_LINES}: one idea a file"


def violations(root: Path) -> list[str]:
    modules = read(root)
    found = [error for module in modules.values() for error in (*import_errors(module), *call_errors(module))]
    return [*found, *reach_errors(modules), *length_errors(root)]


def test_the_package_keeps_to_its_plan() -> None:
    assert len(read(SOURCE)) > 5, f"found no package in {SOURCE}"
    assert violations(SOURCE) == []


def test_a_name_has_one_tier() -> None:
    assert len(RANK) == sum(len(row) for row in TIERS)


SOUND = {
    "elman/__init__.py": "from elman.scan import scan",
    "elman/errors.py": "class ElmanError(Exception): ...",
    "elman/kernels.py": "import elman._native as _native\nfrom elman.errors import ElmanError",
    "elman/padded.py": "from elman.errors import ElmanError",
    "elman/cells/__init__.py": "from elman.cells.base import Cell\nfrom .lstm import LSTMCell",
    "elman/cells/base.py": "class Cell: ...",
    "elman/cells/lstm.py": "from .base import Cell\nfrom ..padded import Padded\nimport torch\ntorch.ones(1)",
    "elman/scan.py": "from elman import kernels\nfrom elman.cells import Cell\nmodel.eval()",
    "elman/metrics/__init__.py": "",
    "elman/train/__init__.py": "from elman.metrics import rate",
    "elman/predict.py": "def load():\n    from elman.metrics import rate",
    "elman/plots.py": "from elman import train, predict",
}


def build(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_a_sound_tree_passes(tmp_path: Path) -> None:
    assert violations(build(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("errors.py", "from elman.padded import Padded", "errors imports padded, which is not below"),
        ("errors.py", "def f():\n    import elman.scan", "elman/errors.py:2: errors imports scan"),
        ("errors.py", "from . import scan", "errors imports scan"),
        ("errors.py", "import importlib\nimportlib.import_module('elman.scan')", "errors imports scan"),
        ("padded.py", "from elman import kernels", "padded imports kernels, which is not below"),
        ("cells/lstm.py", "from elman import kernels", "cells imports kernels: a cell is plain torch"),
        ("cells/lstm.py", "from ..scan import scan", "cells imports scan, which is not below"),
        ("cells/lstm.py", "from elman import scan as s", "cells imports scan, which is not below"),
        ("data/text.py", "from elman import kernels", "data imports kernels: reading files is not"),
        ("scan.py", "from elman import LSTM", "scan imports __init__, which is not below"),
        ("scan.py", "from elman import _native", "only kernels does"),
        ("scan.py", "from elman._native import version", "only kernels does"),
        ("predict.py", "from elman.train import fit", "predict imports train, which is not below"),
        ("metrics/__init__.py", "from elman import train", "elman/predict.py: reaches train by"),
        ("__init__.py", "from elman.train import fit", "elman.predict -> elman -> elman.train"),
        ("novelty.py", "", "elman/novelty.py: give it a tier"),
        ("scan.py", "import pickle", "imports pickle"),
        ("scan.py", "from shelve import open", "imports shelve"),
        ("scan.py", "import torch as t\nt.load('x')", "elman/scan.py:2: calls torch.load"),
        ("scan.py", "from torch import save as keep\nkeep(1, 'x')", "calls torch.save"),
        ("scan.py", "eval('1')", "calls eval"),
        ("scan.py", "def f():\n    exec('1')", "elman/scan.py:2: calls exec"),
        ("scan.py", "import numpy\nnumpy.load('x', allow_pickle=True)", "says allow_pickle"),
        ("scan.py", "import importlib\nimportlib.import_module(name)", "a computed import"),
        ("scan.py", "\n" * (MAX_LINES + 1), f"{MAX_LINES + 1} lines, at most {MAX_LINES}"),
    ],
)
def test_each_violation_is_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    found = violations(build(tmp_path, SOUND | {f"elman/{name}": text}))
    assert any(told in error for error in found), found


def test_using_a_model_does_not_load_what_trains_one() -> None:
    """The same as NEVER_REACHES, seen at run time."""
    pytest.importorskip("elman.predict", reason="elman.predict does not exist yet")
    script = "import sys, elman.predict; print([n for n in sys.modules if n.startswith('elman.train')])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
