"""Readers cut a corpus into batches; each is a pure function of the number of the update.

ContiguousReader: B streams read one corpus in parallel, each going on where it stopped, for truncated BPTT.
Stream b starts at position floor(b L / B) and reads in a circle, so no text is lost where one stream reaches
the start of the next, or at an epoch's end. Because a window depends on the update alone, a resumed run sees
exactly what an uninterrupted one would have seen.

Shapes: T time, N batch = streams B, L corpus length. inputs, targets (T, N) int64; resets (T, N) bool.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from elman import counter
from elman.data.text import Corpus
from elman.errors import ConfigError, DataError

IGNORE = -100
"""The target of a position whose next symbol is another document's: not predicted (torch's ignore_index)."""


@dataclass(frozen=True)
class Window:
    """What one update sees: `history` steps again, for their gradient, then the new ones to learn from.

    inputs[t] is followed by targets[t] in the text; resets[t] is True where an element's state starts anew
    at t. advance: steps from the start of this window to the start of the next; the state carried on is the
    one there. positions (N,): place in the corpus of each stream's first new symbol, to name in messages.
    """

    inputs: Tensor
    targets: Tensor
    resets: Tensor
    history: int
    advance: int
    positions: Tensor


class ContiguousReader:
    """Windows of `window` (k1) new symbols for each stream, with gradients through `backward` (k2) steps.

    k1 and k2 are those of Williams and Peng, "An efficient gradient-based algorithm for on-line training of
    recurrent network trajectories", 1990: every k1 steps an update is made from the gradient through the last
    k2 >= k1 steps; the k2 - k1 older ones are read again but their losses are not counted twice. State starts
    anew at the first symbol of a document, and at a window's start with `reset_probability` (drawn from seed,
    update and stream), so that a model also learns to start from nothing.

    Raises ConfigError for sizes out of range, DataError for a corpus shorter than a window.
    """

    def __init__(
        self,
        corpus: Corpus,
        streams: int,
        window: int,
        backward: int | None = None,
        *,
        reset_probability: float = 0.0,
        seed: int = 0,
    ) -> None:
        backward = window if backward is None else backward
        if streams < 1 or window < 1:
            raise ConfigError(f"batch and window must be at least 1, got {streams} and {window}")
        if backward < window:
            raise ConfigError(
                f"backward (k2) must be at least window (k1 = {window}), got {backward}: a step whose loss "
                f"is counted needs its gradient"
            )
        if len(corpus) < window + 1:
            raise DataError(
                f"the training text has {len(corpus)} symbols, a window needs {window + 1}; give more text "
                f"or a smaller train.window"
            )
        if len(corpus) < streams:
            raise DataError(
                f"the training text has {len(corpus)} symbols for {streams} streams; give more text or a "
                f"smaller train.batch"
            )
        self.corpus = corpus
        self.streams = streams
        self.window = window
        self.backward = backward
        self.reset_probability = reset_probability
        self.seed = seed
        self._offsets = torch.arange(streams) * len(corpus) // streams
        self._first = torch.zeros(len(corpus), dtype=torch.bool)
        self._first[corpus.starts] = True

    @property
    def epoch(self) -> float:
        """Updates in which every symbol is learnt from once, on average."""
        return len(self.corpus) / (self.streams * self.window)

    def _history(self, update: int) -> int:
        return min(self.backward - self.window, update * self.window)

    def read(self, update: int) -> Window:
        """The window of update 0, 1, ..."""
        history = self._history(update)
        start = update * self.window - history
        time = history + self.window
        length = len(self.corpus)
        positions = (self._offsets[None, :] + start + torch.arange(time)[:, None]) % length
        following = (positions + 1) % length
        targets = self.corpus.tokens[following].long()
        targets[self._first[following]] = IGNORE
        targets[:history] = IGNORE
        resets = self._first[positions]
        if self.reset_probability:
            # At the first new step of an update, and again wherever a later window reads that step once more.
            streams = torch.arange(self.streams)
            for earlier in range(-(-start // self.window), update + 1):
                drawn = counter.uniform(self.seed, torch.tensor(earlier), streams)
                resets[earlier * self.window - start] |= drawn < self.reset_probability
        advance = (update + 1) * self.window - self._history(update + 1) - start
        return Window(
            self.corpus.tokens[positions].long(), targets, resets, history, advance, positions[history]
        )
