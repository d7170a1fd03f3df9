"""elman.kernels: the choice by ELMAN_KERNELS, and what is told about the native module."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from elman import kernels
from elman.errors import ConfigError

CPU_FLAGS = Path("/proc/cpuinfo")
needs_native = pytest.mark.skipif(not kernels.native_available(), reason=kernels.native_status())


@pytest.mark.parametrize("value", kernels.MODES)
def test_mode_is_read_at_each_call(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", value)
    assert kernels.mode() == value
    monkeypatch.delenv("ELMAN_KERNELS")
    assert kernels.mode() == "auto"
    monkeypatch.setenv("ELMAN_KERNELS", "")
    assert kernels.mode() == "auto"


@pytest.mark.parametrize("value", ["Native", "nativ", "auto,torch", " "])
def test_a_wrong_mode_is_named_with_the_words_allowed(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", value)
    with pytest.raises(ConfigError) as caught:
        kernels.mode()
    for part in ("ELMAN_KERNELS", repr(value), *kernels.MODES):
        assert part in str(caught.value)


def test_the_native_module_is_there_wherever_it_can_be_built() -> None:
    """A build that fails does not stop an installation, so it must be seen here."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not compiler or not shutil.which(compiler) or not headers.exists():
        pytest.skip("no C++ compiler or no Python headers on this machine")
    assert kernels.native_available(), kernels.native_status()


@needs_native
def test_status_tells_version_and_compiler() -> None:
    native = kernels.native_module()
    assert native.__name__ == "elman._native"
    assert native.version() == importlib.metadata.version("elman")
    assert native.version() in kernels.native_status()
    assert native.compiler() in kernels.native_status()


@needs_native
@pytest.mark.skipif(not CPU_FLAGS.exists(), reason="the system does not list the flags of its CPU")
def test_instruction_sets_are_those_the_system_lists() -> None:
    if platform.machine() == "aarch64":
        assert kernels.instruction_sets() == ("neon",)
        return
    line = next(line for line in CPU_FLAGS.read_text().splitlines() if line.startswith("flags"))
    wanted = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni")
    assert kernels.instruction_sets() == tuple(name for name in wanted if name in line.split())


# Each import below runs in a fresh interpreter, where a finder answers for the native module.
WITHOUT_NATIVE = """
import sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "elman._native":
            raise {error}

sys.meta_path.insert(0, Finder())
from elman import kernels
from elman.errors import KernelError
print(kernels.native_available(), kernels.instruction_sets(), kernels.native_status(), sep="|")
try:
    kernels.native_module()
except KernelError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ('ModuleNotFoundError("No module named elman._native")', "elman was installed without it"),
        ('ImportError("undefined symbol: elman_gemm")', "undefined symbol: elman_gemm"),
    ],
)
def test_a_native_module_that_is_missing_or_broken_is_told(error: str, told: str) -> None:
    script = WITHOUT_NATIVE.format(error=error)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    status, raised = result.stdout.splitlines()
    available, sets, sentence = status.split("|")
    assert (available, sets) == ("False", "()")
    assert told in sentence
    assert raised.startswith(sentence)
    assert "ELMAN_KERNELS=auto" in raised
