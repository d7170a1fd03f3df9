"""The symbols of each row that a beam search can go on with: log-softmax, and the largest of it.

    ln p_k = logits_k - ln sum_j exp(logits_j)

Natively in two passes over a row (csrc/search), or by torch's operations; ELMAN_KERNELS chooses.
Shapes: n rows, V vocabulary, k kept symbols, E stop symbols; logits (n, V).
"""

from functools import lru_cache

import torch
from torch import Tensor

from elman import kernels
from elman.errors import KernelError

BLOCK = 64
"""Symbols whose greatest is looked for first: see `largest`."""

PIECE = 1 << 18
"""Logits that are normalised at a time: they stay in the cache, and in memory that the process keeps."""

SMALL = 1 << 15
"""Logits below which a second thread costs more than it brings."""


def likeliest(logits: Tensor, keep: int, stops: Tensor) -> tuple[Tensor, Tensor]:
    """Log probabilities, float64, and ids, both (n, k + E): the `keep` likeliest in order, then all stops.

    A stop symbol among the likeliest counts as -inf there. Of equal symbols the choice depends on their row
    alone. Raises KernelError where the native module is asked for and does not serve.
    """
    mode, lack = kernels.mode(), _lack(logits)
    if mode == "native" and lack is not None:
        raise KernelError(f"beam search: {lack}; use {kernels.VARIABLE}=auto")
    if mode in ("torch", "reference") or lack is not None:
        return _by_torch(logits, keep, stops)
    n, vocabulary = logits.shape
    logits, stops = logits.contiguous(), stops.contiguous()
    values = torch.empty(n, keep + len(stops), dtype=torch.float64)
    ids = torch.empty(n, keep + len(stops), dtype=torch.int64)
    kernels.native_module().likeliest(
        logits.data_ptr(), n, vocabulary, keep, stops.data_ptr(), len(stops), values.data_ptr(),
        ids.data_ptr(), 1 if logits.numel() < SMALL else torch.get_num_threads(),
        kernels.instructions(family="search"),
    )  # fmt: skip
    return values, ids


def normalised(logits: Tensor) -> Tensor:
    """(n, V), in float32 at least."""
    return logits.log_softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of each row (n, V), in order, and where they stand: topk.

    The largest `count` of a row lie in the `count` blocks with the largest maxima: one pass that finds these,
    which vectors do, leaves little for the slow selection.
    """
    n, size = values.shape
    blocks = size // BLOCK
    if blocks <= 2 * count:
        return values.topk(count, 1)
    whole = values[:, : blocks * BLOCK].unflatten(1, (blocks, BLOCK))
    chosen = whole.amax(2).topk(count, 1, sorted=False)[1]
    inside, rest = _block_places(size, values.device)
    places = torch.cat([(chosen[:, :, None] * BLOCK + inside).flatten(1), rest.expand(n, -1)], 1)
    found, order = values.gather(1, places).topk(count, 1)
    return found, places.gather(1, order)


def _lack(logits: Tensor) -> str | None:
    """Why the native module does not serve these logits; None where it does."""
    if not kernels.native_available():
        return kernels.native_status()
    if logits.dtype != torch.float32 or logits.device.type != "cpu":
        return f"logits are {logits.dtype} on {logits.device}; the native search reads float32 on the CPU"
    return None


def _by_torch(logits: Tensor, keep: int, stops: Tensor) -> tuple[Tensor, Tensor]:
    is_stop = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device).index_fill(0, stops, True)
    rows = max(1, PIECE // logits.shape[1])
    found = [_piece(piece, keep, stops, is_stop) for piece in logits.split(rows)]
    return (
        found[0] if len(found) == 1 else (torch.cat([v for v, _ in found]), torch.cat([i for _, i in found]))
    )


def _piece(logits: Tensor, keep: int, stops: Tensor, is_stop: Tensor) -> tuple[Tensor, Tensor]:
    every = normalised(logits)
    values, ids = largest(every, keep)
    values = values.masked_fill(is_stop[ids], -torch.inf)
    values = torch.cat([values, every.index_select(1, stops)], 1)
    return values.double(), torch.cat([ids, stops.expand(len(ids), -1)], 1)


@lru_cache(maxsize=8)
def _block_places(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The places of a block, and those of a row that are in none."""
    return torch.arange(BLOCK, device=device), torch.arange(size - size % BLOCK, size, device=device)
