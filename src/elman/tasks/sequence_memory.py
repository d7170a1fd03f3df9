"""How much memory training on sequences takes: what the batches make, in numbers of float32.

The coefficients were fitted to the peak of small runs (one to three layers, 64 to 512 units, batches of
3,000 to 12,000 symbols, images of 64 to 224 pixels): recurrent models and Transformers were within 0.95 and
1.5 of it, captioners within 0.9 and 1.5. A decoder that native code runs keeps nothing of a look; one that
is stepped in Python keeps some arrays of H for each pair of a symbol and a place.
Shapes: H hidden, E embedding, V vocabulary, L layers, F inner size.
"""

from typing import Any

from elman.attention.content import CONTENT

KEPT = 5
"""Weights, their gradients, two moments, and one copy while they are changed or saved."""

ALLOCATOR = 1.15
"""What is taken from the system for what is asked for: arrays of ever other sizes leave gaps."""


def in_bytes(weights: int, largest: int) -> int:
    """Of a model of so many weights whose largest batch makes `largest` numbers."""
    return int(4 * ALLOCATOR * (KEPT * weights + largest))


def stepped(attention: str | None, looked_at: bool) -> bool:
    """Whether a decoder is stepped in Python; looked_at: its weights or its own symbols are asked for."""
    return attention is not None and (attention not in CONTENT or looked_at)


def recurrent(model: Any, train: Any, symbols: int, targets: int, pairs: int, vocabulary: int) -> int:
    """Of a batch of so many symbols in all, targets, and pairs of a target and a source place."""
    layers = model.layers + (1 if model.attention else 0)
    own = model.copying or bool(model.coverage or model.doubly_stochastic) or train.teaching is not None
    looks = 4 * model.hidden * pairs if stepped(model.attention, own) else 0
    read = symbols * (14 * model.hidden * layers + 4 * model.embedding)
    return read + looks + targets * vocabulary * _logits(model, train)


def transformer(model: Any, train: Any, padded: int, targets: int, pairs: int, vocabulary: int) -> int:
    """Of a batch of so many symbols with their padding, targets, and pairs."""
    read = padded * ((16 * model.embedding + 2 * model.hidden) * model.layers + 6 * model.embedding)
    return read + 4 * model.heads * model.layers * pairs + targets * vocabulary * _logits(model, train)


def measured(model: Any, tokens: int, targets: int, vocabulary: int) -> int:
    """Of a batch of a validation: `tokens` symbols, padded."""
    width = model.hidden if model.kind == "recurrent" else model.embedding
    read = tokens * (14 * width * model.layers + 4 * model.embedding)
    return read + targets * vocabulary * (8 if model.copying else 1)


def _logits(model: Any, train: Any) -> int:
    """Arrays of all symbols: logits and gradient, in bfloat16 together one; copying has a mixture too."""
    if model.copying:
        return 8
    return 1 if train.precision == "bfloat16" else 2


def captioner(model: Any, *, pixels: int, regions: int, sentences: int, longest: int, vocabulary: int) -> int:
    """Of a batch: pixels of all its images, regions of one, sentences and the symbols of the longest."""
    hidden = model.hidden
    symbols = sentences * longest
    looked_at = bool(model.doubly_stochastic)
    looks = 2 * hidden * regions * symbols if stepped(model.attention, looked_at) else 0
    return 192 * pixels + symbols * (30 * hidden + 2 * vocabulary) + 2 * hidden * regions * sentences + looks


def captions_measured(model: Any, *, pixels: int, sentences: int, longest: int, vocabulary: int) -> int:
    """As `captioner`, of a batch of a validation."""
    return 48 * pixels + sentences * longest * (14 * model.hidden + vocabulary)
