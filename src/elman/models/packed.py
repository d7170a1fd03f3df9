"""Products by weights that do not change from step to step, laid out once.

    linear(x, W, b) = x W^T + b

A search multiplies a few rows by the same weights at every step. torch's product for float32 arranges W anew
each time, which for few rows is most of the work; oneDNN's takes a W that was arranged before. The step
itself is written as ever: what it calls `linear` on is looked up while it runs. `bfloat16` rounds weights and
what they are applied to, with sums in float32, and reads half as much.
Shapes: x (..., C), W (H, C), b (H,).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from elman import kernels
from elman.cells import State
from elman.errors import ConfigError
from elman.models.encoder_decoder import Step
from elman.models.filled import filled, unfilled
from elman.models.marks import Mark, mark, unchanged
from elman.streaming import Weights

FEW, ROWS = 4, 16
"""More rows than a FEW are filled up to a multiple of ROWS, for few shapes."""

TYPES: dict[Weights, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class _Packed(NamedTuple):
    """A weight as oneDNN wants it, and of which state of the parameter it is."""

    mark: Mark
    weight: Tensor


_KNOWN: dict[torch.dtype, Any] = {kind: WeakTensorKeyDictionary() for kind in TYPES.values()}
"""What was laid out lives as long as its parameter, and until that changes."""


def serves() -> bool:
    """Whether this build of torch has these products, and ELMAN_KERNELS lets them be used."""
    return kernels.mode() == "auto" and torch.backends.mkldnn.is_available()


def with_packed(step: Step, weights: Weights = "float32") -> Step:
    """The same step, its products by float32 parameters on the CPU made by way of packed weights.

    Raises ConfigError for weights of another name, and for bfloat16 where these products are not to be had.
    """
    if weights not in TYPES:
        raise ConfigError(f"weights: expected {' or '.join(TYPES)}, got {weights!r}")
    if not serves():
        if weights != "float32":
            raise ConfigError(f"weights: {weights} needs oneDNN, and {kernels.VARIABLE} unset; use float32")
        return step
    mode = _PackedProducts(TYPES[weights])

    def packed(ids: Tensor, state: State) -> tuple[Tensor, State]:
        with mode:
            return step(ids, state)

    return packed


class _PackedProducts(TorchFunctionMode):
    """While it is entered, `linear` by a parameter is the packed product."""

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        self._kind = kind
        self._weights = WeakTensorKeyDictionary()  # looked at once a search

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is linear and not torch.is_grad_enabled():
            return self._linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        ours = isinstance(weight, nn.Parameter) and weight.device.type == "cpu"
        if not ours or weight.dtype != torch.float32 or x.dtype != torch.float32:
            return linear(x, weight, bias)
        kind = self._kind
        product = torch.ops.mkldnn._linear_pointwise  # the operator of torch.compile's own CPU code
        given = None if bias is None else bias.to(kind)
        rows = filled(x.to(kind), ROWS if x.shape[:-1].numel() > FEW else 1)
        if (packed := self._weights.get(weight)) is None:
            packed = self._weights[weight] = _pack(weight, kind)
        return unfilled(product(rows, packed, given, "none", [], ""), x).to(x.dtype)


def _pack(weight: Tensor, kind: torch.dtype) -> Tensor:
    known = _KNOWN[kind].get(weight)
    if known is None or not unchanged(weight, known.mark):
        laid_out = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(kind))
        known = _Packed(mark(weight), laid_out)
        _KNOWN[kind][weight] = known
    return known.weight
