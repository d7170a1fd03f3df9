"""What a row sees of its memory: the functions of elman.attend as nodes of a graph.

The memory is bound to the cell: tensors that are the same in every step, of which a row of the batch has its
own part. A step that is read can use the context only; the weights stay inside the engine.
Shapes: those of elman.attend; a symbol stands for (N, width).
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from elman.tracing.graph import Untraceable
from elman.tracing.symbols import Symbol


class Unseen:
    """In the place of weights: what uses them is not read."""

    def __getattr__(self, name: str) -> Any:
        raise Untraceable("uses the weights of attention, which stay inside the engine")

    @classmethod
    def __torch_function__(cls, *_: Any, **__: Any) -> Any:
        raise Untraceable("uses the weights of attention, which stay inside the engine")


def _dot(
    query: Any, keys: Any, bias: Any, values: Any, vector: Tensor | None = None
) -> tuple[Symbol, Unseen]:
    if not isinstance(query, Symbol) or not all(isinstance(x, Tensor) for x in (keys, bias, values)):
        raise Untraceable("attends to a memory that depends on the input or the state")
    if len(query.lead) != 1 or len(query.inner) != 1 or keys.dim() != 3 or values.dim() != 3:
        raise Untraceable(f"attends with a query {tuple(query.shape)} to keys {tuple(keys.shape)}")
    wanted = (*query.lead, keys.shape[1])
    fits = keys.shape == (*wanted, *query.inner) and values.shape[:2] == wanted and bias.shape == wanted
    if not fits or not keys.numel() or not values.numel():
        raise Untraceable(
            f"attends with a query {tuple(query.shape)} to keys {tuple(keys.shape)}, values "
            f"{tuple(values.shape)} and a bias {tuple(bias.shape)}; (N, S, A), (N, S, M), (N, S) are traced"
        )
    if bias.requires_grad:
        raise Untraceable("attends with a bias that has a derivative")
    node = query.graph.attend(query.graph.vector(query.node), vector, keys, bias.detach(), values)
    return Symbol(query.graph, node, query.lead), Unseen()


def _additive(query: Any, keys: Any, vector: Any, bias: Any, values: Any) -> tuple[Symbol, Unseen]:
    if not isinstance(vector, Tensor) or not isinstance(query, Symbol) or vector.shape != query.inner:
        raise Untraceable("attends with a vector that is not one of parameters, as wide as the query")
    return _dot(query, keys, bias, values, vector)


MEMORIES: dict[str, Callable[..., Any]] = {"attend_additive": _additive, "attend_dot": _dot}
"""The functions of elman.attend by name."""
