"""Random numbers from a counter: a pure function of a key and of the place where the number is used.

A dropout mask or a sampled symbol drawn this way does not depend on the order of drawing: a sequence computed
in chunks equals the whole, a resumed run repeats what an uninterrupted one would have drawn, and no generator
state has to be saved. The mixing function is the 32-bit finalizer with two multiplications found by
C. Wellons ("Prospecting for hash functions", 2018; bias about 0.17 of 2^-32), applied once per coordinate.

    mix(x) = x ^= x >> 16; x *= 0x7feb352d; x ^= x >> 15; x *= 0x846ca68b; x ^= x >> 16
    bits(key, a, b) = mix(mix(mix(mix(lower word of key) ^ upper word) ^ a) ^ b)
    uniform(key, a, b) = bits(key, a, b) / 2^32, in [0, 1) on a grid of 2^-24

Shapes: coordinates are integer tensors that broadcast against each other.
"""

from typing import Any

import torch
from torch import Tensor

from elman import kernels

_FIRST = 0x7FEB352D
_SECOND = 0x846CA68B
_WORD = (1 << 32) - 1

SMALL = 1 << 16
"""Units below which a second thread costs more than it brings."""


def _signed(word: int) -> int:
    """A 32-bit word as the int32 with the same bits."""
    return word - (1 << 32) if word >> 31 else word


def _mix_word(x: int) -> int:
    """The finalizer on one word."""
    x ^= x >> 16
    x = x * _FIRST & _WORD
    x ^= x >> 15
    x = x * _SECOND & _WORD
    return x ^ (x >> 16)


def _mix(x: Tensor) -> Tensor:
    """The finalizer on int32 (products wrap; >> of a negative number is made logical by a mask)."""
    x = x ^ ((x >> 16) & 0xFFFF)
    x = x * _FIRST
    x = x ^ ((x >> 15) & 0x1FFFF)
    x = x * _signed(_SECOND)
    return x ^ ((x >> 16) & 0xFFFF)


def _mix_key(key: int) -> int:
    return _mix_word(_mix_word(key & _WORD) ^ (key >> 32 & _WORD))


def bits(key: int, *coordinates: Tensor) -> Tensor:
    """32 random bits, as int32, at each place of the broadcast coordinates; `key` is of up to 64 bits."""
    mixed: Tensor | int = _signed(_mix_key(key))
    for coordinate in coordinates:
        mixed = _mix(coordinate.to(torch.int32) ^ mixed)
    return mixed if isinstance(mixed, Tensor) else torch.tensor(mixed, dtype=torch.int32)


def uniform(key: int, *coordinates: Tensor) -> Tensor:
    """Uniform float32 numbers in [0, 1) with 24 random bits, one at each place of the coordinates."""
    return ((bits(key, *coordinates) >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24


def dropout(values: Tensor, probability: float, key: int, steps: Tensor) -> Tensor:
    """Inverted dropout (Srivastava et al. 2014): zero with `probability`, the rest over 1 - probability.

    values (..., N, H), steps (..., N): the count of steps that each element has made; the mask at a place is
    a function of (key, element, step, unit) alone. The native module, where it serves, gives the same bits in
    one pass; ELMAN_KERNELS=torch and reference leave it out.
    """
    if probability <= 0:
        return values
    if _is_native(values):
        return _Dropout.apply(values, probability, key, steps)
    element = torch.arange(values.shape[-2], device=values.device)[:, None]
    unit = torch.arange(values.shape[-1], device=values.device)
    # Compare as integers: the mask costs one pass over int32 and no float is made.
    drawn = (bits(key, element, steps[..., None], unit) >> 8) & 0xFFFFFF
    keep = drawn >= int(probability * (1 << 24))
    return values * keep * (1 / (1 - probability))


def _is_native(values: Tensor) -> bool:
    """Whether the native module has a kernel for these tensors, which must have addresses."""
    return (
        kernels.native_available()
        and kernels.mode() in ("auto", "native")
        and values.device.type == "cpu"
        and values.dtype == torch.float32
        and type(values) in (Tensor, torch.nn.Parameter)
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


class _Dropout(torch.autograd.Function):
    """Dropout by the native module; the gradient meets the same mask, which is drawn again and not kept."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, probability: float, key: int, steps: Tensor) -> Tensor:
        ctx.probability, ctx.key, ctx.steps = probability, key, steps
        given, result = values.contiguous(), torch.empty_like(values, memory_format=torch.contiguous_format)
        batch, units = values.shape[-2:]
        places = steps.to(torch.int64).expand(values.shape[:-1]).contiguous()
        kernels.native_module().dropout(
            given.data_ptr(), result.data_ptr(), places.data_ptr(), places.numel(), batch, units,
            _mix_key(key), int(probability * (1 << 24)), 1 / (1 - probability),
            1 if values.numel() < SMALL else torch.get_num_threads(), kernels.instructions(family="dropout"),
        )  # fmt: skip
        return result

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        return dropout(grad_outputs[0], ctx.probability, ctx.key, ctx.steps), None, None, None


def child(key: int, index: int) -> int:
    """A 64-bit key for part `index` of something that has `key`; different parts draw independent numbers."""
    low = _mix_word(_mix_key(key) ^ (index & _WORD))
    return _mix_word(low ^ _SECOND) << 32 | low
