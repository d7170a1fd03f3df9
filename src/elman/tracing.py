"""A cell's equations as a graph, read from its own `step`.

`trace` runs `prepare` and `step` once on symbols in place of the inputs and the state. What a symbol meets
becomes nodes: leaves (input, state, param, const), columns of a dense product, and pointwise operations.
Whatever depends on parameters alone stays an ordinary tensor and is computed by torch with its history, so
that gradients reach the parameters through autograd whichever way a cell derives its vectors from them.

A slice of a pointwise value is pushed down to its leaves, so that a graph holds vectors of one width per
operation: `(x + linear(h, w)).chunk(4, -1)` gives four sums of H units and not one of 4H. Equal nodes are
one node.

What is not understood raises Untraceable with the reason in words; the caller then computes the cell in
another way. Shapes: T time, N batch, C input, H hidden; a symbol stands for (N, width), in `prepare` for (T,
N, width).
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from elman.cells.base import Cell, State, map_state
from elman.errors import ElmanError

UNARY = ("neg", "sigmoid", "tanh", "relu", "exp", "log", "sqrt", "abs")


class Untraceable(ElmanError):
    """A step that the tracer cannot read; the message is the reason."""


@dataclass(frozen=True, eq=False)
class Node:
    """One vector of units.

    op, args and the whole `value` say what it is: input (which, first unit), state (which,), param (which
    tensor,), const (number,), column (weight, bias or -1, first row) of a product with args[0]; pointwise
    nodes have no value. width: number of units; 0 for a const, which fits every width.
    """

    op: str
    args: tuple["Node", ...]
    value: tuple[Any, ...]
    width: int
    place: int


@dataclass
class Graph:
    """The nodes of one step in the order of their making, and the tensors that they speak of.

    inputs: (T, N, C) sequences. tensors: weights (rows, K), biases (rows,) and vectors (width,) of
    parameters.
    """

    inputs: list[Tensor] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    _known: dict[tuple[Any, ...], Node] = field(default_factory=dict)

    def node(self, op: str, args: tuple[Node, ...] = (), value: tuple[Any, ...] = (), width: int = 0) -> Node:
        """The one node of this description."""
        key = (op, tuple(arg.place for arg in args), value, width)
        if key not in self._known:
            self._known[key] = Node(op, args, value, width, len(self.nodes))
            self.nodes.append(self._known[key])
        return self._known[key]

    def copy(self) -> "Graph":
        """The same nodes, to which others can be added."""
        return Graph(self.inputs, self.tensors, list(self.nodes), dict(self._known))

    def const(self, number: float) -> Node:
        return self.node("const", value=(float(number),))

    def tensor(self, tensor: Tensor) -> int:
        """The place of a tensor among `tensors`; the same tensor has one place."""
        for place, known in enumerate(self.tensors):
            if known is tensor:
                return place
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def apply(self, op: str, *args: Node) -> Node:
        """A pointwise node; constants are folded, signs drawn together, 1 - z is one operation."""
        widths = {arg.width for arg in args} - {0}
        if len(widths) > 1:
            raise Untraceable(f"{op} of vectors of {' and '.join(map(str, sorted(widths)))} units")
        if all(arg.op == "const" for arg in args):
            numbers = (torch.tensor(arg.value[0], dtype=torch.float64) for arg in args)
            return self.const(float(_FOLD[op](*numbers)))
        if op in ("mul", "add") and args[0].op == "const":
            args = (args[1], args[0])
        simpler = self._with_number(op, args) or self._without_signs(op, args)
        return simpler or self.node(op, args, width=max(widths))

    def _with_number(self, op: str, args: tuple[Node, ...]) -> Node | None:
        """The simpler form of an operation with a number, where there is one."""
        if len(args) != 2:
            return None
        left, right = (arg.value[0] if arg.op == "const" else None for arg in args)
        if (op, right) in (("add", 0.0), ("sub", 0.0), ("mul", 1.0), ("div", 1.0)):
            return args[0]
        if (op, left) == ("sub", 1.0):
            return self.node("oneminus", (args[1],), width=args[1].width)
        if op == "div" and right:
            return self.apply("mul", args[0], self.const(1.0 / right))
        return None

    def _without_signs(self, op: str, args: tuple[Node, ...]) -> Node | None:
        """a + -b as a - b and the like, where a sign can be spared."""
        inside = [arg.args[0] if arg.op == "neg" else arg for arg in args]
        negative = [arg.op == "neg" for arg in args]
        if op == "neg" and negative[0]:
            return inside[0]
        if op == "mul" and any(negative):
            product = self.apply("mul", *inside)
            return product if all(negative) else self.apply("neg", product)
        if op in ("add", "sub") and negative[1]:
            return self.apply("sub" if op == "add" else "add", args[0], inside[1])
        if op == "add" and negative[0]:
            return self.apply("sub", args[1], inside[0])
        return None

    def slice(self, node: Node, start: int, width: int) -> Node:
        """Units start .. start + width of a node."""
        if node.width in (0, width):
            return node
        if node.op == "input":
            return self.node("input", (), (node.value[0], node.value[1] + start), width)
        if node.op == "column":
            weight, bias, row = node.value
            return self.node("column", node.args, (weight, bias, row + start), width)
        if node.op == "param":
            return self.param(self.tensors[node.value[0]][start : start + width])
        if node.op == "state":
            raise Untraceable("takes apart a tensor of the state; make its parts fields of the state")
        return self.apply(node.op, *(self.slice(arg, start, width) for arg in node.args))

    def param(self, tensor: Tensor) -> Node:
        """A vector of parameters (width,)."""
        return self.node("param", (), (self.tensor(tensor),), len(tensor))

    def product(self, node: Node, weight: Tensor, bias: Tensor | None = None) -> Node:
        """node (N, K) by the transpose of weight (rows, K), plus bias (rows,)."""
        rows, size = weight.shape
        if node.width != size:
            raise Untraceable(f"a product of {node.width} units with a weight {tuple(weight.shape)}")
        if not size or not rows:
            raise Untraceable("a product without units")
        if bias is not None and bias.shape != (rows,):
            raise Untraceable(f"a bias {tuple(bias.shape)} for {rows} rows")
        return self.node(
            "column", (node,), (self.tensor(weight), -1 if bias is None else self.tensor(bias), 0), rows
        )


_FOLD: dict[str, Callable[..., Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "neg": torch.neg,
    "abs": torch.abs, "oneminus": lambda x: 1 - x, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    "relu": torch.relu, "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt,
}  # fmt: skip
"""What each pointwise operation is, in torch."""


class Symbol:
    """Stands for a tensor (..., width) while a cell is read."""

    def __init__(self, graph: Graph, node: Node, lead: tuple[int, ...]) -> None:
        self.graph = graph
        self.node = node
        self.lead = lead

    @property
    def shape(self) -> torch.Size:
        return torch.Size((*self.lead, self.node.width))

    @property
    def ndim(self) -> int:
        return len(self.lead) + 1

    def dim(self) -> int:
        return self.ndim

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
        name = function.__name__
        handler = _HANDLERS.get(name.strip("_"))
        if handler is None:
            raise Untraceable(f"uses torch's {name}")
        return handler(*args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__") or name not in _HANDLERS:
            raise Untraceable(f"uses a tensor's {name}")
        return lambda *args, **kwargs: _HANDLERS[name](self, *args, **kwargs)

    def __getitem__(self, index: Any) -> "Symbol":
        return _getitem(self, index)

    def __bool__(self) -> bool:
        raise Untraceable("decides by the value of a tensor")

    def __iter__(self) -> Any:
        raise Untraceable("goes through the elements of a tensor")

    def __add__(self, other: Any) -> "Symbol":
        return _pointwise("add", self, other)

    def __radd__(self, other: Any) -> "Symbol":
        return _pointwise("add", other, self)

    def __sub__(self, other: Any) -> "Symbol":
        return _pointwise("sub", self, other)

    def __rsub__(self, other: Any) -> "Symbol":
        return _pointwise("sub", other, self)

    def __mul__(self, other: Any) -> "Symbol":
        return _pointwise("mul", self, other)

    def __rmul__(self, other: Any) -> "Symbol":
        return _pointwise("mul", other, self)

    def __truediv__(self, other: Any) -> "Symbol":
        return _pointwise("div", self, other)

    def __rtruediv__(self, other: Any) -> "Symbol":
        return _pointwise("div", other, self)

    def __neg__(self) -> "Symbol":
        return _pointwise("neg", self)

    def __pow__(self, exponent: Any) -> "Symbol":
        return _pow(self, exponent)

    def __matmul__(self, weight: Any) -> "Symbol":
        return _matmul(self, weight)


def _node(value: Any, like: Symbol) -> Node:
    """The node of an operand: a symbol, a number, or a tensor that holds one number or one row."""
    graph = like.graph
    if isinstance(value, Symbol):
        if value.lead != like.lead:
            raise Untraceable(f"combines {tuple(value.shape)} with {tuple(like.shape)}")
        return value.node
    if isinstance(value, bool | int | float):
        return graph.const(value)
    if not isinstance(value, Tensor):
        raise Untraceable(f"combines a tensor with {type(value).__name__}")
    if not value.is_floating_point():
        raise Untraceable(f"combines a tensor with one of {value.dtype}")
    width = like.node.width
    if value.numel() == 1 and value.dim() <= like.ndim:
        return graph.param(value.reshape(1).expand(width))
    if value.numel() == width and value.dim() <= like.ndim and value.shape[-1] == width:
        return graph.param(value if value.dim() == 1 else value.reshape(width))
    raise Untraceable(f"combines {tuple(like.shape)} with a tensor {tuple(value.shape)} that is not one row")


def _pointwise(op: str, *operands: Any) -> Symbol:
    # The widest symbol says how wide a number or a row has to be.
    like = max((value for value in operands if isinstance(value, Symbol)), key=lambda value: value.node.width)
    return Symbol(like.graph, like.graph.apply(op, *(_node(value, like) for value in operands)), like.lead)


def _unary(op: str) -> Callable[..., Symbol]:
    def handler(x: Any, inplace: bool = False) -> Symbol:
        if inplace:
            raise Untraceable("changes a tensor in place")
        return _pointwise(op, x)

    return handler


def _binary(op: str, *, swapped: bool = False) -> Callable[..., Symbol]:
    def handler(a: Any, b: Any, *, alpha: float = 1) -> Symbol:
        a, b = (b, a) if swapped else (a, b)
        return _pointwise(op, a, b) if alpha == 1 else _pointwise(op, a, _pointwise("mul", b, alpha))

    return handler


def _pow(x: Any, exponent: Any) -> Symbol:
    if not isinstance(x, Symbol) or exponent != 2:
        raise Untraceable(f"raises to the power {exponent!r}; only squares are traced")
    return _pointwise("mul", x, x)


def _lerp(start: Any, end: Any, weight: Any) -> Symbol:
    return _pointwise("add", start, _pointwise("mul", weight, _pointwise("sub", end, start)))


def _addcmul(x: Any, a: Any, b: Any, *, value: float = 1) -> Symbol:
    product = _pointwise("mul", a, b)
    return _pointwise("add", x, product if value == 1 else _pointwise("mul", product, value))


def _linear(x: Any, weight: Any, bias: Any = None) -> Symbol:
    if not isinstance(x, Symbol) or not isinstance(weight, Tensor) or weight.dim() != 2:
        raise Untraceable("multiplies two tensors that depend on the input or the state")
    if bias is not None and not isinstance(bias, Tensor):
        raise Untraceable("adds a bias that depends on the input or the state")
    return Symbol(x.graph, x.graph.product(x.node, weight, bias), x.lead)


def _matmul(x: Any, weight: Any) -> Symbol:
    return _linear(x, weight.t() if isinstance(weight, Tensor) and weight.dim() == 2 else weight)


def _addmm(bias: Any, x: Any, weight: Any) -> Symbol:
    return _pointwise("add", bias, _matmul(x, weight))


def _last(x: Symbol, dim: int) -> None:
    if dim % x.ndim != x.ndim - 1:
        raise Untraceable(f"takes a tensor apart along axis {dim}; only the last is traced")


def _chunk(x: Symbol, chunks: int, dim: int = 0) -> tuple[Symbol, ...]:
    _last(x, dim)
    return _split(x, -(-x.node.width // chunks), dim)


def _split(x: Symbol, size: int | Sequence[int], dim: int = 0) -> tuple[Symbol, ...]:
    _last(x, dim)
    width = x.node.width
    sizes = (
        [min(size, width - start) for start in range(0, width, size)] if isinstance(size, int) else list(size)
    )
    if sum(sizes) != width:
        raise Untraceable(f"splits {width} units into {sizes}")
    starts = itertools.accumulate(sizes, initial=0)
    return tuple(_range(x, start, size) for start, size in zip(starts, sizes, strict=False))


def _range(x: Symbol, start: int, width: int) -> Symbol:
    return Symbol(x.graph, x.graph.slice(x.node, start, width), x.lead)


def _getitem(x: Symbol, index: Any) -> Symbol:
    index = index if isinstance(index, tuple) else (index,)
    if Ellipsis in index:
        at = index.index(Ellipsis)
        index = index[:at] + (slice(None),) * (x.ndim - len(index) + 1) + index[at + 1 :]
    index += (slice(None),) * (x.ndim - len(index))
    if (
        len(index) != x.ndim
        or any(part != slice(None) for part in index[:-1])
        or not isinstance(index[-1], slice)
    ):
        raise Untraceable("indexes a tensor otherwise than by a range of its last axis")
    start, stop, step = index[-1].indices(x.node.width)
    if step != 1 or stop <= start:
        raise Untraceable("indexes a tensor by an empty range or with a stride")
    return _range(x, start, stop - start)


_HANDLERS: dict[str, Callable[..., Any]] = {
    **{name: _unary(name) for name in UNARY},
    "negative": _unary("neg"),
    "add": _binary("add"), "radd": _binary("add"), "sub": _binary("sub"), "subtract": _binary("sub"),
    "rsub": _binary("sub", swapped=True), "mul": _binary("mul"), "multiply": _binary("mul"),
    "rmul": _binary("mul"),
    "div": _binary("div"), "divide": _binary("div"), "true_divide": _binary("div"), "truediv": _binary("div"),
    "rtruediv": _binary("div", swapped=True), "rdiv": _binary("div", swapped=True),
    "pow": _pow, "square": lambda x: _pow(x, 2), "lerp": _lerp, "addcmul": _addcmul,
    "linear": _linear, "matmul": _matmul, "mm": _matmul, "addmm": _addmm,
    "chunk": _chunk, "split": _split, "getitem": _getitem,
}  # fmt: skip
"""torch's functions and a tensor's methods by name, without the underscores of the operators."""


@dataclass
class Trace:
    """One step as a graph: where its output and its new state are computed, and the shape of the state.

    widths: units of each tensor of the state, in the order in which `map_state` meets them.
    """

    graph: Graph
    output: Node
    states: tuple[Node, ...]
    widths: tuple[int, ...]

    @property
    def key(self) -> tuple[Any, ...]:
        """What the computation is, apart from the numbers: equal keys have equal programs."""
        nodes = tuple((n.op, tuple(a.place for a in n.args), n.value, n.width) for n in self.graph.nodes)
        inputs = tuple(x.shape[2] for x in self.graph.inputs)
        return nodes, self.output.place, tuple(node.place for node in self.states), self.widths, inputs


def leaves(state: State) -> list[Tensor]:
    """The tensors of a state in order."""
    found: list[Tensor] = []
    map_state(lambda tensor: (found.append(tensor), tensor)[1], state)
    return found


def trace(cell: Cell, inputs: Tensor, state: State, batch: int | None = None) -> Trace:
    """Reads one step of `cell` for inputs (T, N, C) and a state.

    batch: the elements of a step, where the inputs are not those of a batch but rows (V, 1, C) of symbols.

    Raises Untraceable with the reason where an equation has a part that the tracer does not know.
    """
    for tensor in leaves(state):
        if tensor.dim() != 2 or not tensor.is_floating_point() or not tensor.shape[1]:
            raise Untraceable(f"has a state {tensor.dtype} {tuple(tensor.shape)}; (N, H) of floats is traced")
    graph = Graph()
    batch = inputs.shape[1] if batch is None else batch
    prepared = _prepare(cell, graph, inputs)
    try:
        x = map_structure(lambda value: _at_a_step(graph, value, batch), prepared)
        places = itertools.count()
        symbols = map_state(
            lambda tensor: Symbol(graph, graph.node("state", (), (next(places),), tensor.shape[1]), (batch,)),  # pyrefly: ignore[bad-argument-type]
            state,
        )
        output, new = cell.step(x, symbols)
    except Untraceable:
        raise
    except Exception as error:  # anything that a user's step does with a tensor and a symbol cannot
        raise Untraceable(f"fails on symbols ({type(error).__name__}: {error})") from error
    states = _flat(new)
    widths = tuple(tensor.shape[1] for tensor in leaves(state))
    results: list[Any] = [output, *states]
    if not all(isinstance(value, Symbol) for value in results):
        raise Untraceable("returns something that does not depend on the input or the state")
    nodes = tuple(value.node for value in results)
    if tuple(node.width for node in nodes[1:]) != widths or nodes[0].width != cell.output_size:
        raise Untraceable(f"returns vectors of {[node.width for node in nodes]} units")
    return Trace(graph, nodes[0], nodes[1:], widths)


def map_structure(function: Callable[[Any], Any], value: Any) -> Any:
    """`map_state` for a structure that may hold symbols."""
    if isinstance(value, tuple):
        parts = [map_structure(function, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return function(value)


def _flat(value: Any) -> list[Any]:
    found: list[Any] = []
    map_structure(found.append, value)
    return found


def _prepare(cell: Cell, graph: Graph, inputs: Tensor) -> Any:
    """What `prepare` returns: symbols where it can be read (its products are native then), else tensors."""
    graph.inputs.append(inputs)
    symbol = Symbol(graph, graph.node("input", (), (0, 0), inputs.shape[2]), tuple(inputs.shape[:2]))
    try:
        prepared = cell.prepare(symbol)  # pyrefly: ignore[bad-argument-type]
    except Exception:
        prepared = None  # it needs no tracing: torch computes it, with gradients
    readable = prepared is not None and all(isinstance(value, Symbol) for value in _flat(prepared))
    return prepared if readable else cell.prepare(inputs)


def _at_a_step(graph: Graph, value: Any, batch: int) -> Symbol:
    """The slice at one step of a part of what `prepare` returned."""
    if isinstance(value, Symbol):
        return Symbol(graph, value.node, (batch,))
    if value.dim() != 3 or not value.is_floating_point() or not value.shape[2]:
        raise Untraceable(f"prepares {value.dtype} {tuple(value.shape)}; (T, N, width) of floats is traced")
    graph.inputs.append(value)
    return Symbol(graph, graph.node("input", (), (len(graph.inputs) - 1, 0), value.shape[2]), (batch,))
