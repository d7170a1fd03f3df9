"""A cell's equations as a graph, read from its own `step`."""

from elman.tracing.evaluate import Step
from elman.tracing.graph import REDUCTIONS, ROW, Graph, Node, Untraceable
from elman.tracing.kept import keep, recall
from elman.tracing.parts import reachable
from elman.tracing.reader import Trace, leaves, trace
from elman.tracing.symbols import Symbol

__all__ = [
    "REDUCTIONS",
    "ROW",
    "Graph",
    "Node",
    "Step",
    "Symbol",
    "Trace",
    "Untraceable",
    "keep",
    "leaves",
    "reachable",
    "recall",
    "trace",
]
