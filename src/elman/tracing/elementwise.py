"""Operations unit by unit, as torch's functions do them, made of the engine's few.

Functions take and give symbols (N, width); numbers and rows of parameters may stand in a symbol's place.
"""

import math
from collections.abc import Callable
from typing import Any

import torch

from elman.tracing.graph import Untraceable
from elman.tracing.symbols import Symbol, broadcast, operand


def pointwise(op: str, *operands: Any) -> Symbol:
    """An operation unit by unit on symbols, numbers and rows of parameters."""
    like, inner = broadcast(operands)
    node = like.graph.apply(op, *(operand(value, inner, like) for value in operands))
    return Symbol(like.graph, node, like.lead, inner)


def _unary(op: str) -> Callable[..., Symbol]:
    return lambda x: pointwise(op, x)


def _binary(op: str, *, swapped: bool = False) -> Callable[..., Symbol]:
    def handler(a: Any, b: Any, *, alpha: float = 1) -> Symbol:
        a, b = (b, a) if swapped else (a, b)
        return pointwise(op, a, b) if alpha == 1 else pointwise(op, a, b * alpha)

    return handler


def power(x: Any, exponent: Any) -> Symbol:
    """x to the power of a number: whole ones to 8, halves, and their inverses."""
    if not isinstance(x, Symbol) or isinstance(exponent, bool) or not isinstance(exponent, int | float):
        raise Untraceable("raises to a power that is no number")
    if exponent < 0:
        return pointwise("div", 1.0, power(x, -exponent))
    if exponent == 0.5:
        return pointwise("sqrt", x)
    if exponent != int(exponent) or not 1 <= exponent <= 8:
        raise Untraceable(f"raises to the power {exponent!r}; whole ones to 8 and halves are traced")
    result = x
    for _ in range(int(exponent) - 1):
        result = pointwise("mul", result, x)
    return result


def _lerp(start: Any, end: Any, weight: Any) -> Symbol:
    return pointwise("add", start, pointwise("mul", weight, pointwise("sub", end, start)))


def _addcmul(x: Any, a: Any, b: Any, *, value: float = 1) -> Symbol:
    product = pointwise("mul", a, b)
    return pointwise("add", x, product if value == 1 else pointwise("mul", product, value))


def _addcdiv(x: Any, a: Any, b: Any, *, value: float = 1) -> Symbol:
    return pointwise("add", x, pointwise("mul", pointwise("div", a, b), value))


# -- comparisons -----------------------------------------------------------------------------------


def _compare(op: str, *, swapped: bool = False) -> Callable[..., Symbol]:
    return lambda a, b: pointwise(op, b, a) if swapped else pointwise(op, a, b)


def _complement(x: Symbol) -> Symbol:
    if x.node.op not in ("gt", "ge", "oneminus", "mul"):
        raise Untraceable("takes the complement of a tensor that is no comparison")
    return pointwise("sub", 1.0, x)


def _where(condition: Any, a: Any = None, b: Any = None) -> Symbol:
    if a is None or b is None:
        raise Untraceable("asks where a condition holds")
    if not isinstance(condition, Symbol):
        condition = condition.to(torch.get_default_dtype())
    return pointwise("select", condition, a, b)


def _masked_fill(x: Symbol, mask: Any, value: Any) -> Symbol:
    return _where(mask, value, x)


def clamp(x: Symbol, min: Any = None, max: Any = None) -> Symbol:
    """x within bounds; where it is at a bound it has the whole derivative, as in torch."""
    if min is not None:
        x = pointwise("select", pointwise("ge", x, min), x, min)
    return x if max is None else pointwise("select", pointwise("ge", max, x), x, max)


def _larger(a: Any, b: Any) -> Symbol:
    """Where both are equal each has half of the derivative, as in torch."""
    first, second = (pointwise("select", pointwise(op, a, b), a, b) for op in ("gt", "ge"))
    return pointwise("mul", pointwise("add", first, second), 0.5)


def _smaller(a: Any, b: Any) -> Symbol:
    first, second = (pointwise("select", pointwise(op, b, a), a, b) for op in ("gt", "ge"))
    return pointwise("mul", pointwise("add", first, second), 0.5)


# -- activations, made of the above ----------------------------------------------------------------


def _leaky_relu(x: Symbol, negative_slope: float = 0.01) -> Symbol:
    return pointwise("select", pointwise("gt", x, 0.0), x, pointwise("mul", x, negative_slope))


def _elu(x: Symbol, alpha: float = 1.0, scale: float = 1.0) -> Symbol:
    # exp only of what is not above zero: an infinity that is not chosen would spoil the derivative.
    low = pointwise("exp", pointwise("neg", pointwise("relu", pointwise("neg", x))))
    below = pointwise("mul", pointwise("sub", low, 1.0), alpha)
    return pointwise("mul", pointwise("select", pointwise("gt", x, 0.0), x, below), scale)


def _hardtanh(x: Symbol, min_val: float = -1.0, max_val: float = 1.0) -> Symbol:
    low = pointwise("select", pointwise("gt", x, min_val), x, min_val)
    return pointwise("select", pointwise("gt", max_val, x), low, max_val)


def _hardsigmoid(x: Symbol) -> Symbol:
    return pointwise("div", _hardtanh(pointwise("add", x, 3.0), 0.0, 6.0), 6.0)


def _softplus(x: Symbol, beta: float = 1.0, threshold: float = 20.0) -> Symbol:
    scaled = pointwise("mul", x, beta)
    large = pointwise("gt", scaled, threshold)
    inner = pointwise("exp", pointwise("select", large, threshold, scaled))
    smooth = pointwise("div", pointwise("log", pointwise("add", inner, 1.0)), beta)
    return pointwise("select", large, x, smooth)


def _gelu(x: Symbol, approximate: str = "none") -> Symbol:
    if approximate == "tanh":
        inner = pointwise("mul", _addcmul(x, power(x, 3), 0.044715), math.sqrt(2 / math.pi))
        cut = pointwise("tanh", inner)
    else:
        cut = pointwise("erf", pointwise("mul", x, math.sqrt(0.5)))
    return pointwise("mul", pointwise("mul", x, 0.5), pointwise("add", cut, 1.0))


def _silu(x: Symbol) -> Symbol:
    return pointwise("mul", x, pointwise("sigmoid", x))


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{op: _unary(op) for op in ("neg", "sigmoid", "tanh", "relu", "exp", "log", "sqrt", "abs", "erf")},
    **{name: _unary(op) for name, op in (("negative", "neg"), ("absolute", "abs"))},
    **{name: _binary("add") for name in ("add", "radd")},
    **{name: _binary("sub") for name in ("sub", "subtract")},
    **{name: _binary("mul") for name in ("mul", "multiply", "rmul", "and", "logical_and")},
    **{name: _binary("div") for name in ("div", "divide", "true_divide", "truediv")},
    "rsub": _binary("sub", swapped=True),
    **{name: _binary("div", swapped=True) for name in ("rtruediv", "rdiv")},
    **{name: _compare("gt") for name in ("gt", "greater")},
    **{name: _compare("ge") for name in ("ge", "greater_equal")},
    **{name: _compare("gt", swapped=True) for name in ("lt", "less")},
    **{name: _compare("ge", swapped=True) for name in ("le", "less_equal")},
    **dict.fromkeys(("logical_not", "invert", "bitwise_not"), _complement),
    "pow": power,
    "square": lambda x: power(x, 2),
    "rsqrt": lambda x: power(x, -0.5),
    "reciprocal": lambda x: power(x, -1),
    "lerp": _lerp,
    "addcmul": _addcmul,
    "addcdiv": _addcdiv,
    "where": _where,
    "masked_fill": _masked_fill,
    "clamp": clamp,
    "clip": clamp,
    "clamp_min": lambda x, min: clamp(x, min=min),
    "clamp_max": lambda x, max: clamp(x, max=max),
    "maximum": _larger,
    "minimum": _smaller,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "hardtanh": _hardtanh,
    "relu6": lambda x: _hardtanh(x, 0.0, 6.0),
    "hardsigmoid": _hardsigmoid,
    "hardswish": lambda x: pointwise("mul", x, _hardsigmoid(x)),
    "softplus": _softplus,
    **dict.fromkeys(
        ("logsigmoid", "log_sigmoid"), lambda x: pointwise("neg", _softplus(pointwise("neg", x)))
    ),
    "gelu": _gelu,
    "silu": _silu,
    "mish": lambda x: pointwise("mul", x, pointwise("tanh", _softplus(x))),
    "softsign": lambda x: pointwise("div", x, pointwise("add", pointwise("abs", x), 1.0)),
    "tanhshrink": lambda x: pointwise("sub", x, pointwise("tanh", x)),
}
"""torch's functions and a tensor's methods by name, without the underscores of the operators."""
