"""Sums, norms and normalisation over the units of a row (the last axis).

Symbols (N, width) in; (N, width), or one number of each row, (N, 1) or (N,), out.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from elman.tracing.elementwise import clamp, pointwise, power
from elman.tracing.graph import Node, Untraceable
from elman.tracing.symbols import Symbol


def last(x: Symbol, dim: Any) -> None:
    """Refuses an axis that is not that of the units."""
    if not x.inner or dim % x.ndim != x.ndim - 1:
        raise Untraceable(f"works along axis {dim} of {x.ndim}; only the last, the units, is traced")


def _over_units(x: Symbol, dim: Any) -> None:
    dims = list(dim) if isinstance(dim, tuple | list) else [dim]
    if len(dims) != 1 or dims[0] is None or len(x.inner) != 1:
        raise Untraceable("reduces other axes than the last, the units")
    last(x, dims[0])


def _row(x: Symbol, node: Node, keepdim: bool) -> Symbol:
    return Symbol(x.graph, node, x.lead, (1,) if keepdim else ())


def _total(x: Symbol, dim: Any = None, keepdim: bool = False) -> Symbol:
    _over_units(x, dim)
    return _row(x, x.graph.total(x.node), keepdim)


def _mean(x: Symbol, dim: Any = None, keepdim: bool = False) -> Symbol:
    return pointwise("mul", _total(x, dim, keepdim), 1 / x.inner[-1])


def _var(
    x: Symbol, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> Symbol:
    """In two passes: the squares of what is left of each unit without the mean."""
    _over_units(x, dim)
    less = correction if correction is not None else 1 if unbiased is None else int(unbiased)
    if x.inner[-1] <= less:
        raise Untraceable(f"takes the variance of {x.inner[-1]} units with the correction {less}")
    squares = power(pointwise("sub", x, _mean(x, dim, True)), 2)
    return pointwise("mul", _total(squares, dim, keepdim), 1 / (x.inner[-1] - less))


def _std(x: Symbol, *args: Any, **kwargs: Any) -> Symbol:
    return pointwise("sqrt", _var(x, *args, **kwargs))


def _norm(x: Symbol, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Symbol:
    if p not in (2, 2.0, "fro"):
        raise Untraceable(f"takes the norm of order {p!r}")
    return pointwise("sqrt", _total(power(x, 2), dim, keepdim))


def _vector_norm(x: Symbol, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Symbol:
    return _norm(x, ord, dim, keepdim)


def _normalize(x: Symbol, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Symbol:
    return pointwise("div", x, clamp(_norm(x, p, dim, True), min=eps))


def _layer_norm(
    x: Symbol, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Symbol:
    if tuple(normalized_shape) != x.inner or len(x.inner) != 1:
        raise Untraceable(
            f"normalises {tuple(normalized_shape)} of {tuple(x.shape)}; the last axis is traced"
        )
    centred = pointwise("sub", x, _mean(x, -1, True))
    variance = _mean(power(centred, 2), -1, True)
    scale = power(pointwise("add", variance, eps), -0.5)
    return _affine(pointwise("mul", centred, scale), weight, bias)


def _rms_norm(
    x: Symbol, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None
) -> Symbol:
    if tuple(normalized_shape) != x.inner or len(x.inner) != 1:
        raise Untraceable(
            f"normalises {tuple(normalized_shape)} of {tuple(x.shape)}; the last axis is traced"
        )
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    variance = _mean(power(x, 2), -1, True)
    scale = power(pointwise("add", variance, eps), -0.5)
    return _affine(pointwise("mul", x, scale), weight, None)


def _affine(x: Symbol, weight: Any, bias: Any) -> Symbol:
    x = x if weight is None else pointwise("mul", x, weight)
    return x if bias is None else pointwise("add", x, bias)


def _shifted(x: Symbol, dim: Any) -> tuple[Symbol, Symbol]:
    """x without its largest unit, which changes no result and has no derivative, and that unit."""
    _over_units(x, dim)
    most = _row(x, x.graph.most(x.node), True)
    return pointwise("sub", x, most), most


def _softmax(x: Symbol, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Symbol:
    parts = pointwise("exp", _shifted(x, dim)[0])
    return pointwise("div", parts, _total(parts, -1, True))


def _log_softmax(x: Symbol, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Symbol:
    shifted = _shifted(x, dim)[0]
    return pointwise("sub", shifted, pointwise("log", _total(pointwise("exp", shifted), -1, True)))


ROWS: dict[str, Callable[..., Any]] = {
    "sum": _total,
    "mean": _mean,
    "var": _var,
    "std": _std,
    "norm": _norm,
    "linalg_vector_norm": _vector_norm,
    "normalize": _normalize,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
}
"""torch's functions and a tensor's methods by name."""
