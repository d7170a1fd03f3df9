"""From a traced step to a plan: what is saved, the derivative as a graph, and both cut into stages.

Shapes and words are those of elman.programs.plan.
"""

import math
from collections.abc import Callable, Sequence

from elman.programs.cutter import Cutter
from elman.programs.emitter import registers
from elman.programs.plan import CHEAP, Attend, Operand, Piece, Plan, Product, Stage
from elman.programs.slots import share_slots
from elman.tracing import ROW, Graph, Node, Trace, Untraceable, reachable


def plan(trace: Trace, *, train: bool) -> Plan:
    """Cuts a trace into stages, with its derivative where `train`."""
    return Planner(trace, train).run()


class Planner:
    """The work of `plan`, one paragraph of the module's text after the other."""

    def __init__(self, trace: Trace, train: bool) -> None:
        self.trace = trace
        self.graph = trace.graph.copy()  # the derivative's nodes are none of the trace's
        self.train = train
        self.end = self.graph.whole = len(self.graph.nodes)  # nodes from here on belong to the derivative
        self.params: list[int] = []
        self.param_widths: list[int] = []
        self.consts: list[float] = [0.0]
        self.temps: list[int] = []
        self.virtual: list[int] = []  # the width of each slot before slots share storage
        self.home: dict[Node, Operand] = {}  # where a node can be read
        self.after = {node: j for j, node in reversed(list(enumerate(trace.states)))}
        self.pinned: set[int] = set()  # slots that are read after the scan
        self.given: dict[Node, Operand] = {}  # the slot with the derivative of a column or an input
        self.derivative: dict[Node, Node | None] = {}
        self.attends: dict[Node, Attend] = {}
        self.outputs = trace.output.args if trace.output.op == "cat" else (trace.output,)
        self.live = reachable((*self.outputs, *trace.states))
        self.groups: dict[tuple[Node, int], list[Node]] = {}  # recurrent columns by source and width
        self.lifted: dict[tuple[Node, int], list[Node]] = {}  # columns of the inputs
        for node in self.live:
            if node.op == "column":
                groups = self.lifted if node.args[0].op == "input" else self.groups
                groups.setdefault((node.args[0], node.width), []).append(node)
        self.group_of = {column: key for key, columns in self.groups.items() for column in columns}

    def run(self) -> Plan:
        sequences, hoisted, pieces = self._inputs()
        roots = self._backward_graph() if self.train else {}
        saved = self._saved(roots)
        forward_roots: dict[Node, list[Operand]] = {}
        for j, node in enumerate(self.trace.states):
            forward_roots.setdefault(node, []).append(("after", j))
        keep = [*saved, *(source for source, _ in self.groups if not self.readable(source))]
        keep += [node for node in self.outputs if not self.readable(node) and node not in self.after]
        for node in dict.fromkeys(keep):
            if node not in self.after and node not in self.home:
                forward_roots.setdefault(node, []).append(self._slot(node.units))
        forward = Cutter(self, forward_roots, backward=False).cut()
        products = self._products()
        for node in self.outputs:
            self.home.setdefault(node, self.operand(node))
            if self.home[node][0] not in ("slot", "after"):
                raise Untraceable("gives out a vector that it does not compute")
        attends = [*self.attends.values()]
        backward: list[Stage] = []
        if self.train:
            for product in (*products, *hoisted):
                if product.source[0] == "slot":
                    self.pinned.add(product.source[1])
            backward = self._backward(roots, products, hoisted)
        plan = Plan(
            self.trace.widths, sequences, [self._piece(piece, roots) for piece in pieces], hoisted, products,
            attends, forward, backward, self.virtual, self.temps,
            self.params, self.param_widths, self.consts,
            [(self.home[node], node.width) for node in self.outputs],
            max((registers(stage) for stage in (*forward, *backward)), default=0),
        )  # fmt: skip
        share_slots(plan, self.pinned)
        return plan

    # -- operands
    # ------------------------------------------------------------------------------------------------

    def _slot(self, width: int) -> Operand:
        self.virtual.append(width)
        return "slot", len(self.virtual) - 1

    def temp(self, width: int) -> Operand:
        self.temps.append(width)
        return "temp", len(self.temps) - 1

    def readable(self, node: Node) -> bool:
        return node in self.home or node.op in ("state", "param", "const")

    def operand(self, node: Node) -> Operand:
        """Where a leaf, or a node that has been given a home, is read."""
        if node in self.home:
            return self.home[node]
        if node.op == "state":
            return "before", node.value[0]
        if node.op == "param":
            if node.value[0] not in self.params:
                self.params.append(node.value[0])
                self.param_widths.append(node.width)
            return "param", self.params.index(node.value[0])
        if node.op == "const":
            if node.value[0] not in self.consts:
                self.consts.append(node.value[0])
            return "const", self.consts.index(node.value[0])
        raise AssertionError(node)

    # -- inputs and products
    # -----------------------------------------------------------------------------------------

    def _inputs(self) -> tuple[list[tuple[int, int, int]], list[Product], list[Node]]:
        sequences: list[tuple[int, int, int]] = []
        hoisted = []
        for (source, width), columns in self.lifted.items():
            sequence = (*source.value, source.width)
            if sequence not in sequences:
                sequences.append(sequence)
            slots = []
            for column in columns:
                self.home[column] = self._slot(width)
                slots.append(self.home[column][1])
            place = sequences.index(sequence)
            hoisted.append(
                Product(("sequence", place), source.width, width, [c.value for c in columns], slots)
            )
        read = {arg for node in self.live if node.op != "column" for arg in node.args} | {
            *self.outputs,
            *self.trace.states,
        }
        pieces = [node for node in self.live if node.op == "input" and node in read]
        for node in pieces:
            self.home[node] = self._slot(node.width)
        return sequences, hoisted, pieces

    def _products(self) -> list[Product]:
        products = []
        for (source, width), columns in self.groups.items():
            place = ("after", self.after[source]) if source in self.after else self.operand(source)
            if place[0] not in ("before", "after", "slot"):
                raise Untraceable("multiplies a vector of parameters")
            products.append(Product(place, source.width, width, [c.value for c in columns]))
        return products

    # -- the derivative
    # ----------------------------------------------------------------------------------------------

    def _backward_graph(self) -> dict[Node, Node | None]:
        """The derivative of every live node as a node of the graph; None where nothing depends on it."""
        graph = self.graph
        d = Derivatives(graph, self.live)
        back: dict[Node, list[Node]] = {}
        for place, (source, _) in enumerate(self.groups):
            back.setdefault(source, []).append(graph.node("back", (), (place,), source.width))
        self._begin(d, back)
        for node in sorted(self.live, key=lambda node: -node.place):
            if node.op not in ("state", "input"):
                for product in back.get(node, []):
                    d.add(node, product)
            own = d.own(node)
            if node.op == "column" or own is None:
                continue
            if node.op == "attend":
                query = node.args[0]
                d_context = graph.vector(own, node.width)
                d.add(query, graph.node("unattend", (d_context, query), (node.place,), query.width))
                continue
            for arg, more in zip(node.args, _chain(graph, node, own), strict=True):
                if arg.op != "const" and more is not None:
                    d.add(arg, more)
        return {node: d.vector(node) for node in self.live}

    def _begin(self, d: "Derivatives", back: dict[Node, list[Node]]) -> None:
        """What reaches the output and the new state from outside and from the step after."""
        for place, node in enumerate(self.outputs):
            d.add(node, self.graph.node("dout", (), (place,), node.width))
        for j, node in enumerate(self.trace.states):
            d.add(node, self.graph.node("carry", (), (j,), node.width))
            for leaf, products in back.items():
                if leaf.op == "state" and leaf.value[0] == j:
                    for product in products:
                        d.add(node, product)

    def _saved(self, d: dict[Node, Node | None]) -> list[Node]:
        """The forward nodes that backward reads from slots."""
        wanted = [
            node
            for node in reachable(self._results(d).values(), stop=lambda node: node.place < self.end)
            if node.place < self.end
        ]
        saved: list[Node] = []

        def known(node: Node) -> bool:
            return self.readable(node) or node in self.after or node in saved

        def again(node: Node) -> bool:
            return known(node) or (node.op in CHEAP and all(again(arg) for arg in node.args))

        for query in [node.args[0] for node in self.live if node.op == "attend"]:
            if not self.readable(query) and query not in self.after and query not in saved:
                saved.append(query)  # whole, however cheap
        dear = [node for node in wanted if node.op not in CHEAP]
        for node in (*dear, *(node for node in wanted if node.op in CHEAP)):
            of_state = node.op in ("sigmoid", "tanh", "exp") and node.args[0] in self.after
            if not of_state and not again(node):
                saved.append(node)
        return saved

    def _results(self, d: dict[Node, Node | None]) -> dict[Node, Node]:
        """What backward computes: derivatives of states, params, columns and pieces, by node."""
        found = {}
        for node, value in d.items():
            if node.op in ("state", "param", "column", "input") and value is not None:
                found[node] = value
        return found

    def _backward(
        self, d: dict[Node, Node | None], products: list[Product], hoisted: list[Product]
    ) -> list[Stage]:
        self.derivative = d
        roots: dict[Node, list[Operand]] = {}
        slot_of: dict[Node, Operand] = {}
        zero = self.graph.const(0.0)
        for node in sorted(self.live, key=lambda node: node.place):
            value = d[node]
            if node.op == "param" and value is not None:
                roots.setdefault(value, []).append(("pgrad", self.operand(node)[1]))
            elif node.op == "column" or (node.op == "input" and node in self.home and value is not None):
                value = zero if value is None else value
                key = value if value.width else node
                if key not in slot_of:
                    slot_of[key] = self._slot(node.width)
                    roots.setdefault(value, []).append(slot_of[key])
                self.given[node] = slot_of[key]
                self.pinned.add(slot_of[key][1])
        for j, width in enumerate(self.trace.widths):
            leaf = self.graph.node("state", (), (j, 0), width)
            roots.setdefault(d.get(leaf) or zero, []).append(("pass", j))
        for product, columns in zip(products, self.groups.values(), strict=True):
            product.gradients = [self.given[column][1] for column in columns]
        for product, columns in zip(hoisted, self.lifted.values(), strict=True):
            product.gradients = [self.given[column][1] for column in columns]
        return Cutter(self, roots, backward=True).cut()

    def _piece(self, node: Node, d: dict[Node, Node | None]) -> Piece:
        gradient = self.given[node][1] if self.train and d[node] is not None else -1
        return Piece(node.value[0], node.value[1], node.width, self.home[node][1], gradient)


class Derivatives:
    """Sums of what reaches each node; a number of each row gathers vectors, and sums them over the units
    once.
    """

    def __init__(self, graph: Graph, nodes: Sequence[Node]) -> None:
        self.graph = graph
        self.sums: dict[Node, Node | None] = dict.fromkeys(nodes)
        self.wide: dict[Node, dict[int, Node]] = {}  # of numbers of each row: the vectors by their width

    def add(self, node: Node, more: Node) -> None:
        if node.width == ROW and more.width > 0:
            sums = self.wide.setdefault(node, {})
            known = sums.get(more.width)
            sums[more.width] = more if known is None else self.graph.apply("add", known, more)
        else:
            known = self.sums[node]
            self.sums[node] = more if known is None else self.graph.apply("add", known, more)

    def own(self, node: Node) -> Node | None:
        """A node's derivative when everything that depends on it has been added."""
        for vector in self.wide.pop(node, {}).values():
            self.add(node, self.graph.total(vector))
        return self.sums[node]

    def vector(self, node: Node) -> Node | None:
        """The same, as wide as the node."""
        own = self.own(node)
        return own if own is None or node.width <= 0 else self.graph.vector(own, node.width)


def _chain(graph: Graph, y: Node, d: Node) -> tuple[Node | None, ...]:
    """The derivatives of y's arguments, d being y's own; None where there is none."""
    return DERIVATIVES[y.op](graph, y, d) if y.op in DERIVATIVES else (None,) * len(y.args)


def _by_result(graph: Graph, y: Node, d: Node) -> tuple[Node, ...]:
    """Of a function whose derivative is known from its value."""
    return (graph.node(f"d{y.op}", (d, y), width=y.width),)


def _of_product(graph: Graph, y: Node, d: Node) -> tuple[Node | None, ...]:
    a, b = y.args
    if a is b:
        return graph.apply("mul", graph.apply("mul", d, graph.const(2.0)), a), None
    return graph.apply("mul", d, b), graph.apply("mul", d, a)


def _of_division(graph: Graph, y: Node, d: Node) -> tuple[Node, ...]:
    by = graph.apply("div", d, y.args[1])
    return by, graph.apply("neg", graph.apply("mul", by, y))


def _of_select(graph: Graph, y: Node, d: Node) -> tuple[Node | None, ...]:
    zero = graph.const(0.0)
    return None, graph.apply("select", y.args[0], d, zero), graph.apply("select", y.args[0], zero, d)


def _of_erf(graph: Graph, y: Node, d: Node) -> tuple[Node, ...]:
    bell = graph.apply("exp", graph.apply("neg", graph.apply("mul", y.args[0], y.args[0])))
    return (graph.apply("mul", d, graph.apply("mul", bell, graph.const(2 / math.sqrt(math.pi)))),)


DERIVATIVES: dict[str, Callable[[Graph, Node, Node], tuple[Node | None, ...]]] = {
    "add": lambda graph, y, d: (d, d),
    "sub": lambda graph, y, d: (d, graph.apply("neg", d)),
    "mul": _of_product,
    "div": _of_division,
    "neg": lambda graph, y, d: (graph.apply("neg", d),),
    "oneminus": lambda graph, y, d: (graph.apply("neg", d),),
    "sigmoid": _by_result,
    "tanh": _by_result,
    "relu": _by_result,
    "abs": lambda graph, y, d: (graph.node("dabs", (d, y.args[0]), width=y.width),),
    "exp": lambda graph, y, d: (graph.apply("mul", d, y),),
    "log": lambda graph, y, d: (graph.apply("div", d, y.args[0]),),
    "mov": lambda graph, y, d: (d,),
    "total": lambda graph, y, d: (d,),
    "select": _of_select,
    "erf": _of_erf,
    "sqrt": lambda graph, y, d: (graph.apply("div", graph.apply("mul", d, graph.const(0.5)), y),),
}
"""(graph, y, the derivative of y) -> the derivatives of its arguments; None for none. The arguments of a
comparison and of the largest unit, which only shifts, have none."""
