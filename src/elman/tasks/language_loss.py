"""How a language model is measured: the loss on a window, and the two ways through a validation text.

    nats = -(1 / n) sum_t ln p(s_(t+1) | s_1 .. s_t)

Shapes: T time, N batch (streams), V vocabulary, L corpus. tokens, targets (T, N) int64; logits (T, N, V).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from elman.cells import State
from elman.data.readers import IGNORE
from elman.data.text import Corpus
from elman.metrics.language import Rate
from elman.models.language_model import LanguageModel
from elman.models.symbol_loss import symbol_loss
from elman.streaming import Streamer

EVALUATE_STREAMS = 64
"""Windows that are measured side by side."""

MINIMUM_EVALUATION = 2
"""Symbols: one to see and one to predict."""

SPAN = 256
"""Steps of a stateful evaluation in one call; no figure depends on it."""


def span(
    model: LanguageModel | Streamer, tokens: Tensor, state: State | None, resets: Tensor
) -> tuple[Tensor, State]:
    """The model over part of a window (it may have no steps): tokens, resets (T, N) -> logits, state."""
    return model(tokens, state, resets=resets if bool(resets.any()) else None)


def language_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Rate]:
    """The mean of -ln p(target) over the targets that are not IGNORE, as a tensor, and as a rate."""
    rows, wanted = logits.flatten(0, 1), targets.flatten()
    counted = wanted != IGNORE
    if not bool(counted.all()):
        rows, wanted = rows[counted], wanted[counted]
    loss, total = symbol_loss(rows, wanted)
    return loss, Rate(float(total), len(wanted))


def evaluate_windows(
    model: LanguageModel | Streamer, corpus: Corpus, window: int, progress: Callable[[float], None]
) -> Rate:
    """Every symbol but the first predicted once, in consecutive windows, each from the zero state."""
    tokens = corpus.tokens
    first = torch.zeros(len(tokens) + 1, dtype=torch.bool)
    first[corpus.starts] = True
    rate = Rate(0.0, 0)
    starts = torch.arange(0, len(tokens) - 1, window)
    with torch.no_grad():
        for rows in starts.split(EVALUATE_STREAMS):
            progress(int(rows[0]) / len(tokens))
            positions = rows[None, :] + torch.arange(window)[:, None]
            inside = positions < len(tokens) - 1
            positions = positions.clamp(max=len(tokens) - 2)
            targets = tokens[positions + 1].long()
            targets[~inside | first[positions + 1]] = IGNORE
            resets = first[positions] & inside
            resets[0] = False
            logits, _ = span(model, tokens[positions].long(), model.initial_state(len(rows)), resets)
            rate += language_loss(logits, targets)[1]
    return rate


def evaluate_stateful(
    model: LanguageModel | Streamer, corpus: Corpus, streams: int, progress: Callable[[float], None]
) -> Rate:
    """Every symbol but the first predicted once, the state carried along `streams` equal parts of the corpus.

    One stream is the exact figure; each further one starts once more from the zero state, and is that much
    faster.
    """
    predictions = len(corpus) - 1
    length = math.ceil(predictions / streams)
    first = torch.zeros(len(corpus) + 1, dtype=torch.bool)
    first[corpus.starts] = True
    begin = torch.arange(streams) * length
    rate, state = Rate(0.0, 0), model.initial_state(streams)
    with torch.no_grad():
        for start in range(0, length, SPAN):
            progress(start / length)
            steps = torch.arange(start, min(start + SPAN, length))
            positions = begin[None, :] + steps[:, None]
            inside = positions < predictions
            positions = positions.clamp(max=predictions - 1)
            targets = corpus.tokens[positions + 1].long()
            targets[~inside | first[positions + 1]] = IGNORE
            logits, state = span(model, corpus.tokens[positions].long(), state, first[positions] & inside)
            rate += language_loss(logits, targets)[1]
    return rate


def figures(windows: Rate, stateful: Rate) -> dict[str, float]:
    """The two rates under the names that records and reports use."""
    return {
        "nats": windows.nats,
        "bits": windows.bits,
        "perplexity": windows.perplexity,
        "stateful_nats": stateful.nats,
        "stateful_bits": stateful.bits,
        "stateful_perplexity": stateful.perplexity,
        "symbols": windows.symbols,
    }
