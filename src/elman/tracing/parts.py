"""The graph as it would be if the cell had written one vector for each part that it takes apart.

A sum over vectors that are taken apart elsewhere becomes the sum of their parts, so that a row's mean and its
gates come from the same columns; a tensor of the state of which parts are read or written becomes several.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence

from elman.tracing.graph import REDUCTIONS, Graph, Node, Untraceable

Part = tuple[int, int, int]
"""A tensor of the state, first unit, units."""


def reachable(roots: Iterable[Node], stop: Callable[[Node], bool] = lambda node: False) -> list[Node]:
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


def in_parts(
    graph: Graph, output: Node, states: Sequence[Node], widths: Sequence[int]
) -> tuple[Graph, Node, tuple[Node, ...], list[Part]]:
    """The graph, the output and one new value for each part of the state; the same graph where nothing is
    apart.
    """
    live = reachable((output, *states))
    bounds = [{0, width} for width in widths]
    for node in live:
        if node.op == "state":
            which, start = node.value
            bounds[which] |= {start, start + node.width}
    for edge, node in zip(bounds, states, strict=True):
        edge.update(itertools.accumulate(part.width for part in node.args) if node.op == "cat" else ())
    parts = [
        (which, start, stop - start)
        for which, edge in enumerate(bounds)
        for start, stop in itertools.pairwise(sorted(edge))
    ]
    apart = any(node.op in REDUCTIONS and graph.cuts.get(node.args[0].width) for node in live)
    if len(parts) == len(widths) and not apart:
        return graph, output, tuple(states), parts
    fresh = Graph(graph.inputs, graph.tensors)
    known: dict[Node, Node] = {}
    for node in live:
        known[node] = _again(graph, fresh, node, [known.get(arg, arg) for arg in node.args], parts)
    new = tuple(fresh.slice(known[states[which]], start, width) for which, start, width in parts)
    return fresh, known[output], new, parts


def _again(graph: Graph, fresh: Graph, node: Node, args: list[Node], parts: list[Part]) -> Node:
    """The node in the fresh graph, its arguments being there."""
    if node.op == "state":
        which, start = node.value
        inside = [
            fresh.node("state", (), (place, 0), part[2])
            for place, part in enumerate(parts)
            if part[0] == which and start <= part[1] < start + node.width
        ]
        again = fresh.cat(inside)
    elif node.op == "column" and args[0].op == "cat":
        weight, bias, row = node.value
        whole = fresh.product(args[0], fresh.tensors[weight], None if bias < 0 else fresh.tensors[bias])
        again = fresh.slice(whole, row, node.width)
    elif node.op == "total":
        again = fresh.total(fresh.sum(_pieces(graph, fresh, args[0])))
    elif node.op == "cat":
        again = fresh.cat(args)
    elif node.op == "attend" and args[0].op == "cat":
        raise Untraceable("attends with a query that is a state of which parts are read")
    elif node.op in ("input", "param", "const", "column", "mov", "most", "attend"):
        again = fresh.node(node.op, tuple(args), node.value, node.width)
    else:
        again = fresh.apply(node.op, *args)
    return again


def _pieces(graph: Graph, fresh: Graph, node: Node) -> list[Node]:
    """The parts of a vector whose width is taken apart somewhere, widths of one kind added up."""
    if node.op == "cat":
        return [node]
    edges = sorted({0, node.width, *graph.cuts.get(node.width, ())})
    if len({stop - start for start, stop in itertools.pairwise(edges)}) > 1:
        return [
            fresh.total(fresh.slice(node, start, stop - start)) for start, stop in itertools.pairwise(edges)
        ]
    return [fresh.slice(node, start, stop - start) for start, stop in itertools.pairwise(edges)]
