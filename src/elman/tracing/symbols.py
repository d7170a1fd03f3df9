"""What a cell is given in place of tensors while it is read.

A symbol stands for a tensor (*lead, *inner): lead is (N,), in `prepare` (T, N); inner is (width,), () for one
number of each row, or (G, width) where units were folded. What is done with it is looked up by name in
`Symbol.functions`, the table of elman.tracing.functions.

Changing a symbol in place gives it another node. Who shares storage with it is then out of date, and using
that is refused: a graph has no storage.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar
from weakref import ref

import torch
from torch import Tensor

from elman.tracing.graph import ROW, Graph, Node, Untraceable


class Symbol:
    """Stands for a tensor while a cell is read."""

    functions: ClassVar[dict[str, Callable[..., Any]]] = {}
    """torch's functions and a tensor's methods by name, without the underscores of the operators."""

    def __init__(
        self,
        graph: Graph,
        node: Node,
        lead: tuple[int, ...],
        inner: tuple[int, ...] | None = None,
        base: "Symbol | None" = None,
        start: int = 0,
    ) -> None:
        self.graph = graph
        self._node = node
        self.lead = lead
        self.inner = (node.units,) if inner is None else inner
        self.start = start if base is None else base.start + start
        # Weak: symbols that hold each other would keep the batch that they were read with until Python looks
        # for such circles, which takes thousands of updates.
        self.kin: list[ref[Symbol]] = [] if base is None else base.kin
        self.kin.append(ref(self))
        self.stale = False

    @property
    def node(self) -> Node:
        if self.stale:
            raise Untraceable("uses a tensor after another that shares its storage was changed in place")
        return self._node

    def change(self, node: Node) -> "Symbol":
        """The same symbol with another value."""
        if self._node.op in ("input", "state"):
            raise Untraceable(f"changes its {self._node.op} in place")
        if node.units != self._node.units:
            raise Untraceable(f"changes {self._node.units} units in place to {node.units}")
        end = self.start + self._node.units
        for other in (symbol for kin in self.kin if (symbol := kin()) is not None):
            apart = other.start >= end or other.start + other._node.units <= self.start
            other.stale = other.stale or not (apart or other is self)
        self._node = node
        return self

    @property
    def shape(self) -> torch.Size:
        return torch.Size((*self.lead, *self.inner))

    @property
    def ndim(self) -> int:
        return len(self.lead) + len(self.inner)

    @property
    def dtype(self) -> torch.dtype:
        return self.graph.inputs[0].dtype

    @property
    def device(self) -> torch.device:
        return self.graph.inputs[0].device

    def dim(self) -> int:
        return self.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return _call(function.__name__, f"torch's {function.__name__}", args, kwargs or {})

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__") or not _function(name):
            raise Untraceable(f"uses a tensor's {name}")
        return lambda *args, **kwargs: _call(name, f"a tensor's {name}", (self, *args), kwargs)

    def __getitem__(self, index: Any) -> "Symbol":
        return self.functions["getitem"](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise Untraceable("writes into a part of a tensor")

    def __bool__(self) -> bool:
        raise Untraceable("decides by the value of a tensor")

    def __float__(self) -> float:
        raise Untraceable("takes a number out of a tensor")

    __int__ = __float__

    def __iter__(self) -> Any:
        raise Untraceable("goes through the elements of a tensor")


_OPERATORS = (
    "add", "radd", "iadd", "sub", "rsub", "isub", "mul", "rmul", "imul", "truediv", "rtruediv", "itruediv",
    "neg", "pow", "matmul", "gt", "ge", "lt", "le", "and", "or", "invert", "abs",
)  # fmt: skip


def _operator(name: str) -> Callable[..., Any]:
    def operator(*args: Any) -> Any:
        return _call(f"__{name}__", f"the operator {name}", args, {})

    return operator


for _name in _OPERATORS:
    setattr(Symbol, f"__{_name}__", _operator(_name))


def _function(name: str) -> Callable[..., Any] | None:
    """What is known by this name, in place or not."""
    plain = name.strip("_")
    if name.startswith("__i") and plain[1:] in Symbol.functions and plain != "invert":
        return Symbol.functions[plain[1:]]
    return Symbol.functions.get(plain)


def _call(name: str, words: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    function = _function(name)
    if function is None:
        raise Untraceable(f"uses {words}")
    in_place = (name.endswith("_") and not name.endswith("__")) or (
        name.startswith("__i") and name != "__invert__"
    )
    kwargs = {key: value for key, value in kwargs.items() if key != "out" or value is not None}
    in_place = kwargs.pop("inplace", False) or in_place
    try:
        result = function(*args, **kwargs)
    except (TypeError, AttributeError, IndexError) as error:  # an argument that the table does not know
        raise Untraceable(f"uses {words} in a way that is not traced ({error})") from error
    if not in_place:
        return result
    target = args[0]
    if not isinstance(target, Symbol) or not isinstance(result, Symbol) or result.shape != target.shape:
        raise Untraceable(f"changes a tensor in place by {words}")
    return target.change(result.node)


def operand(value: Any, inner: tuple[int, ...], like: Symbol) -> Node:
    """The node of an operand of a result (*lead, *inner): a symbol, a number, or a tensor with one row."""
    graph = like.graph
    if isinstance(value, Symbol):
        if value.lead != like.lead:
            raise Untraceable(f"combines {tuple(value.shape)} with {tuple(like.shape)}")
        if value.inner != inner and value.node.units != 1:
            raise Untraceable(f"combines units {value.inner} with {inner}")
        return value.node
    if isinstance(value, bool | int | float):
        return graph.const(value)
    if not isinstance(value, Tensor):
        raise Untraceable(f"combines a tensor with {type(value).__name__}")
    if not value.is_floating_point():
        raise Untraceable(f"combines a tensor with one of {value.dtype}")
    if value.shape == (*like.lead, *inner) and len(like.lead) == 1 and like.lead[0] != 1:
        return graph.held(value)
    row = _row(value, like.ndim)
    if _together([row, inner]) != inner:
        raise Untraceable(
            f"combines {tuple(like.shape)} with a tensor {tuple(value.shape)} that is not one row"
        )
    node = graph.param(
        value if value.shape == inner and len(inner) == 1 else value.reshape(row).expand(inner).reshape(-1)
    )
    return graph.total(node) if like.node.width == ROW and node.width == 1 else node


def broadcast(operands: tuple[Any, ...]) -> tuple[Symbol, tuple[int, ...]]:
    """The symbol that says most about a result, and the result's inner shape."""
    symbols = [value for value in operands if isinstance(value, Symbol)]
    like = max(symbols, key=lambda value: (len(value.inner), value.node.units))
    if len({len(symbol.inner) for symbol in symbols}) > 1:
        raise Untraceable(f"combines {' with '.join(str(tuple(symbol.shape)) for symbol in symbols)}")
    shapes = [symbol.inner for symbol in symbols]
    for value in operands:
        if isinstance(value, Tensor) and value.dim() <= like.ndim:
            row = _row(value, like.ndim)
            shapes += [row] if len(row) <= len(like.inner) else []
    inner = _together(shapes)
    if inner is None:
        raise Untraceable(f"combines units {' with '.join(map(str, shapes))}")
    return like, inner


def _together(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    """The shape that these have together, None where they do not fit.

    torch.broadcast_shapes would import a second's worth of modules.
    """
    rank = max(map(len, shapes))
    sizes = []
    for axis in range(-rank, 0):
        found = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(found) > 1:
            return None
        sizes.append(found.pop() if found else 1)
    return tuple(sizes)


def _row(value: Tensor, ndim: int) -> tuple[int, ...]:
    """A tensor's shape without the axes of one in front; longer than any row where it is none."""
    shape = tuple(value.shape)
    if len(shape) > ndim:
        return (0,) * (ndim + 1)
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape
