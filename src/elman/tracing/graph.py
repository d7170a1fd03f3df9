"""The graph of a step: vectors of units and how each is computed from others.

Leaves are input, state, param and const; then columns of a dense product, pointwise operations, reductions of
a row over its units (total, most), what a row sees of its memory (attend), and vectors side by side (cat).
Equal nodes are one node. A slice of a pointwise value is pushed down to its leaves, so that a graph holds
vectors of one width per operation: `(x + linear(h, w)).chunk(4, -1)` gives four sums of H units and not one
of 4H.

Shapes: T time, N batch; a node stands for (N, width).
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from elman.errors import ElmanError

ROW = -1
"""The width of a node with one number for each row: it goes with vectors of every width."""

REDUCTIONS = ("total", "most")
"""What makes one number of a row: its sum, its largest element."""


class Untraceable(ElmanError):
    """A step that the tracer cannot read; the message is the reason."""


@dataclass(frozen=True, eq=False)
class Node:
    """One vector of units.

    op, args and the whole `value` say what it is: input (which, first unit), state (which, first unit), param
    (which tensor,), const (number,), column (weight, bias or -1, first row) of a product with args[0], attend
    (keys, bias, values) for the query args[0], additive with the vector args[1] where there is one;
    pointwise nodes, reductions and cat have no value. width: number of units; 0 for a const and ROW for a
    number of each row, which fit every width.
    """

    op: str
    args: tuple["Node", ...]
    value: tuple[Any, ...]
    width: int
    place: int

    @property
    def units(self) -> int:
        """How many units storage for it has: one for a number of each row."""
        return 1 if self.width == ROW else self.width


@dataclass
class Graph:
    """The nodes of one step in the order of their making, and the tensors that they speak of.

    inputs: (T, N, C) sequences. tensors: weights (rows, K), biases (rows,) and vectors (width,) of
    parameters, keys and values (N, S, width) and bias (N, S) of memories. cuts: at which units vectors of a
    width were taken apart. whole: nodes before this place are not looked into when a sum is taken apart.
    """

    inputs: list[Tensor] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    cuts: dict[int, set[int]] = field(default_factory=dict)
    whole: int = 0
    _known: dict[tuple[Any, ...], Node] = field(default_factory=dict)
    _slices: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)
    _rows: list[tuple[Tensor, int]] = field(default_factory=list)

    def node(self, op: str, args: tuple[Node, ...] = (), value: tuple[Any, ...] = (), width: int = 0) -> Node:
        """The one node of this description."""
        key = (op, tuple(arg.place for arg in args), value, width)
        if key not in self._known:
            self._known[key] = Node(op, args, value, width, len(self.nodes))
            self.nodes.append(self._known[key])
        return self._known[key]

    def copy(self) -> "Graph":
        """The same nodes, to which others can be added."""
        return Graph(self.inputs, self.tensors, list(self.nodes), self.cuts, 0, dict(self._known))

    def const(self, number: float) -> Node:
        return self.node("const", value=(float(number),))

    def tensor(self, tensor: Tensor) -> int:
        """The place of a tensor among `tensors`; the same tensor has one place."""
        for place, known in enumerate(self.tensors):
            if known is tensor:
                return place
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def param(self, tensor: Tensor) -> Node:
        """A vector of parameters (width,)."""
        return self.node("param", (), (self.tensor(tensor),), len(tensor))

    def held(self, tensor: Tensor) -> Node:
        """Rows (N, width) that are the same at each step: an input that does not change."""
        time, batch = self.inputs[0].shape[:2]
        if batch != len(tensor):
            raise Untraceable("has rows of its own for the elements of a batch, beside symbols")
        place = next((place for known, place in self._rows if known is tensor), len(self.inputs))
        if place == len(self.inputs):
            self.inputs.append(tensor[None].expand(time, -1, -1))
            self._rows.append((tensor, place))
        return self.node("input", (), (place, 0), tensor.shape[1])

    # -- pointwise operations

    def apply(self, op: str, *args: Node) -> Node:
        """A pointwise node; constants are folded, signs drawn together, 1 - z is one operation.

        A vector of one unit goes with every width.
        """
        if any(arg.op == "cat" for arg in args):
            return self._in_parts(op, args)
        widths = {arg.width for arg in args if arg.width > 0}
        if len(widths) == 2 and 1 in widths:
            args = tuple(self.total(arg) if arg.width == 1 else arg for arg in args)
            widths.remove(1)
        if len(widths) > 1:
            raise Untraceable(f"{op} of vectors of {' and '.join(map(str, sorted(widths)))} units")
        if all(arg.op == "const" for arg in args):
            numbers = (torch.tensor(arg.value[0], dtype=torch.float64) for arg in args)
            return self.const(float(_FOLD[op](*numbers)))
        if op in ("mul", "add") and args[0].op == "const":
            args = (args[1], args[0])
        simpler = self._with_number(op, args) or self._without_signs(op, args)
        return simpler or self.node(op, args, width=widths.pop() if widths else ROW)

    def _in_parts(self, op: str, args: tuple[Node, ...]) -> Node:
        """An operation on vectors that lie side by side: one for each part."""
        args = tuple(self.total(arg) if arg.width == 1 else arg for arg in args)
        widths = {arg.width for arg in args if arg.width > 0}
        if len(widths) > 1:
            raise Untraceable(f"{op} of vectors of {' and '.join(map(str, sorted(widths)))} units")
        inner = (itertools.accumulate(part.width for part in arg.args) for arg in args if arg.op == "cat")
        return self.cat(
            [
                self.apply(op, *(self.slice(arg, start, stop - start) for arg in args))
                for start, stop in itertools.pairwise(sorted({0, *itertools.chain(*inner)}))
            ]
        )

    def _with_number(self, op: str, args: tuple[Node, ...]) -> Node | None:
        """The simpler form of an operation with a number, where there is one."""
        if len(args) != 2:
            return None
        left, right = (arg.value[0] if arg.op == "const" else None for arg in args)
        if (op, right) in (("add", 0.0), ("sub", 0.0), ("mul", 1.0), ("div", 1.0)):
            return args[0]
        if (op, left) == ("sub", 0.0) or (op, right) == ("mul", -1.0):
            return self.apply("neg", args[op == "sub"])
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

    # -- rows

    def total(self, node: Node) -> Node:
        """The sum of a row's units; of a vector of one unit, that unit for vectors of any width.

        What is the same for all units of a row is drawn out: sum_j r a_j = r sum_j a_j.
        """
        if node.width == ROW:
            return node
        if node.op == "cat":
            return self.sum([self.total(part) for part in node.args])
        if not node.width:
            raise Untraceable("sums a number over units")
        terms = self._terms(node, None)
        if all(factor is None and leaf.width > 0 for factor, _, leaf in terms):
            return self.node("total", (node,), width=ROW)
        groups: dict[tuple[Node | None, bool], list[Node]] = {}
        results: list[Node] = []
        for factor, negative, leaf in terms:
            if leaf.width > 0:
                groups.setdefault((factor, negative), []).append(leaf)
            else:
                each = self.apply(
                    "mul", self.apply("neg", leaf) if negative else leaf, self.const(node.width)
                )
                results.append(each if factor is None else self.apply("mul", each, factor))
        for (factor, negative), leaves in groups.items():
            if _centred(leaves):
                continue
            inner = self.node("total", (self.sum(leaves),), width=ROW)
            inner = inner if factor is None else self.apply("mul", inner, factor)
            results.append(self.apply("neg", inner) if negative else inner)
        return self.sum(results) if results else self.const(0.0)

    def _terms(self, node: Node, factor: Node | None) -> list[tuple[Node | None, bool, Node]]:
        """A sum's parts, each with its factor that is the same for all units and whether it is negative."""
        if node.width > 0 and node.place >= self.whole:
            if node.op in ("add", "sub"):
                left, right = (self._terms(arg, factor) for arg in node.args)
                turned = node.op == "sub"
                return [*left, *((f, negative != turned, leaf) for f, negative, leaf in right)]
            if node.op == "neg":
                return [(f, not negative, leaf) for f, negative, leaf in self._terms(node.args[0], factor)]
            if node.op == "mul" and any(arg.width <= 0 for arg in node.args):
                same, other = sorted(node.args, key=lambda arg: arg.width > 0)
                return self._terms(other, same if factor is None else self.apply("mul", factor, same))
        return [(factor, False, node)]

    def sum(self, nodes: Sequence[Node]) -> Node:
        """The nodes added up."""
        total = nodes[0]
        for node in nodes[1:]:
            total = self.apply("add", total, node)
        return total

    def most(self, node: Node) -> Node:
        """The largest of a row's units. It has no derivative: for shifts that change no result."""
        if node.op == "cat":
            raise Untraceable("takes the largest of vectors joined side by side")
        return node if node.width == ROW else self.node("most", (node,), width=ROW)

    def vector(self, node: Node, width: int = 1) -> Node:
        """A number of each row as a vector; any other node as it is."""
        return self.node("mov", (node,), width=width) if node.width in (0, ROW) else node

    # -- memories

    def attend(self, query: Node, vector: Tensor | None, keys: Tensor, bias: Tensor, values: Tensor) -> Node:
        """The context of a query in the memory of its row; vector: for additive scores."""
        if query.op == "cat" or query.width <= 0:
            raise Untraceable("attends with a query that is no vector of the step")
        if query.op == "param":
            raise Untraceable("attends with a query that is the same for all rows")
        args = (query,) if vector is None else (query, self.param(vector))
        value = (self.tensor(keys), self.tensor(bias), self.tensor(values))
        return self.node("attend", args, value, values.shape[2])

    # -- parts

    def cat(self, nodes: Sequence[Node]) -> Node:
        """Vectors side by side."""
        parts = [part for node in nodes for part in (node.args if node.op == "cat" else (self.vector(node),))]
        if len(parts) == 1:
            return parts[0]
        return self.node("cat", tuple(parts), width=sum(part.width for part in parts))

    def slice(self, node: Node, start: int, width: int) -> Node:
        """Units start .. start + width of a node."""
        if node.width in (0, ROW, width):
            return node
        if node.op in ("input", "state"):
            return self.node(node.op, (), (node.value[0], node.value[1] + start), width)
        if node.op == "column":
            weight, bias, row = node.value
            return self.node("column", node.args, (weight, bias, row + start), width)
        if node.op == "param":
            return self.param(self._slice(node.value[0], start, width))
        if node.op == "cat":
            found, first = [], 0
            for part in node.args:
                low, high = max(start, first), min(start + width, first + part.width)
                if low < high:
                    found.append(self.slice(part, low - first, high - low))
                first += part.width
            return self.cat(found)
        if node.op == "attend":
            raise Untraceable("takes a context apart")
        return self.apply(node.op, *(self.slice(arg, start, width) for arg in node.args))

    def _slice(self, tensor: int, start: int, width: int) -> Tensor:
        """The one slice of this place of a vector of parameters."""
        key = (tensor, start, width)
        if key not in self._slices:
            self._slices[key] = self.tensors[tensor][start : start + width]
        return self._slices[key]

    def product(self, node: Node, weight: Tensor, bias: Tensor | None = None) -> Node:
        """node (N, K) by the transpose of weight (rows, K), plus bias (rows,)."""
        rows, size = weight.shape
        node = self.vector(node)
        if node.width != size:
            raise Untraceable(f"a product of {node.width} units with a weight {tuple(weight.shape)}")
        if not size or not rows:
            raise Untraceable("a product without units")
        if bias is not None and bias.shape != (rows,):
            raise Untraceable(f"a bias {tuple(bias.shape)} for {rows} rows")
        if node.op == "cat":
            parts, start = [], 0
            for part in node.args:
                own = weight[:, start : start + part.width]
                parts.append(self.product(part, own, None if parts else bias))
                start += part.width
            return self.sum(parts)
        place = -1 if bias is None else self.tensor(bias)
        return self.node("column", (node,), (self.tensor(weight), place, 0), rows)


def _centred(leaves: Sequence[Node]) -> bool:
    """Whether the vectors are what their own mean was taken from, so that all their units add up to zero."""
    if len({leaves.count(leaf) for leaf in leaves}) > 1:
        return False
    leaves = list(dict.fromkeys(leaves))
    means = {leaf.args[1] for leaf in leaves if leaf.op == "sub"}
    mean = next(iter(means), None)
    if len(means) != 1 or mean is None or any(leaf.op != "sub" for leaf in leaves) or mean.op != "mul":
        return False
    total, share = mean.args
    if total.op != "total" or share.op != "const":
        return False
    parts, todo = [], [total.args[0]]
    while todo:
        node = todo.pop()
        if node.op == "add" and node not in (leaf.args[0] for leaf in leaves):
            todo.extend(node.args)
        else:
            parts.append(node)
    units = sum(leaf.width for leaf in leaves)
    same = sorted(part.place for part in parts) == sorted(leaf.args[0].place for leaf in leaves)
    return same and abs(share.value[0] * units - 1) < 1e-12


_FOLD: dict[str, Callable[..., Any]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "neg": torch.neg,
    "abs": torch.abs, "oneminus": lambda x: 1 - x, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    "relu": torch.relu, "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "erf": torch.erf,
    "gt": torch.gt, "ge": torch.ge, "select": lambda c, a, b: a if c else b,
}  # fmt: skip
"""What each pointwise operation is, in torch."""
