"""Cuts a graph into stages: which products and which pointwise operations run together."""

from typing import TYPE_CHECKING

from elman.programs.emitter import Emitter
from elman.programs.plan import CHEAP, Attend, Operand, Stage
from elman.tracing import REDUCTIONS, ROW, Node

if TYPE_CHECKING:
    from elman.programs.planner import Planner

WHOLE = ("attend", "unattend")
"""What reads all units of its first argument and writes all of its own: a look at memory, its derivative."""

Key = tuple[int, int]
"""A stage: how many products and reductions come before it within the step, and its width. Numbers of each
row have the least width, ROW: they are there before the vectors of their level."""


class Cutter:
    """Cuts a graph into stages: `roots` are the nodes to be computed, with the operands to leave them in."""

    def __init__(self, planner: "Planner", roots: dict[Node, list[Operand]], *, backward: bool) -> None:
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
                self._require(node, self.stage(node))
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
        """The first stage that may read a node from a register."""
        return self._level(node), node.width

    def stage(self, node: Node) -> Key:
        """The stage that computes a node: for a reduction the one before it can be read."""
        return self.key(node.args[0] if node.op in REDUCTIONS else node)

    def _level(self, node: Node) -> int:
        if node not in self.levels:
            if self._leaf(node):
                level = 0
            elif node.op == "column":
                source = node.args[0]
                level = 0 if source.op == "state" else 1 + self._level(source)
            elif node.op == "back":
                level = self._back_level(node)
            elif node.op in REDUCTIONS or node.op in WHOLE:
                level = 1 + self._level(node.args[0])
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
        if self.stage(node) != key:
            if node in self.roots and self._placed(node):
                return
            again = node.op in CHEAP and all(self._leaf(arg) or self._placed(arg) for arg in node.args)
            if not again or node.width == ROW:
                self.roots.setdefault(node, []).append(self.planner.temp(node.units))
                self._require(node, self.stage(node))
                return
        nodes.add(node)
        if node.op in WHOLE:
            self._settle(node.args[0])
            if not self._placed(node):
                self.roots.setdefault(node, []).append(self.planner.temp(node.units))
        elif node.op not in ("column", "back"):
            for arg in node.args:
                self._require(arg, key)

    def _settle(self, node: Node) -> None:
        """Sees to it that all units of `node` can be read at once."""
        if not self._leaf(node) and not self._placed(node):
            self.roots.setdefault(node, []).append(self.planner.temp(node.units))
            self._require(node, self.stage(node))

    def _placed(self, node: Node) -> bool:
        return any(target[0] != "pgrad" for target in self.roots.get(node, []))

    def _stages(self, key: Key) -> list[Stage]:
        """The stages of one key: all but the last product only lay their columns down for it."""
        nodes = self.nodes.get(key, set())
        whole = sorted((node for node in nodes if node.op in WHOLE), key=lambda node: node.place)
        looks = [self._look(node) for node in whole]
        moves = [*self.moves.get(key, [])]
        for node in whole:
            moves += [(node, target) for target in self.roots[node] if target != self._place(node)]
        products: list[int] = []
        for node in sorted(nodes, key=lambda node: node.place):
            if node.op in ("column", "back") and self._product(node) not in products:
                products.append(self._product(node))
        stages = []
        for place in products[:-1]:
            stage = self._stage(key[1], place)
            for node in nodes:
                if node.op in ("column", "back") and self._product(node) == place and not self._placed(node):
                    self.roots.setdefault(node, []).append(self.planner.temp(node.units))
            mine = {node for node in nodes if node.op in ("column", "back") and self._product(node) == place}
            stage.code = Emitter(self, key, mine, [], {}).emit()
            stages.append(stage)
        stages = [*looks, *stages]
        if whole and nodes == {*whole} and not moves:
            return stages
        stage = self._stage(key[1], products[-1] if products else -1)
        laid = {
            node: self._place(node)
            for node in nodes
            if node in whole or (node.op in ("column", "back") and self._product(node) != stage.product)
        }
        stage.code = Emitter(self, key, nodes - laid.keys(), moves, laid).emit()
        return [*stages, stage]

    def _stage(self, width: int, product: int) -> Stage:
        late = self.backward and product >= 0 and list(self.planner.groups)[product][0].op == "state"
        return Stage(1 if width == ROW else width, product, late)

    def _look(self, node: Node) -> Stage:
        """The stage of a look at memory, or of its derivative."""
        attends = self.planner.attends
        source, place = self.operand(node.args[0]), self._place(node)
        if node.op == "attend":
            query, *vector = node.args
            param = self.planner.operand(vector[0])[1] if vector else -1
            attends[node] = Attend(node.value, query.width, node.width, param, source, place)
            return Stage(node.width, attend=list(attends).index(node))
        look = self.planner.graph.nodes[node.value[0]]
        attends[look].d_context, attends[look].d_query = source, place
        return Stage(node.width, attend=list(attends).index(look))

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
            return "dout", node.value[0]
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
