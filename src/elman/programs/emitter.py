"""The program of one stage: the order of its instructions, what is fused, registers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from elman.programs.plan import Instruction, Operand, Stage
from elman.tracing import Node

if TYPE_CHECKING:
    from elman.programs.cutter import Cutter, Key

FUSED = {"sigmoid": "sigmoid_add", "tanh": "tanh_add"}


class Emitter:
    """The program of one stage: every node once, values that nothing here needs any more last.

    The order matters for storage: when the derivatives of the gates are written, the gates have been read,
    and a derivative takes its gate's place.
    """

    def __init__(
        self,
        cutter: "Cutter",
        key: "Key",
        nodes: set[Node],
        moves: Sequence[tuple[Node, Operand]],
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
        return _withregisters(self.code)

    def _targets(self, node: Node) -> list[Operand]:
        if self.cutter.stage(node) != self.key:
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


def operands(instruction: Instruction) -> tuple[Operand, Operand, Operand]:
    """What an instruction reads."""
    return instruction.a, instruction.b, instruction.c


def _withregisters(code: list[Instruction]) -> list[Instruction]:
    """The same program with few registers: each is free again after its last reader."""
    last = {
        operand: place for place, step in enumerate(code) for operand in operands(step) if operand[0] == "reg"
    }
    names: dict[Operand, Operand] = {}
    free: list[int] = []
    used = 0
    result = []
    for place, step in enumerate(code):
        read = [names.get(operand, operand) for operand in operands(step)]
        for operand in dict.fromkeys(operands(step)):
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


def registers(stage: Stage) -> int:
    """How many registers a stage's program uses."""
    return 1 + max((step.target[1] for step in stage.code if step.target[0] == "reg"), default=-1)
