"""Traces that need not be read again.

A step is arbitrary Python: what it does can depend on anything, so a cell is read at each call of a scan,
which takes some tenths of a millisecond. One kind of cell is known better. A class of elman.cells without
inner modules or buffers reads its parameters and its attributes and nothing else, and where those attributes
are plain values (numbers, strings, None) they can be compared. As long as they are equal and its parameters
are the same tensors with the same shapes, its step does the same operations in the same order, so that the
trace of an earlier call holds; only the inputs are new. This needs every tensor of the trace to be a
parameter itself, not something computed from one, which would be out of date after an update. Every other
cell is read anew.
"""

from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from elman.cells.base import Cell, State
from elman.tracing.reader import Trace, leaves

_MODULE = frozenset(vars(nn.Module()))
_PLAIN = (bool, int, float, str, type(None))

_kept: WeakKeyDictionary[Cell, tuple[Any, Trace]] = WeakKeyDictionary()


def recall(cell: Cell, inputs: Tensor, state: State) -> Trace | None:
    """The trace of this cell as it is now, over `inputs`; None where it has to be read."""
    known = _kept.get(cell)
    if known is None or known[0] != _mark(cell, inputs, state):
        return None
    return replace(known[1], graph=replace(known[1].graph, inputs=[inputs]))


def keep(cell: Cell, inputs: Tensor, state: State, traced: Trace) -> None:
    """Keeps a trace for `recall`, as long as the cell lives, where that is safe."""
    graph = traced.graph
    mark = _mark(cell, inputs, state)
    own = {id(parameter) for parameter in cell.parameters(recurse=False)}
    if mark is None or len(graph.inputs) != 1 or any(id(tensor) not in own for tensor in graph.tensors):
        _kept.pop(cell, None)
    else:
        _kept[cell] = mark, replace(traced, graph=replace(graph, inputs=[]))


def _mark(cell: Cell, inputs: Tensor, state: State) -> tuple[Any, ...] | None:
    """All that the trace of this cell depends on; None where that is not known."""
    kind = type(cell)
    own = [(name, value) for name, value in vars(cell).items() if name not in _MODULE]
    plain = all(isinstance(value, _PLAIN) for _, value in own)
    if not plain or not kind.__module__.startswith("elman.cells.") or cell._modules or cell._buffers:
        return None
    parameters = [(name, id(p), None if p is None else p.shape) for name, p in cell._parameters.items()]
    shapes = [tensor.shape[1:] for tensor in leaves(state)]
    return kind, kind.step, kind.prepare, cell.training, own, parameters, inputs.shape[2], shapes
