"""From a source to sequences of symbols: an encoder-decoder, a begin symbol and a search.

The state before the begin symbol is stepped by it once; what it then expects is where a search starts.
Shapes: N sources, S source positions.
"""

from typing import Any

import torch
from torch import Tensor

from elman.errors import ConfigError
from elman.models.encoder_decoder import EncoderDecoder, Step
from elman.padded import Padded
from elman.search.beam import beam_search
from elman.search.hypothesis import Hypothesis
from elman.search.sampling import sample_sequences
from elman.streaming import Weights

LENGTH = (2, 10)
"""Symbols to which a search goes where nothing is said: so many for a source position, and so many more."""


@torch.no_grad()
def best_sequences(
    model: EncoderDecoder,
    source: Any,
    *,
    begin: int,
    length: int | Tensor | None = None,
    weights: Weights = "float32",
    **options: Any,
) -> list[list[Hypothesis]]:
    """Beam search: for each of N sources its best sequences; options are those of `beam_search`.

    length: limits, by default `2 S + 10` of each source's own length S. It stops where that is "likely" to be
    the end, unless `stopping` says otherwise. weights: the type in which a step multiplies by them. The model
    decodes in the mode in which it stands: call `eval()` first.
    Raises ConfigError where a length is needed and none is given.
    """
    step, logits, state, given = _started(model, source, begin, length, weights)
    options = {"stopping": "likely", "attention": model.attention, **given, **options}
    return beam_search(step, logits, state, **options)


@torch.no_grad()
def sampled_sequences(
    model: EncoderDecoder,
    source: Any,
    *,
    begin: int,
    length: int | Tensor | None = None,
    weights: Weights = "float32",
    **options: Any,
) -> list[list[Hypothesis]]:
    """Drawn sequences of each of N sources; options are those of `sample_sequences`, the rest as above."""
    step, logits, state, given = _started(model, source, begin, length, weights)
    return sample_sequences(step, logits, state, attention=model.attention, **given, **options)


def default_limits(lengths: Tensor) -> Tensor:
    """The length limits (N,) of sources of these lengths (N,)."""
    each, more = LENGTH
    return lengths * each + more


def _started(
    model: EncoderDecoder, source: Any, begin: int, length: int | Tensor | None, weights: Weights
) -> tuple[Step, Tensor, Any, dict[str, Any]]:
    """The step, what it expects first and the state there; the limits and the sources' lengths."""
    if length is None:
        if not isinstance(source, Padded):
            raise ConfigError("length: a source that is not a sequence needs a limit; give length")
        length = default_limits(source.lengths)
    encoded = model.encode(source)
    step, state = model.start(encoded, weights)
    first = _first(state)
    logits, state = step(torch.full((len(first),), begin, device=first.device), state)
    return step, logits, state, {"length": length, "source_lengths": model.places(encoded)}


def _first(state: Any) -> Tensor:
    """Some tensor of a state; all have N rows."""
    while not isinstance(state, Tensor):
        state = next(part for part in state if isinstance(part, Tensor) or len(part))
    return state
