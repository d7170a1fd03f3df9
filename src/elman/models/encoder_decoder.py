"""What every encoder-decoder is to those who train it, search with it and look at it.

    memory = encode(source)        p(y_1 .. y_L | source) = prod_t p(y_t | y_<t, memory)

Sutskever, Vinyals and Le 2014; Cho et al. 2014. Recurrent decoders with attention, Transformers and models
that caption images differ in `encode` and in what a decoding state is; tasks and searches know them through
this file alone.

Shapes: S source positions, T target time, N batch, n rows being decoded, V target vocabulary. source: Padded
ids (S, N), features (S, N, F), or what a subclass says; inputs (T, N) int64: the target after its begin
symbol; logits (P, V), P = lengths.sum(): the places inside the targets, by time, then by element.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from elman.cells import State
from elman.streaming import Weights

Step = Callable[[Tensor, State], tuple[Tensor, State]]
"""ids (n,), state -> logits (n, V) of the next symbol, state."""


class Taught(NamedTuple):
    """What teacher forcing gives: logits (P, V), and a term that the model adds to the loss, or None."""

    logits: Tensor
    penalty: Tensor | None = None


class EncoderDecoder(nn.Module, ABC):
    """A sequence, or anything else, in; a sequence of symbols out.

    A decoding state is a tree of tensors whose first axis are the rows being decoded: a search repeats,
    reorders and drops rows, and `step` must give a row the numbers that it would have had alone. What belongs
    to a source and does not change, as keys and memory, is not copied with the rows: the state tells by an
    index which source a row belongs to.
    """

    @abstractmethod
    def encode(self, source: Any) -> Any:
        """The source, once: what `start` needs."""

    @abstractmethod
    def forward(self, source: Any, inputs: Tensor, lengths: Tensor) -> Taught:
        """Teacher forcing: inputs (T, N) begin with the begin symbol; lengths (N,) count it.

        The logits at a place are those of the symbol that follows the input there.
        """

    @abstractmethod
    def start(self, encoded: Any, weights: Weights = "float32") -> tuple[Step, State]:
        """A step function over these sources, and the state of one row for each, before the begin symbol.

        weights: the type in which a step multiplies by them, sums staying in float32. Raises ConfigError
        where that is not to be had.
        """

    def attention(self, state: State) -> Tensor | None:
        """weights (n, S): where each row looked in its last step; None for a model that does not attend."""
        return None

    def places(self, encoded: Any) -> Tensor | None:
        """lengths (N,): over how many of the S places each source's attention goes; None for all of them."""
        return None

    def reseed(self, seed: int) -> None:
        """Draws the next masks from a new key; nothing to do for a model without any."""
