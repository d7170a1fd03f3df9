"""Which way an operation is computed: by the native module, by torch, or by the readable reference.

This file is the only importer of `elman._native`, the C++ module built from csrc/. Where that module is not
there, everything still works through torch; nothing else in the package needs to know.

The environment variable ELMAN_KERNELS chooses, and is read at each call, so that a test or a notebook can
change it between two calls:

    auto       the fastest way that serves the case (the default, also when the variable is empty)
    native     the native module, or an error where it is missing or does not serve the case
    torch      torch operations only, never the native module
    reference  the readable definition that the other ways are compared with
"""

import math
import os
from functools import cache
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

from elman.errors import ConfigError, KernelError

Mode = Literal["auto", "native", "torch", "reference"]

VARIABLE = "ELMAN_KERNELS"
INSTRUCTIONS = "ELMAN_INSTRUCTIONS"
MODES: tuple[Mode, ...] = ("auto", "native", "torch", "reference")

FAMILIES = ("scan", "scan_bf16", "stream", "dropout", "loss", "ctc", "chain", "search")
"""Kernels that have a version for each instruction set."""

POOLED = 1 << 16
"""Numbers from which on `storage` is worth its keeping."""

EXTENDS = {"avx512vnni": "avx512", "avx512": "avx2", "avx2": "baseline"}
"""What a family takes that has no version for an instruction set."""

_native: ModuleType | None
_import_error: ImportError | None
try:
    # The dotted form, because its error tells a module that is missing from one that cannot be loaded.
    import elman._native as _native  # noqa: PLR0402
except ImportError as error:  # kept, and told by native_status() and native_module()
    _native, _import_error = None, error
else:
    _import_error = None


def mode() -> Mode:
    """The way asked for by ELMAN_KERNELS, read at each call.

    Raises ConfigError when the variable holds any other word.
    """
    value = os.environ.get(VARIABLE, "") or "auto"
    if value not in MODES:
        raise ConfigError(f"{VARIABLE}={value!r}: expected one of {', '.join(MODES)}; correct it or unset it")
    return value


def native_available() -> bool:
    """Whether the native module is there and may be used by this process."""
    return _native is not None


def native_status() -> str:
    """One sentence: the native module that is loaded, or why there is none."""
    if _native is not None:
        return f"native module {_native.version()} built with {_native.compiler()}, loaded"
    if isinstance(_import_error, ModuleNotFoundError):
        return (
            "no native module: elman was installed without it, because no C++ compiler was found or the "
            "build failed; install elman again with `pip install -v` to see the build's own message"
        )
    return f"no native module: it is installed but cannot be loaded ({_import_error})"


def native_module() -> ModuleType:
    """The native module itself.

    Raises KernelError, with the reason and the way out, where it is not there.
    """
    if _native is None:
        raise KernelError(f"{native_status()}; {VARIABLE}=auto computes with torch") from _import_error
    return _native


def storage(*shape: int) -> Tensor:
    """A float32 tensor, not set to anything, in memory that is kept for the next one when it is let go.

    Large pieces of memory cost as much to get from the system as to fill.
    """
    size = math.prod(shape)
    if size < POOLED:
        return torch.empty(shape)
    return torch.from_numpy(native_module().pooled(size)).view(shape)


def instruction_sets() -> tuple[str, ...]:
    """The vector instruction sets of the running CPU that kernels may use, from narrow to wide.

    Of avx2, fma, avx512f, avx512_bf16, avx512_vnni and neon; empty where there is no native module to ask.
    """
    return () if _native is None else tuple(_native.instruction_sets())


def multiplies_bfloat16() -> bool:
    """Whether the native module's products of bfloat16 are instructions of the processor."""
    return "avx512_bf16" in instruction_sets()


@cache
def _versions(module: ModuleType) -> dict[str, list[str]]:
    """The versions of each family that can run here, widest first."""
    return {name: getattr(module, f"{name}_kernels")() for name in FAMILIES}


def instructions(asked: str | None = None, family: str = "scan") -> str:
    """The instruction set that a family of kernels is asked to use: `asked`, else ELMAN_INSTRUCTIONS, else
    the widest.

    A family that has no version for a set takes the one that the set extends. Raises ConfigError for one that
    this machine or this build does not have.
    """
    known = _versions(native_module())
    name = asked or os.environ.get(INSTRUCTIONS, "") or known[family][0]
    if name in known[family]:
        return name
    every = list(dict.fromkeys(name for names in known.values() for name in names))
    if name not in every:
        raise ConfigError(
            f"{INSTRUCTIONS}={name!r}: expected one of {', '.join(every)}; correct it or unset it"
        )
    while name not in known[family]:
        name = EXTENDS[name]
    return name
