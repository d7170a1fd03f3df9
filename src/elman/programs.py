"""Stages: a traced step, and its derivative, as products and small programs of vector instructions.

A step is cut where a dense product needs a result of the step itself. What lies between two cuts is a stage: at most
one product, then a pointwise program that runs on a tile of rows and units. The derivative is taken in reverse on the
graph, which gives another graph with products by the transposed weights, and is cut by the same rules:

    forward   acc = W a            a: a state before the step, or a vector of an earlier stage
    backward  back = W^T d_acc     at the end of step t for a vector of the step; for a state, where step t - 1 begins,
                                   so that the product and the program that needs it are one stage

A program reads and writes operands (kind, which):

    reg     a register: lives inside one run of a program      acc     columns of the stage's product
    slot    saved for each step and row, reused when free      temp    from one stage to a later one of the same step
    before  a tensor of the state before the step              after   the same, after the step
    param   a vector of parameters, the same for all rows      const   a number
    carry   derivative of a state that reaches it without a product, from the step after (read)
    pass    the same for the step before (written)             dout    derivative of the step's output
    pgrad   derivative of a param, summed over rows and steps

What backward needs of forward is saved where it is dear (a product, an exponential) and computed again where it is
cheap or where its argument is a state, so that an LSTM keeps six vectors a step: four gates, h and c.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from elman.tracing import Node, Trace, Untraceable

Operand = tuple[str, int]
NONE: Operand = ("const", 0)

CHEAP = ("add", "sub", "mul", "neg", "oneminus", "relu", "abs")
"""Operations that are computed again sooner than kept."""


@dataclass(frozen=True)
class Instruction:
    """target = op(a, b, c); the operands that an operation does not have are NONE."""

    op: str
    target: Operand
    a: Operand
    b: Operand = NONE
    c: Operand = NONE


@dataclass
class Product:
    """`gates` x `width` columns W a, W (gates * width, size) row after row the rows named by `columns`.

    source: ("sequence", q), ("before", j), ("after", j) or ("slot", s) for a. columns: (weight, bias or -1, first row).
    slots: where the columns are written (hoisted products); gradients: the slots of d_acc, set for training.
    """

    source: Operand
    size: int
    width: int
    columns: list[tuple[int, int, int]]
    slots: list[int] = field(default_factory=list)
    gradients: list[int] = field(default_factory=list)

    @property
    def gates(self) -> int:
        return len(self.columns)


@dataclass
class Stage:
    """A product (its place in Plan.products, or -1), then `code` on `width` units.

    late: the product is backward's for a state and reads the d_acc of the step after.
    """

    width: int
    product: int = -1
    late: bool = False
    code: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True)
class Piece:
    """Units start .. start + width of an input that programs read: copied into `slot` before the scan.

    gradient: the slot with its derivative, -1 where there is none.
    """

    which: int
    start: int
    width: int
    slot: int
    gradient: int


@dataclass
class Plan:
    """Everything that runs a traced cell over a sequence; see the module.

    sequences: (input, first unit, width) that hoisted products read. pieces: inputs that programs read. hoisted:
    products of sequences, done for all time at once. slots, temps: the width of each. params: places in the trace's
    tensors. output: an operand after the last forward stage.
    """

    states: tuple[int, ...]
    sequences: list[tuple[int, int, int]]
    pieces: list[Piece]
    hoisted: list[Product]
    products: list[Product]
    forward: list[Stage]
    backward: list[Stage]
    slots: list[int]
    temps: list[int]
    params: list[int]
    param_widths: list[int]
    consts: list[float]
    output: Operand
    output_width: int
    registers: int


def plan(trace: Trace, *, train: bool) -> Plan:
    """Cuts a trace into stages, with its derivative where `train`."""
    return _Planner(trace, train).run()


class _Planner:
    """The work of `plan`, one paragraph of the module's text after the other."""

    def __init__(self, trace: Trace, train: bool) -> None:
        self.trace = trace
        self.graph = trace.graph.copy()  # the derivative's nodes are none of the trace's
        self.train = train
        self.end = len(self.graph.nodes)  # nodes from here on belong to the derivative
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
        self.live = _reachable((trace.output, *trace.states))
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
        if not self.readable(self.trace.output) and self.trace.output not in self.after:
            keep.append(self.trace.output)
        for node in dict.fromkeys(keep):
            if node not in self.after and node not in self.home:
                forward_roots.setdefault(node, []).append(self._slot(node.width))
        forward = _Cutter(self, forward_roots, backward=False).cut()
        products = self._products()
        if self.trace.output not in self.home:
            self.home[self.trace.output] = self.operand(self.trace.output)
        output = self.home[self.trace.output]
        if output[0] not in ("slot", "after"):
            raise Untraceable("gives out a vector that it does not compute")
        backward: list[Stage] = []
        if self.train:
            for product in (*products, *hoisted):
                if product.source[0] == "slot":
                    self.pinned.add(product.source[1])
            backward = self._backward(roots, products, hoisted)
        plan = Plan(
            self.trace.widths, sequences, [self._piece(piece, roots) for piece in pieces], hoisted, products, forward,
            backward, self.virtual, self.temps,
            self.params, self.param_widths, self.consts, output, self.trace.output.width,
            max((_registers(stage) for stage in (*forward, *backward)), default=0),
        )  # fmt: skip
        _share_slots(plan, self.pinned)
        return plan

    # -- operands ------------------------------------------------------------------------------------------------

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

    # -- inputs and products -----------------------------------------------------------------------------------------

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
            self.trace.output,
            *self.trace.states,
        }
        pieces = [node for node in self.live if node.op == "input" and node in read]
        for node in pieces:
            self.home[node] = self._slot(node.width)
        taken = sorted((node.value[0], node.value[1], node.width) for node in pieces)
        for (which, start, width), (other, later, _) in zip(taken, taken[1:], strict=False):
            if which == other and later < start + width:
                raise Untraceable("takes overlapping ranges of what is prepared")
        return sequences, hoisted, pieces

    def _products(self) -> list[Product]:
        products = []
        for (source, width), columns in self.groups.items():
            place = ("after", self.after[source]) if source in self.after else self.operand(source)
            if place[0] not in ("before", "after", "slot"):
                raise Untraceable("multiplies a vector of parameters")
            products.append(Product(place, source.width, width, [c.value for c in columns]))
        return products

    # -- the derivative ----------------------------------------------------------------------------------------------

    def _backward_graph(self) -> dict[Node, Node | None]:
        """The derivative of every live node as a node of the graph; None where nothing depends on it."""
        graph, d = self.graph, dict.fromkeys(self.live)
        back: dict[Node, list[Node]] = {}
        for place, (source, _) in enumerate(self.groups):
            back.setdefault(source, []).append(graph.node("back", (), (place,), source.width))

        def add(node: Node, more: Node) -> None:
            d[node] = more if d[node] is None else graph.apply("add", d[node], more)

        add(self.trace.output, graph.node("dout", width=self.trace.output.width))
        for j, node in enumerate(self.trace.states):
            add(node, graph.node("carry", (), (j,), node.width))
            for leaf, products in back.items():
                if leaf.op == "state" and leaf.value[0] == j:
                    for product in products:
                        add(node, product)
        for node in sorted(self.live, key=lambda node: -node.place):
            if node.op not in ("state", "input"):
                for product in back.get(node, []):
                    add(node, product)
            if node.op == "column" or d[node] is None:
                continue
            for arg, more in zip(node.args, self._chain(node, d[node]), strict=True):
                if arg.op != "const":
                    add(arg, more)
        return d

    def _chain(self, y: Node, d: Node) -> tuple[Node, ...]:
        """The derivatives of y's arguments, d being y's own."""
        apply, const = self.graph.apply, self.graph.const
        a, b = (*y.args, y, y)[:2] if y.args else (y, y)
        match y.op:
            case "add":
                return d, d
            case "sub":
                return d, apply("neg", d)
            case "mul":
                return apply("mul", d, b), apply("mul", d, a)
            case "div":
                by = apply("div", d, b)
                return by, apply("neg", apply("mul", by, y))
            case "neg" | "oneminus":
                return (apply("neg", d),)
            case "sigmoid" | "tanh" | "relu":
                return (self.graph.node(f"d{y.op}", (d, y), width=y.width),)
            case "abs":
                return (self.graph.node("dabs", (d, a), width=y.width),)
            case "exp":
                return (apply("mul", d, y),)
            case "log":
                return (apply("div", d, a),)
            case "sqrt":
                return (apply("div", apply("mul", d, const(0.5)), y),)
            case _:
                return ()

    def _saved(self, d: dict[Node, Node | None]) -> list[Node]:
        """The forward nodes that backward reads from slots."""
        wanted = [
            node
            for node in _reachable(self._results(d).values(), stop=lambda node: node.place < self.end)
            if node.place < self.end
        ]
        saved: list[Node] = []

        def known(node: Node) -> bool:
            return self.readable(node) or node in self.after or node in saved

        def again(node: Node) -> bool:
            return known(node) or (node.op in CHEAP and all(again(arg) for arg in node.args))

        dear = [node for node in wanted if node.op not in CHEAP]
        for node in (*dear, *(node for node in wanted if node.op in CHEAP)):
            of_state = node.op in ("sigmoid", "tanh", "exp") and node.args[0] in self.after
            if not of_state and not again(node):
                saved.append(node)
        return saved

    def _results(self, d: dict[Node, Node | None]) -> dict[Node, Node]:
        """What backward has to compute: derivatives of states, params, columns and pieces, by forward node."""
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
            leaf = self.graph.node("state", (), (j,), width)
            roots.setdefault(d.get(leaf) or zero, []).append(("pass", j))
        for product, columns in zip(products, self.groups.values(), strict=True):
            product.gradients = [self.given[column][1] for column in columns]
        for product, columns in zip(hoisted, self.lifted.values(), strict=True):
            product.gradients = [self.given[column][1] for column in columns]
        return _Cutter(self, roots, backward=True).cut()

    def _piece(self, node: Node, d: dict[Node, Node | None]) -> Piece:
        gradient = self.given[node][1] if self.train and d[node] is not None else -1
        return Piece(node.value[0], node.value[1], node.width, self.home[node][1], gradient)


def _reachable(roots: Iterable[Node], stop: Callable[[Node], bool] = lambda node: False) -> list[Node]:
    """What the roots are computed from, themselves included, arguments first; not what is behind a `stop`."""
    found: set[Node] = set()
    todo = list(roots)
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            if not stop(node):
                todo.extend(node.args)
    return sorted(found, key=lambda node: node.place)


Key = tuple[int, int]
"""A stage: how many products come before it within the step, and its width."""


class _Cutter:
    """Cuts a graph into stages: `roots` are the nodes to be computed, with the operands to leave them in."""

    def __init__(self, planner: _Planner, roots: dict[Node, list[Operand]], *, backward: bool) -> None:
        self.planner = planner
        self.roots = roots
        self.backward = backward
        self.levels: dict[Node, int] = {}
        self.nodes: dict[Key, set[Node]] = {}  # what each stage computes
        self.moves: dict[Key, list[tuple[Node, Operand]]] = {}  # leaves that have to be left somewhere

    def cut(self) -> list[Stage]:
        for node, targets in list(self.roots.items()):
            if self._leaf(node):
                for target in targets:
                    key = (self._level(node), self._width(target))
                    self.moves.setdefault(key, []).append((node, target))
            else:
                self._require(node, self.key(node))
        for node, targets in self.roots.items():
            place = next((target for target in targets if target[0] in ("slot", "after")), None)
            if place is not None and not self._leaf(node):
                self.planner.home[node] = place
        return [stage for key in sorted({*self.nodes, *self.moves}) for stage in self._stages(key)]

    def _leaf(self, node: Node) -> bool:
        if self.planner.readable(node) or node.op in ("dout", "carry"):
            return True
        return self.backward and node in self.planner.after

    def _width(self, target: Operand) -> int:
        kind, which = target
        planner = self.planner
        widths = {"after": planner.trace.widths, "pass": planner.trace.widths, "slot": planner.virtual}
        return planner.param_widths[which] if kind == "pgrad" else widths[kind][which]

    def key(self, node: Node) -> Key:
        return self._level(node), node.width

    def _level(self, node: Node) -> int:
        if node not in self.levels:
            if self._leaf(node):
                level = 0
            elif node.op == "column":
                source = node.args[0]
                level = 0 if source.op == "state" else 1 + self._level(source)
            elif node.op == "back":
                level = self._back_level(node)
            else:
                level = max(self._level(arg) for arg in node.args)
            self.levels[node] = level
        return self.levels[node]

    def _back_level(self, node: Node) -> int:
        """A state's product begins the step before; any other comes after the derivatives of its columns."""
        source, columns = list(self.planner.groups.items())[node.value[0]]
        if source[0].op == "state":
            return 0
        derivatives = [self.planner.derivative[column] for column in columns]
        return 1 + max((self._level(d) for d in derivatives if d is not None), default=0)

    def _require(self, node: Node, key: Key) -> None:
        """Sees to it that `node` can be read in the stage `key`."""
        nodes = self.nodes.setdefault(key, set())
        if self._leaf(node) or node in nodes:
            return
        if self.key(node) != key:
            if node in self.roots and self._placed(node):
                return
            again = node.op in CHEAP and all(self._leaf(arg) or self._placed(arg) for arg in node.args)
            if not again:
                self.roots.setdefault(node, []).append(self.planner.temp(node.width))
                self._require(node, self.key(node))
                return
        nodes.add(node)
        if node.op not in ("column", "back"):
            for arg in node.args:
                self._require(arg, key)

    def _placed(self, node: Node) -> bool:
        return any(target[0] != "pgrad" for target in self.roots.get(node, []))

    def _stages(self, key: Key) -> list[Stage]:
        """The stages of one key: all but the last product only lay their columns down for it."""
        nodes = self.nodes.get(key, set())
        products: list[int] = []
        for node in sorted(nodes, key=lambda node: node.place):
            if node.op in ("column", "back") and self._product(node) not in products:
                products.append(self._product(node))
        stages = []
        for place in products[:-1]:
            stage = self._stage(key[1], place)
            for node in nodes:
                if node.op in ("column", "back") and self._product(node) == place and not self._placed(node):
                    self.roots.setdefault(node, []).append(self.planner.temp(node.width))
            mine = {node for node in nodes if node.op in ("column", "back") and self._product(node) == place}
            stage.code = _Emitter(self, key, mine, [], {}).emit()
            stages.append(stage)
        stage = self._stage(key[1], products[-1] if products else -1)
        laid = {
            node: self._place(node)
            for node in nodes
            if node.op in ("column", "back") and self._product(node) != stage.product
        }
        stage.code = _Emitter(self, key, nodes - laid.keys(), self.moves.get(key, []), laid).emit()
        return [*stages, stage]

    def _stage(self, width: int, product: int) -> Stage:
        late = self.backward and product >= 0 and list(self.planner.groups)[product][0].op == "state"
        return Stage(width, product, late)

    def _product(self, node: Node) -> int:
        return (
            node.value[0]
            if node.op == "back"
            else list(self.planner.groups).index(self.planner.group_of[node])
        )

    def _place(self, node: Node) -> Operand:
        return next(target for target in self.roots[node] if target[0] != "pgrad")

    def operand(self, node: Node) -> Operand:
        """Where a stage reads what it does not compute itself."""
        if node.op == "dout":
            return "dout", 0
        if node.op == "carry":
            return "carry", node.value[0]
        if node in self.roots and self._placed(node) and not self.planner.readable(node):
            return self._place(node)
        if self.backward and node in self.planner.after:
            return "after", self.planner.after[node]
        return self.planner.operand(node)

    def column(self, node: Node) -> Operand:
        """The accumulator of a product's column."""
        if node.op == "back":
            return "acc", 0
        return "acc", self.planner.groups[self.planner.group_of[node]].index(node)


FUSED = {"sigmoid": "sigmoid_add", "tanh": "tanh_add"}


class _Emitter:
    """The program of one stage: every node once, values that nothing here needs any more last.

    The order matters for storage: when the derivatives of the gates are written, the gates have been read, and a
    derivative takes its gate's place.
    """

    def __init__(
        self, cutter: _Cutter, key: Key, nodes: set[Node], moves: Sequence[tuple[Node, Operand]],
        laid: dict[Node, Operand],
    ) -> None:
        self.cutter = cutter
        self.key = key
        self.nodes = sorted(nodes, key=lambda node: node.place)
        self.moves = moves
        self.where: dict[Node, Operand] = dict(laid)
        self.uses: dict[Node, int] = {}
        for node in self.nodes:
            for arg in node.args if node.op not in ("column", "back") else ():
                self.uses[arg] = self.uses.get(arg, 0) + 1
        self.swallowed = self._swallowed()
        self.code: list[Instruction] = []
        self.registers = 0

    def emit(self) -> list[Instruction]:
        rest = [node for node in self.nodes if node not in self.swallowed]
        final = [node for node in rest if not self.uses.get(node) and self._targets(node)]
        depth: dict[Node, int] = {}  # how many kept vectors a node waits for
        for node in self.nodes:
            inside = (arg for arg in node.args if arg in depth)
            depth[node] = max((depth[arg] for arg in inside), default=0) + bool(self._targets(node))
        for node in sorted(rest, key=lambda node: (depth[node], node.place)):
            if node not in final:
                self._emit(node)
        for target, node in ((target, node) for node, target in self.moves):
            self._to(target, self._read(node))
        for node in sorted(final, key=lambda node: (self._targets(node)[0][0] == "slot", node.place)):
            self._emit(node)
        return _with_registers(self.code)

    def _targets(self, node: Node) -> list[Operand]:
        if self.cutter.key(node) != self.key:
            return []  # computed again here; left where it belongs elsewhere
        return sorted(self.cutter.roots.get(node, []), key=lambda target: target[0] == "pgrad")

    def _swallowed(self) -> dict[Node, Node]:
        """Sums and products that are computed inside the one instruction that needs them."""
        found: dict[Node, Node] = {}
        mine = set(self.nodes)
        for node in self.nodes:
            if node.op in ("add", "sub"):
                wanted = "mul"
            elif node.op in FUSED:
                wanted = "add"
            else:
                continue
            for arg in node.args:
                if arg in mine and arg.op == wanted and self.uses[arg] == 1 and arg not in self.cutter.roots:
                    if any(part in found for part in arg.args):
                        continue  # its own argument is inside it already
                    found[arg] = node
                    break
        return found

    def _read(self, node: Node) -> Operand:
        return self.where[node] if node in self.where else self.cutter.operand(node)

    def _emit(self, node: Node) -> None:
        targets = self._targets(node)
        if node.op in ("column", "back"):
            self.where[node] = self.cutter.column(node)
            for target in targets:
                self._to(target, self.where[node])
            return
        place = targets[0] if targets and targets[0][0] != "pgrad" else ("reg", self.registers)
        self.registers += place[0] == "reg"
        op, *args = self._operation(node)
        self.code.append(Instruction(op, place, *args))
        self.where[node] = place
        for target in targets:
            if target != place:
                self._to(target, place)

    def _operation(self, node: Node) -> tuple:
        inner = next((arg for arg in node.args if self.swallowed.get(arg) is node), None)
        if inner is None:
            return node.op, *(self._read(arg) for arg in node.args)
        a, b = (self._read(arg) for arg in inner.args)
        if node.op in FUSED:
            return FUSED[node.op], a, b
        other = self._read(node.args[1] if node.args[0] is inner else node.args[0])
        if node.op == "add":
            return "fma", a, b, other
        return ("fms" if node.args[0] is inner else "fnma"), a, b, other

    def _to(self, target: Operand, source: Operand) -> None:
        self.code.append(Instruction("sum" if target[0] == "pgrad" else "mov", target, source))


def _operands(instruction: Instruction) -> tuple[Operand, Operand, Operand]:
    return instruction.a, instruction.b, instruction.c


def _with_registers(code: list[Instruction]) -> list[Instruction]:
    """The same program with few registers: each is free again after its last reader."""
    last = {
        operand: place
        for place, step in enumerate(code)
        for operand in _operands(step)
        if operand[0] == "reg"
    }
    names: dict[Operand, Operand] = {}
    free: list[int] = []
    used = 0
    result = []
    for place, step in enumerate(code):
        read = [names.get(operand, operand) for operand in _operands(step)]
        for operand in dict.fromkeys(_operands(step)):
            if last.get(operand) == place:
                free.append(names[operand][1])
        target = step.target
        if target[0] == "reg":
            if not free:
                free.append(used)
                used += 1
            names[target] = ("reg", free.pop())
            target = names[target]
        result.append(Instruction(step.op, target, *read))
    return result


def _registers(stage: Stage) -> int:
    return 1 + max((step.target[1] for step in stage.code if step.target[0] == "reg"), default=-1)


def _share_slots(plan: Plan, pinned: set[int]) -> None:
    """Gives slots that are never needed together the same storage.

    Time is counted in instructions over the forward and the backward step of one row. A slot whose last reader is
    the very instruction that writes another one may be overtaken by it: instructions work element by element. The
    vectors that a product reads stay until its stage ends, the pinned ones for ever.
    """
    first: dict[int, int] = {}
    last: dict[int, int] = {}

    def seen(slot: int, time: int) -> None:
        first.setdefault(slot, time)
        last[slot] = time

    for slot in (
        *(slot for product in plan.hoisted for slot in product.slots),
        *(p.slot for p in plan.pieces),
    ):
        seen(slot, -1)
    time = 0
    for stages in (plan.forward, plan.backward):
        for stage in stages:
            for step in stage.code:
                time += 1
                for kind, which in (*_operands(step), step.target):
                    if kind == "slot":
                        seen(which, time)
            if (
                stages is plan.forward
                and stage.product >= 0
                and plan.products[stage.product].source[0] == "slot"
            ):
                seen(plan.products[stage.product].source[1], time)
        time += 1
        if stages is plan.forward and plan.output[0] == "slot":
            seen(plan.output[1], time)
    last.update((slot, time + 1) for slot in pinned)

    widths: list[int] = []
    until: list[int] = []
    place: dict[int, int] = {}
    for slot in sorted(first, key=lambda slot: (first[slot], slot)):
        width = plan.slots[slot]
        fits = [
            i for i, end in enumerate(until) if widths[i] == width and end <= first[slot] and first[slot] >= 0
        ]
        if not fits:
            widths.append(width)
            until.append(0)
            fits = [len(widths) - 1]
        # The one that was freed last: for a gate's derivative the gate itself, which is still in the cache.
        place[slot] = max(fits, key=lambda i: until[i])
        until[place[slot]] = last[slot]
    _rename(plan, place)
    plan.slots = widths


def _rename(plan: Plan, place: dict[int, int]) -> None:
    def new(operand: Operand) -> Operand:
        return ("slot", place[operand[1]]) if operand[0] == "slot" else operand

    for product in (*plan.products, *plan.hoisted):
        product.source = new(product.source)
        product.slots = [place[slot] for slot in product.slots]
        product.gradients = [place[slot] for slot in product.gradients]
    plan.pieces = [
        Piece(p.which, p.start, p.width, place[p.slot], place[p.gradient] if p.gradient >= 0 else -1)
        for p in plan.pieces
    ]
    for stage in (*plan.forward, *plan.backward):
        stage.code = [
            Instruction(step.op, new(step.target), *(new(operand) for operand in _operands(step)))
            for step in stage.code
        ]
    plan.output = new(plan.output)
