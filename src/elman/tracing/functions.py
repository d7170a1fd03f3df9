"""What the tracer knows: each function and method of torch, and those of elman.attend, as nodes of a graph.

Products have a weight that depends on nothing but parameters. Vectors are taken apart and joined along the
units (the last axis). Shapes as in elman.tracing.symbols.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from elman.tracing.elementwise import ELEMENTWISE, pointwise
from elman.tracing.graph import ROW, Untraceable
from elman.tracing.memories import MEMORIES
from elman.tracing.rows import ROWS, last
from elman.tracing.symbols import Symbol


def _same(x: Symbol, *_: Any, **__: Any) -> Symbol:
    return x


def _to(x: Symbol, *args: Any, **kwargs: Any) -> Symbol:
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.dtype) and value != x.dtype:
            raise Untraceable(f"turns a tensor into {value}")
    return x


def _dropout(x: Symbol, p: float = 0.5, training: bool = True) -> Symbol:
    if training and p:
        raise Untraceable(
            "uses torch's dropout, whose numbers depend on what was drawn; take a mask from elman.counter"
        )
    return x


# -- products --------------------------------------------------------------------------------------


def _linear(x: Any, weight: Any, bias: Any = None) -> Symbol:
    if not isinstance(x, Symbol) or not isinstance(weight, Tensor) or weight.dim() != 2:
        raise Untraceable("multiplies two tensors that depend on the input or the state")
    if bias is not None and not isinstance(bias, Tensor):
        raise Untraceable("adds a bias that depends on the input or the state")
    if len(x.inner) != 1:
        raise Untraceable(f"multiplies units {x.inner} by a weight")
    return Symbol(x.graph, x.graph.product(x.node, weight, bias), x.lead)


def _matmul(x: Any, weight: Any) -> Symbol:
    return _linear(x, weight.t() if isinstance(weight, Tensor) and weight.dim() == 2 else weight)


def _addmm(x: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> Symbol:
    product = _matmul(a, b)
    return pointwise(
        "add", x if beta == 1 else x * beta, product if alpha == 1 else pointwise("mul", product, alpha)
    )


# -- parts -----------------------------------------------------------------------------------------


def _chunk(x: Symbol, chunks: int, dim: int = 0) -> tuple[Symbol, ...]:
    last(x, dim)
    return _split(x, -(-x.inner[-1] // chunks), dim)


def _split(x: Symbol, size: int | Sequence[int], dim: int = 0) -> tuple[Symbol, ...]:
    last(x, dim)
    width = x.inner[-1]
    sizes = (
        [min(size, width - start) for start in range(0, width, size)] if isinstance(size, int) else list(size)
    )
    if sum(sizes) != width:
        raise Untraceable(f"splits {width} units into {sizes}")
    starts = itertools.accumulate(sizes, initial=0)
    return tuple(_range(x, start, size) for start, size in zip(starts, sizes, strict=False))


def _unbind(x: Symbol, dim: int = 0) -> tuple[Symbol, ...]:
    if len(x.inner) != 2 or dim % x.ndim != x.ndim - 2:
        raise Untraceable(f"takes {tuple(x.shape)} apart along axis {dim}")
    groups, width = x.inner
    return tuple(_range(x, group * width, width) for group in range(groups))


def _range(x: Symbol, start: int, width: int) -> Symbol:
    if len(x.inner) == 2 and width != x.inner[1]:
        raise Untraceable(f"takes a part of the units of {tuple(x.shape)}")
    whole = x.node.units
    if width < whole:
        x.graph.cuts.setdefault(whole, set()).update({start, start + width} - {0, whole})
    return Symbol(x.graph, x.graph.slice(x.node, start, width), x.lead, None, x, start)


def _narrow(x: Symbol, dim: int, start: int, length: int) -> Symbol:
    last(x, dim)
    return _range(x, start, length)


def _select(x: Symbol, dim: int, index: int) -> Symbol:
    if len(x.inner) != 2:
        raise Untraceable("takes one unit of a tensor")
    return _unbind(x, dim)[index]


def _cat(tensors: Sequence[Any], dim: int = 0) -> Symbol:
    like = next(value for value in tensors if isinstance(value, Symbol))
    last(like, dim)
    for value in tensors:
        if not isinstance(value, Symbol) or value.lead != like.lead or len(value.inner) != 1:
            raise Untraceable("joins a tensor that does not depend on the input or the state")
    return Symbol(like.graph, like.graph.cat([value.node for value in tensors]), like.lead)


def _view(x: Symbol, *shape: Any) -> Symbol:
    sizes = list(shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list | torch.Size) else shape)
    if -1 in sizes:
        known = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = x.shape.numel() // known if known else 0
    rank = len(x.lead)
    inner = tuple(sizes[rank:])
    if tuple(sizes[:rank]) != x.lead or len(inner) not in (1, 2) or math.prod(inner) != x.node.units:
        raise Untraceable(f"lays {tuple(x.shape)} out as {tuple(sizes)}")
    return Symbol(x.graph, x.node, x.lead, inner, x)


def _unflatten(x: Symbol, dim: int, sizes: Sequence[int]) -> Symbol:
    last(x, dim)
    return _view(x, (*x.lead, *sizes))


def _flatten(x: Symbol, start_dim: int = 0, end_dim: int = -1) -> Symbol:
    if start_dim % x.ndim != len(x.lead) or end_dim % x.ndim != x.ndim - 1:
        raise Untraceable("lays out other axes than those of the units")
    return _view(x, (*x.lead, x.node.units))


def _unsqueeze(x: Symbol, dim: int) -> Symbol:
    if x.inner or dim not in (-1, x.ndim):
        raise Untraceable(f"gives {tuple(x.shape)} an axis {dim}")
    return Symbol(x.graph, x.node, x.lead, (1,), x)


def _squeeze(x: Symbol, dim: int | None = None) -> Symbol:
    if x.node.width != ROW or len(x.inner) != 1 or dim is None:
        raise Untraceable(f"takes an axis of {tuple(x.shape)} away")
    last(x, dim)
    return Symbol(x.graph, x.node, x.lead, (), x)


def _expand(x: Symbol, *shape: Any) -> Symbol:
    sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    width = x.inner[-1] if sizes[-1] == -1 else sizes[-1]
    if len(sizes) != x.ndim or len(x.inner) != 1 or (x.node.units != 1 and width != x.inner[-1]):
        raise Untraceable(f"expands {tuple(x.shape)} to {tuple(sizes)}")
    if x.node.units != 1 or width == 1:
        return x
    return Symbol(x.graph, x.graph.vector(x.graph.total(x.node), width), x.lead)


def _getitem(x: Symbol, index: Any) -> Any:
    index = index if isinstance(index, tuple) else (index,)
    given = sum(part is not None and part is not Ellipsis for part in index)
    if any(part is Ellipsis for part in index):
        at = next(i for i, part in enumerate(index) if part is Ellipsis)
        index = index[:at] + (slice(None),) * (x.ndim - given) + index[at + 1 :]
    else:
        index += (slice(None),) * (x.ndim - given)
    full = slice(None)
    if not x.inner and index == (*(full for _ in x.lead), None):
        return _unsqueeze(x, -1)
    # What `prepare` of a cell inside the step is given, one step of time, and what is taken of its result.
    if len(x.lead) == 1 and index == (None, *(full for _ in range(x.ndim))):
        return Symbol(x.graph, x.node, (1, *x.lead), x.inner, x)
    if len(x.lead) == 2 and x.lead[0] == 1 and index == (0, *(full for _ in range(x.ndim - 1))):
        return Symbol(x.graph, x.node, x.lead[1:], x.inner, x)
    rank = len(x.lead)
    if len(index) != x.ndim or any(part != full for part in index[:rank]):
        raise Untraceable("indexes a tensor otherwise than by a range of its last axis")
    if len(x.inner) == 2 and isinstance(index[rank], int) and index[-1] == full:
        return _unbind(x, rank)[index[rank]]
    if len(x.inner) != 1 or not isinstance(index[-1], slice):
        raise Untraceable("indexes a tensor otherwise than by a range of its last axis")
    start, stop, step = index[-1].indices(x.inner[-1])
    if step != 1 or stop <= start:
        raise Untraceable("indexes a tensor by an empty range or with a stride")
    return _range(x, start, stop - start)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **ELEMENTWISE,
    **ROWS,
    **MEMORIES,
    **dict.fromkeys(("matmul", "mm"), _matmul),
    "linear": _linear,
    "addmm": _addmm,
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "chunk": _chunk,
    "split": _split,
    "unbind": _unbind,
    "narrow": _narrow,
    "select": _select,
    "getitem": _getitem,
    "view": _view,
    "reshape": _view,
    "unflatten": _unflatten,
    "flatten": _flatten,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "expand": _expand,
    "expand_as": lambda x, other: _expand(x, other.shape),
    **dict.fromkeys(("contiguous", "clone", "type_as"), _same),
    "to": _to,
    "float": lambda x: _to(x, torch.float32),
    "dropout": _dropout,
}
"""torch's functions and a tensor's methods by name, without the underscores of the operators."""
