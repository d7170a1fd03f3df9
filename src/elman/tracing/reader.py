"""A cell's equations as a graph, read from its own `step`.

`trace` runs `prepare` and `step` once on symbols in place of the inputs and the state. Whatever depends on
parameters alone stays an ordinary tensor and is computed by torch with its history, so that gradients reach
the parameters through autograd whichever way a cell derives its vectors from them.

What is not understood raises Untraceable with the reason in words and the line of the cell's source; the
caller then computes the cell in another way. Shapes: T time, N batch, C input, H hidden; a symbol stands for
(N, width), in `prepare` for (T, N, width).
"""

import itertools
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elman.cells.base import Cell, State, map_state
from elman.tracing.functions import FUNCTIONS
from elman.tracing.graph import Graph, Node, Untraceable
from elman.tracing.parts import Part, in_parts
from elman.tracing.symbols import Symbol

Symbol.functions = FUNCTIONS


@dataclass
class Trace:
    """One step as a graph: where its output (vectors side by side, maybe) and its new state are computed.

    widths: units of each part of the state. parts: where each is: which tensor, in the order in which
    `map_state` meets them, first unit, units. plans: what was made of it, for whoever runs it.
    """

    graph: Graph
    output: Node
    states: tuple[Node, ...]
    widths: tuple[int, ...]
    parts: tuple[Part, ...]
    plans: dict[Any, Any] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> tuple[Any, ...]:
        """What the computation is, apart from the numbers: equal keys have equal programs."""
        nodes = tuple((n.op, tuple(a.place for a in n.args), n.value, n.width) for n in self.graph.nodes)
        inputs = tuple(x.shape[2] for x in self.graph.inputs)
        return nodes, self.output.place, tuple(node.place for node in self.states), self.widths, inputs

    @property
    def whole(self) -> bool:
        """Whether every part is a tensor of the state."""
        return all(part[0] == place for place, part in enumerate(self.parts))

    def apart(self, states: list[Tensor]) -> list[Tensor]:
        """The parts of the tensors of a state."""
        return states if self.whole else [states[w][:, start : start + size] for w, start, size in self.parts]

    def joined(self, parts: list[Tensor]) -> list[Tensor]:
        """The tensors of a state from their parts."""
        if self.whole:
            return parts
        groups = itertools.groupby(zip(self.parts, parts, strict=True), key=lambda pair: pair[0][0])
        return [torch.cat([tensor for _, tensor in group], -1) for _, group in groups]


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
        symbols = map_state(lambda tensor: _at_the_start(graph, next(places), tensor), state)
        output, new = cell.step(x, symbols)
    except Untraceable as error:
        raise Untraceable(f"{error}{_line(error)}") from error
    except Exception as error:  # anything that a user's step does with a tensor and a symbol cannot
        raise Untraceable(f"fails on symbols ({type(error).__name__}: {error}){_line(error)}") from error
    states = _flat(new)
    widths = tuple(tensor.shape[1] for tensor in leaves(state))
    results: list[Any] = [output, *states]
    if not all(isinstance(value, Symbol) for value in results):
        raise Untraceable("returns something that does not depend on the input or the state")
    if any(len(value.inner) != 1 for value in results):
        raise Untraceable(f"returns {', '.join(str(tuple(value.shape)) for value in results)}")
    nodes = tuple(graph.vector(value.node) for value in results)
    if tuple(node.width for node in nodes[1:]) != widths or nodes[0].width != cell.output_size:
        raise Untraceable(f"returns vectors of {[node.width for node in nodes]} units")
    graph, node, new_states, parts = in_parts(graph, nodes[0], nodes[1:], widths)
    return Trace(graph, node, new_states, tuple(part[2] for part in parts), tuple(parts))


def _at_the_start(graph: Graph, place: int, tensor: Tensor) -> Any:
    """The symbol of a tensor of the state before the step."""
    return Symbol(graph, graph.node("state", (), (place, 0), tensor.shape[1]), (tensor.shape[0],))


def _line(error: BaseException) -> str:
    """Where in the cell's own source an error came up."""
    own = (str(Path(__file__).parent), str(Path(torch.__file__).parent))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(own):
            return f" ({Path(frame.filename).name}, line {frame.lineno}: {frame.line})"
    return ""


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
    """What `prepare` returns: symbols where it can be read (its products are native then), else tensors.

    What does not depend on the inputs, a mask for instance, is a tensor beside symbols.
    """
    graph.inputs.append(inputs)
    symbol = Symbol(graph, graph.node("input", (), (0, 0), inputs.shape[2]), tuple(inputs.shape[:2]))
    try:
        prepared = cell.prepare(symbol)  # pyrefly: ignore[bad-argument-type]
    except Exception:
        prepared = None  # it needs no tracing: torch computes it, with gradients
    readable = prepared is not None and all(isinstance(value, Symbol | Tensor) for value in _flat(prepared))
    return prepared if readable else cell.prepare(inputs)


def _at_a_step(graph: Graph, value: Any, batch: int) -> Symbol:
    """The slice at one step of a part of what `prepare` returned."""
    if isinstance(value, Symbol):
        return Symbol(graph, value.node, (batch,), value.inner)
    whole = value.dim() == 3 and value.shape[:2] == graph.inputs[0].shape[:2] and value.shape[2] > 0
    if not whole or not value.is_floating_point():
        raise Untraceable(f"prepares {value.dtype} {tuple(value.shape)}; (T, N, width) of floats is traced")
    graph.inputs.append(value)
    return Symbol(graph, graph.node("input", (), (len(graph.inputs) - 1, 0), value.shape[2]), (batch,))
