"""Language models by hand: in NumPy from the equations, symbol by symbol, and over every text there is.

Shapes: T time, N batch (streams), V vocabulary, E embedding, H hidden. Everything is float64.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy.stats
import torch
from numpy.typing import NDArray
from torch import Tensor

import oracles
from elman.cells import CELLS, ElmanCell, GRUCell, LSTMCell, State
from elman.models.language_model import LanguageModel
from oracles import Array

STEPS: dict[type, Callable[[], oracles.Step]] = {
    ElmanCell: oracles.elman,
    GRUCell: oracles.gru,
    LSTMCell: oracles.lstm,
}


def small(
    vocabulary: int = 3,
    cell: str = "gru",
    *,
    hidden: int = 4,
    layers: int = 1,
    embedding: int = 2,
    seed: int = 0,
    **options: Any,
) -> LanguageModel:
    """A model in float64 and evaluation mode, with weights large enough for opinions of its own."""
    torch.manual_seed(seed)
    sizes = [embedding or vocabulary, *[hidden] * layers]
    cells = [CELLS[cell](below, hidden) for below in sizes[:-1]]
    model = LanguageModel(vocabulary, cells, embedding=embedding, **options).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    return model


def numpy_logits(
    model: LanguageModel,
    tokens: NDArray[np.int64],
    resets: NDArray[np.bool_] | None = None,
    factors: Callable[[int, int], Array] = lambda place, size: np.ones(()),
) -> Array:
    """x = E[s]; x += cell(D x) or x = cell(D x) a layer; logits = W D x + b: tokens (T, N) -> (T, N, V).

    factors(place, size) are what dropout multiplies with at a place (T, N, size), 0 for the input.
    """
    named = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    head = named.get("head.weight", named.get("embedding.weight"))  # one parameter, two names, where tied
    assert head is not None
    x = named["embedding.weight"][tokens] if model.embedding is not None else np.eye(len(head))[tokens]
    for layer, cell in enumerate(model.stack.cells):
        prefix = f"stack.cells.{layer}."
        own = {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
        zero = tuple(np.zeros(part.shape[1]) for part in cell.initial_state(1))
        driven = x * factors(layer, x.shape[2])
        out, _, _ = oracles.over_time(
            STEPS[type(cell)](), own, driven, [zero] * tokens.shape[1], resets=resets
        )
        x = x + out if model.stack.residual and x.shape == out.shape else out
    return (x * factors(len(model.stack.cells), x.shape[2])) @ head.T + named["head.bias"]


def log_softmax(logits: Array) -> Array:
    """ln of exp(z_k) over the sum of all exp(z)."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


class OneByOne:
    """A model that reads one symbol after the other from the prior on; what it has read once it remembers."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        prior = log_softmax(model.head.bias.detach().numpy())
        self._known: dict[tuple[int, ...], tuple[Array, State]] = {(): (prior, model.initial_state(1))}

    def after(self, ids: tuple[int, ...]) -> tuple[Array, State]:
        """The log probabilities (V,) of the symbol that follows `ids`, and the state there."""
        if ids not in self._known:
            _, state = self.after(ids[:-1])
            with torch.no_grad():
                logits, state = self._model.step(torch.tensor(ids[-1:]), state)
            self._known[ids] = log_softmax(logits[0].numpy()), state
        return self._known[ids]

    def log_probs(self, ids: Sequence[int]) -> list[float]:
        """ln p of each of `ids` given those before it."""
        return [float(self.after(tuple(ids[:t]))[0][ids[t]]) for t in range(len(ids))]

    def log_prob(self, ids: Sequence[int]) -> float:
        """ln p of all of `ids`."""
        return math.fsum(self.log_probs(ids))


def all_texts(vocabulary: int, length: int) -> Iterator[tuple[int, ...]]:
    """Every text of `length` symbols."""
    return itertools.product(range(vocabulary), repeat=length)


def finished_texts(vocabulary: int, length: int, stops: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every text that ends at its first stop symbol, or after `length` symbols."""
    for size in range(1, length + 1):
        for ids in all_texts(vocabulary, size):
            early = any(index in stops for index in ids[:-1])
            if not early and (size == length or ids[-1] in stops):
                yield ids


def corpus_rate(
    model: LanguageModel, tokens: Sequence[int], starts: Sequence[int], zeroed: Callable[[int], bool]
) -> tuple[float, int]:
    """-sum ln p and the count over a corpus read once, one symbol after the other.

    The state is zero at the start of a document and wherever zeroed(position). A document's first symbol is
    not predicted.
    """
    total, count = 0.0, 0
    state = model.initial_state(1)
    for place in range(len(tokens) - 1):
        if place in starts or zeroed(place):
            state = model.initial_state(1)
        with torch.no_grad():
            logits, state = model.step(torch.tensor([tokens[place]]), state)
        if place + 1 not in starts:
            total -= float(log_softmax(logits[0].numpy())[tokens[place + 1]])
            count += 1
    return total, count


def dropout_factors(
    key: int, probabilities: Sequence[float], steps: NDArray[np.int64]
) -> Callable[[int, int], Array]:
    """The `factors` of `numpy_logits` for a stack with this key; steps (T, N): what each stream has made."""

    def factors(place: int, size: int) -> Array:
        return oracles.dropout_factors(oracles.counter_child(key, place), probabilities[place], steps, size)

    return factors


def fits(counts: Tensor, probabilities: Tensor) -> float:
    """The p-value of counts (V,) under probabilities (V,); 0 where something impossible was counted."""
    possible = probabilities > 0
    if bool(counts[~possible].any()):
        return 0.0
    expected = probabilities[possible].double()
    expected *= counts.sum() / expected.sum()
    return float(scipy.stats.chisquare(counts[possible].numpy(), expected.numpy()).pvalue)
