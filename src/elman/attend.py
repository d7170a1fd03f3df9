"""One look at a memory: scores of each place against a query, their softmax, the sum that it weighs.

    additive   e_s = v . tanh(q + k_s) + b_s        w = softmax_s(e)        c = sum_s w_s m_s
    dot        e_s = q . k_s + b_s                  (the same)              (the same)

Bahdanau, Cho and Bengio 2015 (additive); Luong, Pham and Manning 2015 (dot). Projections of the query and of
the keys belong to the caller: the keys are the same in every step. These functions are a border: on tensors
they are the definition, and a step that calls them can be read by the native engine, which knows them whole.

Shapes: N elements, S places, A units of a query, M of a context; query (N, A), keys (N, S, A), vector (A,),
values (N, S, M), bias (N, S): 0, or -inf where there is nothing to be looked at, but not everywhere for an
element; context (N, M), weights (N, S). Keys and values must be finite there too.
"""

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

PIECE = 1 << 18
"""Units of places whose scores are computed at a time."""


def attend_additive(
    query: Tensor, keys: Tensor, vector: Tensor, bias: Tensor, values: Tensor
) -> tuple[Tensor, Tensor]:
    """Context and weights by the scores vector . tanh(query + key) + bias."""
    if has_torch_function_unary(query):
        return handle_torch_function(attend_additive, (query,), query, keys, vector, bias, values)
    if torch.is_grad_enabled():
        return _weighed(torch.tanh(keys + query[:, None]) @ vector + bias, values)
    return _weighed(_scores(query, keys, vector) + bias, values)


def attend_dot(query: Tensor, keys: Tensor, bias: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Context and weights by the scores query . key + bias."""
    if has_torch_function_unary(query):
        return handle_torch_function(attend_dot, (query,), query, keys, bias, values)
    return _weighed((keys @ query[:, :, None])[:, :, 0] + bias, values)


def _scores(query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """vector . tanh(query + key), where nothing is kept for a derivative: (N, S).

    By tanh(x) = 2 sigmoid(2 x) - 1, which torch computes six times as fast as tanh, in pieces that stay in
    the cache and in memory that is not returned to the system in between.
    """
    rows = max(1, PIECE // max(1, keys[:1].numel()))
    pieces = zip(query.split(rows), keys.split(rows), strict=True)
    found = [(k + q[:, None]).mul_(2).sigmoid_() @ vector for q, k in pieces]
    return 2 * (found[0] if len(found) == 1 else torch.cat(found)) - vector.sum()


def _weighed(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    weights = torch.softmax(scores, -1)
    return (weights[:, None] @ values)[:, 0], weights
