"""One look at a memory: scores of each position against a query, their softmax, the weighted sum.

    additive   e_s = v . tanh(q + k_s)        w = softmax over s < length of e        c = sum_s w_s m_s
    dot        e_s = q . k_s                  (the same)                              (the same)

Bahdanau, Cho and Bengio 2015 (additive); Luong, Pham and Manning 2015 (dot). Projections of the query and of
the keys belong to the caller: the keys are the same in every step. These functions are a border: on tensors
they are the definition, and a step that calls them can be read by the native engine, which knows them whole.

Shapes: S source positions, N rows, A units of a query, D units of a context; query (N, A), v (A,), keys
(S, N, A), values (S, N, D), lengths (N,) int64 within 0 .. S or None where all are S; context (N, D), weights
(N, S). Of an empty source the weights and the context are zero. What keys and values have past a length must
be finite; it has no influence.
"""

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from elman.padded import length_mask


def additive_attend(
    query: Tensor, v: Tensor, keys: Tensor, values: Tensor, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Context and weights by the scores v . tanh(query + key)."""
    if has_torch_function_unary(query):
        return handle_torch_function(additive_attend, (query,), query, v, keys, values, lengths)
    return _weighted(torch.tanh(query + keys) @ v, values, lengths)


def dot_attend(
    query: Tensor, keys: Tensor, values: Tensor, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Context and weights by the scores query . key."""
    if has_torch_function_unary(query):
        return handle_torch_function(dot_attend, (query,), query, keys, values, lengths)
    return _weighted(torch.einsum("na,sna->sn", query, keys), values, lengths)


def _weighted(scores: Tensor, values: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """scores (S, N). No score is set to -inf: the softmax of an empty source would be NaN."""
    if lengths is None:
        weights = torch.softmax(scores, 0)
    else:
        mask = length_mask(lengths, len(scores))
        least = torch.finfo(scores.dtype).min
        weights = torch.softmax(scores.masked_fill(~mask, least), 0).masked_fill(~mask, 0)
    return torch.einsum("sn,snd->nd", weights, values), weights.T
