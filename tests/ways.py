"""How a test has the kernels compute: in one of the modes, or natively by one instruction set."""

import pytest

from elman import kernels


def compute_by(way: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """way: a mode of ELMAN_KERNELS, else the name of an instruction set, which is then native; returned."""
    if way in kernels.MODES:
        monkeypatch.setenv(kernels.VARIABLE, way)
    else:
        monkeypatch.setenv(kernels.VARIABLE, "native")
        monkeypatch.setenv(kernels.INSTRUCTIONS, way)
    return way
