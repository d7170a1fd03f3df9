"""A trace over all time by torch's own operations, node after node: slow, and differentiable at will.

    y_t, s_(t+1) = step(x_t, s_t)        t = 0 .. length - 1, backwards in x where reverse

The native engine has first derivatives only. Where somebody differentiates a gradient, the gradient is
computed through this loop, over the same tensors, so that autograd can go through it any number of times.
Shapes: T time, N batch, V symbols; inputs (T, N, C), or (V, 1, C) with ids (T, N); outputs (T, N, H).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elman.attend import attend_additive, attend_dot
from elman.padded import expand_to, length_mask, reverse_by_length
from elman.tokens import at_positions
from elman.tracing.graph import Node
from elman.tracing.reader import Trace

OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "mov": lambda a: a,
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "oneminus": lambda a: 1 - a,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "erf": torch.erf,
    "gt": lambda a, b: (a > b).to(a.dtype),
    "ge": lambda a, b: (a >= b).to(a.dtype),
    "select": lambda condition, a, b: torch.where(condition != 0, a, b),
    "total": lambda a: a.sum(-1, keepdim=True),
    "most": lambda a: a.detach().amax(-1, keepdim=True),
}


@dataclass(frozen=True)
class Step:
    """What a trace computes, without its tensors."""

    nodes: tuple[Node, ...]
    output: Node
    states: tuple[Node, ...]

    @classmethod
    def of(cls, traced: Trace) -> "Step":
        return cls(tuple(traced.graph.nodes), traced.output, traced.states)

    def over_time(
        self,
        inputs: Sequence[Tensor],
        tensors: Sequence[Tensor],
        states: Sequence[Tensor],
        lengths: Tensor | None,
        ids: Tensor | None,
        *,
        reverse: bool,
    ) -> list[Tensor]:
        """Outputs, zero past an element's end, and each part of the state after an element's last step."""
        if ids is not None:
            inputs = [at_positions(ids, x) for x in inputs]
        time, batch = inputs[0].shape[:2]
        if lengths is not None:
            mask = length_mask(lengths, time)
            inputs = [torch.where(expand_to(mask, x), x, 0) for x in inputs]
        if reverse:
            inputs = [reverse_by_length(x, lengths) for x in inputs]
        outputs, states = [], list(states)
        for t in range(time):
            values: dict[Node, Tensor] = {}
            for node in self.nodes:
                values[node] = self._value(node, values, [x[t] for x in inputs], tensors, states)
            output, new = values[self.output], [values[node] for node in self.states]
            # A number or a parameter may be all that a vector is.
            output = output.expand(batch, self.output.width)
            new = [n.expand(batch, old.shape[1]) for n, old in zip(new, states, strict=True)]
            if lengths is not None:
                live = (t < lengths)[:, None]
                output = torch.where(live, output, 0)
                new = [torch.where(live, n, old) for n, old in zip(new, states, strict=True)]
            states = new
            outputs.append(output)
        whole = torch.stack(outputs)
        return [reverse_by_length(whole, lengths) if reverse else whole, *states]

    @staticmethod
    def _value(
        node: Node,
        values: dict[Node, Tensor],
        x: Sequence[Tensor],
        tensors: Sequence[Tensor],
        states: Sequence[Tensor],
    ) -> Tensor:
        value: Any = node.value
        match node.op:
            case "input" | "state":
                which, start = value
                return (x if node.op == "input" else states)[which][:, start : start + node.width]
            case "const":
                return states[0].new_tensor(value[0])
            case "param" | "column" | "attend":
                return _of_tensors(node, [values[arg] for arg in node.args], tensors)
            case "cat":
                return torch.cat([values[arg].expand(len(states[0]), arg.width) for arg in node.args], -1)
            case _:
                return OPERATIONS[node.op](*(values[arg] for arg in node.args))


def _of_tensors(node: Node, args: list[Tensor], tensors: Sequence[Tensor]) -> Tensor:
    """A parameter, a product with one, a look at a memory."""
    if node.op == "param":
        return tensors[node.value[0]]
    if node.op == "column":
        weight, bias, row = node.value
        product = args[0] @ tensors[weight][row : row + node.width].T
        return product if bias < 0 else product + tensors[bias][row : row + node.width]
    keys, bias, memory = (tensors[place] for place in node.value)
    query, *vector = args
    if vector:
        return attend_additive(query, keys, vector[0], bias, memory)[0]
    return attend_dot(query, keys, bias, memory)[0]
