"""The slow, obvious way to run a plan: what the native engine does, in torch, one step after the other.

Everything is done in the type of the tensors; float64 shows whether a plan is right. Storage starts as NaN,
so that reading what was never written shows too.
"""

import torch
from torch import Tensor

from elman.attend import attend_additive, attend_dot
from elman.cells import Cell
from elman.programs import Attend, Instruction, Operand, Plan, Product, Stage, plan
from elman.scan import scan
from elman.tracing import Trace, leaves, trace

TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}

OPERATIONS = {
    "mov": lambda a, b, c: a,
    "add": lambda a, b, c: a + b,
    "sub": lambda a, b, c: a - b,
    "mul": lambda a, b, c: a * b,
    "div": lambda a, b, c: a / b,
    "neg": lambda a, b, c: -a,
    "oneminus": lambda a, b, c: 1 - a,
    "fma": lambda a, b, c: a * b + c,
    "fms": lambda a, b, c: a * b - c,
    "fnma": lambda a, b, c: c - a * b,
    "sigmoid": lambda a, b, c: torch.sigmoid(a),
    "tanh": lambda a, b, c: torch.tanh(a),
    "sigmoid_add": lambda a, b, c: torch.sigmoid(a + b),
    "tanh_add": lambda a, b, c: torch.tanh(a + b),
    "relu": lambda a, b, c: torch.relu(a),
    "exp": lambda a, b, c: torch.exp(a),
    "log": lambda a, b, c: torch.log(a),
    "sqrt": lambda a, b, c: torch.sqrt(a),
    "abs": lambda a, b, c: torch.abs(a),
    "dsigmoid": lambda a, b, c: a * b * (1 - b),
    "dtanh": lambda a, b, c: a * (1 - b * b),
    "drelu": lambda a, b, c: torch.where(b > 0, a, 0),
    "dabs": lambda a, b, c: a * torch.sign(b),
    "total": lambda a, b, c: a.sum(-1, keepdim=True),
    "most": lambda a, b, c: a.amax(-1, keepdim=True),
    "gt": lambda a, b, c: (a > b).to(a.dtype),
    "ge": lambda a, b, c: (a >= b).to(a.dtype),
    "select": lambda a, b, c: torch.where(a != 0, b, c),
    "erf": lambda a, b, c: torch.erf(a),
}


class Interpreter:
    """Runs a plan of a trace over time; `gradients` after `forward`."""

    def __init__(self, trace: Trace, plan: Plan) -> None:
        self.trace, self.plan = trace, plan
        self.inputs = [x.detach() for x in trace.graph.inputs]
        self.tensors = [x.detach() for x in trace.graph.tensors]
        self.time, self.batch = self.inputs[0].shape[:2]
        self.like = self.inputs[0]

    def empty(self, *sizes: int) -> Tensor:
        return torch.full(sizes, torch.nan, dtype=self.like.dtype)

    def weight(self, product: Product) -> Tensor:
        return torch.cat([self.tensors[w][row : row + product.width] for w, _, row in product.columns])

    def bias(self, product: Product) -> Tensor:
        zero = torch.zeros(product.width, dtype=self.like.dtype)
        return torch.cat(
            [zero if b < 0 else self.tensors[b][row : row + product.width] for _, b, row in product.columns]
        )

    def forward(self, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        plan, time, batch = self.plan, self.time, self.batch
        self.slots = [self.empty(time, batch, width) for width in plan.slots]
        self.states = [torch.cat([s.detach()[None], self.empty(time, *s.shape)]) for s in states]
        for product in plan.hoisted:
            which, start, width = plan.sequences[product.source[1]]
            x = self.inputs[which][..., start : start + width]
            columns = (x @ self.weight(product).T + self.bias(product)).split(product.width, -1)
            for slot, column in zip(product.slots, columns, strict=True):
                self.slots[slot][:] = column
        for piece in plan.pieces:
            self.slots[piece.slot][:] = self.inputs[piece.which][..., piece.start : piece.start + piece.width]
        self.passed: list[Tensor] = []
        outputs = []
        for t in range(time):
            self.temps = [self.empty(batch, width) for width in plan.temps]
            for stage in plan.forward:
                if stage.attend >= 0:
                    attend = plan.attends[stage.attend]
                    self.write(attend.context, t, self.context(attend, self.read(attend.query, t, [])))
                    continue
                acc = []
                if stage.product >= 0:
                    product = plan.products[stage.product]
                    a = self.read(product.source, t, [])
                    acc = list((a @ self.weight(product).T + self.bias(product)).split(product.width, -1))
                self.run(stage, t, acc)
            outputs.append(torch.cat([self.read(operand, t, []) for operand, _ in plan.outputs], -1))
        return torch.stack(outputs), [state[-1] for state in self.states]

    def gradients(
        self, d_outputs: Tensor, d_states: list[Tensor]
    ) -> tuple[list[Tensor], dict[int, Tensor], list[Tensor]]:
        """Of the inputs, of the tensors by their place, of the states before the first step."""
        plan = self.plan
        self.d_outputs = d_outputs
        self.passed = [d.clone() for d in d_states]
        self.d_memories = {place: torch.zeros_like(x) for place, x in enumerate(self.tensors)}
        self.d_params = [torch.zeros(width, dtype=self.like.dtype) for width in plan.param_widths]
        for t in reversed(range(self.time)):
            self.temps = [self.empty(self.batch, width) for width in plan.temps]
            self.carry, self.passed = self.passed, [self.empty(*d.shape) for d in d_states]
            for stage in plan.backward:
                if stage.attend >= 0:
                    self.look_back(plan.attends[stage.attend], t)
                    continue
                acc = []
                if stage.product >= 0:
                    product = plan.products[stage.product]
                    last = stage.late and t == self.time - 1
                    acc = [
                        torch.zeros(self.batch, product.size, dtype=self.like.dtype)
                        if last
                        else self.d_acc(product)[t + stage.late] @ self.weight(product)
                    ]
                self.run(stage, t, acc)
        d_inputs, d_tensors = self._after_the_scan()
        for product in plan.products:
            if product.source[0] == "before":
                self.passed[product.source[1]] += self.d_acc(product)[0] @ self.weight(product)
        return d_inputs, d_tensors, self.passed

    def context(self, attend: Attend, query: Tensor) -> Tensor:
        keys, bias, values = (self.tensors[place] for place in attend.memory)
        if attend.vector < 0:
            return attend_dot(query, keys, bias, values)[0]
        return attend_additive(query, keys, self.tensors[self.plan.params[attend.vector]], bias, values)[0]

    def look_back(self, attend: Attend, t: int) -> None:
        """By autograd through the definition."""
        keys, _, values = attend.memory
        places = [keys, values, *([self.plan.params[attend.vector]] if attend.vector >= 0 else [])]
        query = self.read(attend.query, t, []).clone().requires_grad_()
        own = self.tensors
        self.tensors = [x.clone().requires_grad_() for x in own]
        context = self.context(attend, query)
        wanted = [query, *(self.tensors[place] for place in places)]
        d_query, *others = torch.autograd.grad(context, wanted, self.read(attend.d_context, t, []))
        self.tensors = own
        for place, d in zip(places, others, strict=True):
            self.d_memories[place] += d
        self.write(attend.d_query, t, d_query)

    def d_acc(self, product: Product) -> Tensor:
        return torch.cat([self.slots[slot] for slot in product.gradients], -1)

    def _after_the_scan(self) -> tuple[list[Tensor], dict[int, Tensor]]:
        plan = self.plan
        d_inputs = [torch.zeros_like(x) for x in self.inputs]
        d_tensors = self.d_memories
        for place, d in zip(plan.params, self.d_params, strict=True):
            d_tensors[place] += d
        for product in (*plan.products, *plan.hoisted):
            kind, which = product.source
            if kind == "sequence":
                which, start, width = plan.sequences[which]
                a = self.inputs[which][..., start : start + width]
                d_inputs[which][..., start : start + width] += self.d_acc(product) @ self.weight(product)
            elif kind == "slot":
                a = self.slots[which]
            else:
                a = self.states[which][:-1] if kind == "before" else self.states[which][1:]
            for (w, b, row), slot in zip(product.columns, product.gradients, strict=True):
                d = self.slots[slot]
                d_tensors[w][row : row + product.width] += torch.einsum("tnr,tnk->rk", d, a)
                if b >= 0:
                    d_tensors[b][row : row + product.width] += d.sum((0, 1))
        for piece in plan.pieces:
            if piece.gradient >= 0:
                d_inputs[piece.which][..., piece.start : piece.start + piece.width] += self.slots[
                    piece.gradient
                ]
        return d_inputs, d_tensors

    def run(self, stage: Stage, t: int, acc: list[Tensor]) -> None:
        self.registers = [self.empty(self.batch, stage.width) for _ in range(self.plan.registers)]
        for step in stage.code:
            self.execute(step, t, acc)

    def execute(self, step: Instruction, t: int, acc: list[Tensor]) -> None:
        a, b, c = (self.read(operand, t, acc) for operand in (step.a, step.b, step.c))
        if step.op == "sum":
            self.d_params[step.target[1]] += a.sum(0)
            return
        self.write(step.target, t, OPERATIONS[step.op](a, b, c))

    def write(self, target: Operand, t: int, value: Tensor) -> None:
        kind, which = target
        targets = {"reg": self.registers, "temp": self.temps, "pass": self.passed}
        if kind == "slot":
            self.slots[which][t] = value
        elif kind == "after":
            self.states[which][t + 1] = value
        else:
            targets[kind][which][:] = value

    def read(self, operand: Operand, t: int, acc: list[Tensor]) -> Tensor:
        kind, which = operand
        match kind:
            case "slot":
                return self.slots[which][t]
            case "before":
                return self.states[which][t]
            case "after":
                return self.states[which][t + 1]
            case "param":
                return self.tensors[self.plan.params[which]].expand(self.batch, -1)
            case "const":
                return torch.tensor(self.plan.consts[which], dtype=self.like.dtype)
            case "acc":
                return acc[which]
            case "dout":
                return self.d_outputs[t].split([width for _, width in self.plan.outputs], -1)[which]
            case "carry":
                return self.carry[which]
            case _:
                return {"reg": self.registers, "temp": self.temps}[kind][which]


def compare_with_autograd(cell: Cell, time: int = 6, batch: int = 4) -> None:
    """Asserts that a cell's plan gives, in float64, the numbers and gradients of autograd through its
    step."""
    inputs = torch.randn(time, batch, cell.input_size, dtype=torch.float64, requires_grad=True)
    start = [torch.randn_like(part, requires_grad=True) for part in leaves(cell.initial_state(batch))]
    kind = type(cell.initial_state(batch))
    state = start[0] if kind is Tensor else kind(*start) if hasattr(kind, "_fields") else tuple(start)
    outputs, final = scan(cell, inputs, state, kernels="reference")
    d_outputs = torch.randn_like(outputs)
    d_final = [torch.randn_like(part) for part in leaves(final)]
    wanted = [inputs, *start, *cell.parameters()]
    expected = torch.autograd.grad(
        [outputs, *leaves(final)], wanted, [d_outputs, *d_final], allow_unused=True, materialize_grads=True
    )

    traced = trace(cell, inputs, state)
    run = Interpreter(traced, plan(traced, train=True))
    got, parts = run.forward(traced.apart(start))
    torch.testing.assert_close(got, outputs.detach(), **TOLERANCE)
    for one, other in zip(traced.joined(parts), leaves(final), strict=True):
        torch.testing.assert_close(one, other.detach(), **TOLERANCE)
    d_inputs, d_tensors, d_parts = run.gradients(d_outputs, traced.apart(d_final))
    # Vectors that the step derives from parameters carry their own history.
    pairs = [(tensor, d_tensors[place]) for place, tensor in enumerate(traced.graph.tensors)]
    pairs += zip((*traced.graph.inputs, *start), (*d_inputs, *traced.joined(d_parts)), strict=True)
    torch.autograd.backward(
        [a for a, _ in pairs if a.requires_grad], [d for a, d in pairs if a.requires_grad]
    )
    for tensor, d in zip(wanted, expected, strict=True):
        found = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        torch.testing.assert_close(found, d, **TOLERANCE)
