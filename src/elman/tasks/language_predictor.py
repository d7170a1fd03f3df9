"""A trained language model in use: generate, go on, complete, score, compare.

Everything passes through a Context: what the model expects next, and the state of its cells. One context in,
one context out; what is computed symbol by symbol equals what is computed over the whole text.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from elman.cells import State
from elman.data.codec import Codec
from elman.errors import ConfigError
from elman.models.language_model import LanguageModel
from elman.models.marks import Mark, all_unchanged, mark
from elman.scan import Choice
from elman.search.beam import beam_search
from elman.search.sampling import Sampling, Step, sample
from elman.streaming import Precision, Streamer, choose_streams
from elman.tasks.base import Predictor

COMPLETION_STOPS = (".", "\n")
"""Symbols that end a completion: those of a sentence and of a line."""


class Context(NamedTuple):
    """Where a text stands: logits (1, V) of the next symbol, the cells' state, how many symbols were read."""

    logits: Tensor
    state: State
    position: int
    last: int | None
    """The symbol before: a word is written differently at a line's start."""


@dataclass(frozen=True)
class Generation:
    """Text that was drawn, its ids, their log probabilities (nats, under the model itself), its context."""

    text: str
    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    context: Context


@dataclass(frozen=True)
class Score:
    """How likely a text is, symbol by symbol. log_probs are in nats."""

    text: str
    symbols: tuple[str, ...]
    log_probs: tuple[float, ...]

    @property
    def log_prob(self) -> float:
        """Of the whole text."""
        return math.fsum(self.log_probs)

    @property
    def nats(self) -> float:
        """Per symbol."""
        return -self.log_prob / max(len(self.log_probs), 1)


@dataclass(frozen=True)
class Completion:
    """One way to go on with a text."""

    text: str
    log_prob: float


@final
class LanguagePredictor(Predictor):
    """A language model with its codec. Symbols that the codec does not know raise DataError.

    weights: the precision in which they are used. Symbols are drawn by the native engine where it serves the
    model (`choice` says so, and why not), and stepped in Python elsewhere; other weights than float32 are for
    the engine alone, for everything that is read too. Raises KernelError where it cannot serve them.
    """

    def __init__(self, model: LanguageModel, codec: Codec, weights: Precision = "float32") -> None:
        self.model = model.eval()
        self.codec = codec
        self.weights: Precision = weights
        self._packed: tuple[tuple[Mark, ...], Streamer] | None = None
        if weights != "float32":
            choose_streams(model.stack, weights)

    @property
    def choice(self) -> Choice:
        """The way in which symbols are drawn, "native" or "reference", and the reason."""
        return choose_streams(self.model.stack, self.weights)

    def start(self) -> Context:
        """Before any text: the zero state, and the prior that the model gives from it."""
        with torch.no_grad():
            return Context(self.model.prior(1), self.model.initial_state(1), 0, None)

    def read(self, text: str, context: Context | None = None, name: str = "prompt") -> Context:
        """The context after `text`."""
        return self._follow(text, context or self.start(), name)[2]

    def next(self, context: Context, best: int = 5) -> list[tuple[str, float]]:
        """The `best` likeliest next symbols with their probabilities."""
        p, ids = context.logits[0].double().softmax(0).topk(min(best, len(self.codec)))
        return [(self.codec.symbols[int(index)], float(value)) for index, value in zip(ids, p, strict=True)]

    def generate(
        self,
        prompt: str = "",
        *,
        length: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        stop: Sequence[str] = (),
        context: Context | None = None,
    ) -> Generation:
        """Draws at most `length` symbols after `prompt`; ends early with the first text in `stop`, kept.

        temperature 0 is greedy. The same seed gives the same text; a text drawn in parts, each from the
        context of the one before, is the text drawn at once.
        """
        drawn = list(self._draw(prompt, length, Sampling(temperature, top_k, top_p), seed, stop, context))
        ids = tuple(draw.id for draw in drawn)
        end = drawn[-1].context if drawn else self.read(prompt, context)
        assert end is not None, "the last symbol of a piece has a context"
        text = "".join(draw.text for draw in drawn)
        return Generation(text, ids, tuple(draw.log_prob for draw in drawn), end)

    def stream(
        self,
        prompt: str = "",
        *,
        length: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        stop: Sequence[str] = (),
        context: Context | None = None,
    ) -> Iterator[str]:
        """The text of `generate`, piece by piece as it is drawn."""
        drawn = self._draw(prompt, length, Sampling(temperature, top_k, top_p), seed, stop, context)
        return (draw.text for draw in drawn)

    def score(self, text: str, *, context: Context | None = None, name: str = "text") -> Score:
        """The log probability of each symbol of `text` given those before it (the first: under the prior)."""
        context = context or self.start()
        ids, logits, _ = self._follow(text, context, name)
        return self._score(text, context, ids, logits)

    def compare(self, texts: Sequence[str], *, context: Context | None = None) -> list[Score]:
        """The scores of texts, the likeliest first: minimal pairs, as 'kniha o mně' and 'kniha o mě'."""
        scores = [self.score(text, context=context, name=f"text {row}") for row, text in enumerate(texts, 1)]
        return sorted(scores, key=lambda score: -score.log_prob)

    def complete(
        self,
        prompt: str,
        *,
        best: int = 5,
        length: int = 40,
        stop: Sequence[str] = COMPLETION_STOPS,
        beam: int | None = None,
        context: Context | None = None,
    ) -> list[Completion]:
        """The `best` likeliest ways to go on until a stop symbol or for `length` symbols, by beam search.

        Each of `stop` is the text of one symbol; those that the codec does not have are left out.
        """
        context = self.read(prompt, context)
        known = {self.codec.decode([index]): index for index in range(len(self.codec))}
        stops = [known[symbol] for symbol in stop if symbol in known]
        with torch.no_grad():
            (found,) = beam_search(
                self._step(),
                context.logits,
                context.state,
                length=length,
                best=best,
                beam=beam,
                stop=stops,
            )
        return [Completion(self.codec.decode(h.ids, context.last), h.log_prob) for h in found]

    def predict(self, inputs: Sequence[str], best: int = 1) -> list[dict[str, Any]]:
        """For each text its log probability, its rank, the likeliest next symbols, and each symbol's own."""
        start, scores, ends = self.start(), [], []
        for row, text in enumerate(inputs, 1):
            ids, logits, end = self._follow(text, start, f"input {row}")
            scores.append(self._score(text, start, ids, logits))
            ends.append(end)
        order = sorted(range(len(scores)), key=lambda row: -scores[row].log_prob)
        return [
            {
                "input": score.text,
                "log_prob": score.log_prob,
                "nats": score.nats,
                "symbols": len(score.log_probs),
                "rank": order.index(row) + 1,
                "next": [{"symbol": s, "probability": p} for s, p in self.next(ends[row], best)],
                "each": [
                    {"symbol": s, "log_prob": p} for s, p in zip(score.symbols, score.log_probs, strict=True)
                ],
            }
            for row, score in enumerate(scores)
        ]

    def _follow(self, text: str, context: Context, name: str) -> tuple[Tensor, Tensor, Context]:
        """Goes through a text once: ids (L,), the logits (L, V) after each, and the context at its end."""
        ids = self.codec.encode(text, name)
        if not len(ids):
            return ids, context.logits[:0], context
        read = self.model if self.weights == "float32" else self._streamer()
        assert read is not None, "the engine serves weights in few bits, or an error has said why not"
        with torch.no_grad():
            logits, state = read(ids[:, None], context.state)
        return ids, logits[:, 0], Context(logits[-1], state, context.position + len(ids), int(ids[-1]))

    def _score(self, text: str, context: Context, ids: Tensor, logits: Tensor) -> Score:
        """The score of what `_follow` went through from `context`."""
        expected = torch.cat([context.logits, logits])[: len(ids)]
        log_probs = expected.double().log_softmax(1).gather(1, ids[:, None])[:, 0]
        return Score(text, tuple(self.codec.symbols[int(index)] for index in ids), tuple(log_probs.tolist()))

    def _draw(
        self,
        prompt: str,
        length: int,
        sampling: Sampling,
        seed: int,
        stop: Sequence[str],
        context: Context | None,
    ) -> Iterator["_Draw"]:
        if length < 0:
            raise ConfigError(f"length: expected 0 or more, got {length}")
        if any(not text for text in stop):
            raise ConfigError("stop: an empty text ends everything; leave it out")
        context = self.read(prompt, context)
        decode, said, longest = self.codec.decoder(context.last), "", max(map(len, stop), default=0)
        streamer = self._streamer()
        if streamer is None:
            drawn = self._reference(context, length, sampling, seed)
        else:
            ends = sorted({index for text in stop for index in self.codec.ending(text)})
            drawn = _natively(streamer, context, length, sampling, seed, ends)
        for index, log_prob, after in drawn:
            text = decode(index)
            yield _Draw(index, text, log_prob, after)
            said = (said + text)[-longest:] if longest else ""
            if any(said.endswith(end) for end in stop):
                return

    def _reference(self, context: Context, length: int, sampling: Sampling, seed: int) -> Iterator["_Symbol"]:
        """The definition of drawing: elman.search.sampling, one step of the model after the other."""
        draws = sample(
            self.model.step,
            context.logits,
            context.state,
            sampling=sampling,
            seed=seed,
            start=context.position,
        )
        for _ in range(length):
            expected = context.logits
            with torch.no_grad():  # around each draw: a generator must not leave the mode set while it waits
                ids, logits, state = next(draws)
            index = int(ids[0])
            context = Context(logits, state, context.position + 1, index)
            yield _Symbol(index, float(expected[0].double().log_softmax(0)[index]), context)

    def _step(self) -> Step:
        streamer = self._streamer()
        return self.model.step if streamer is None else streamer.step

    def _streamer(self) -> Streamer | None:
        """The model with packed weights, packed anew after they have changed; None where Python steps it."""
        if self.choice.path != "native":
            return None
        weights = tuple(self.model.parameters())
        if self._packed is None or not all_unchanged(weights, self._packed[0]):
            self._packed = tuple(map(mark, weights)), self.model.stream(self.weights)
        return self._packed[1]


class _Symbol(NamedTuple):
    """A symbol that was drawn, its log probability under the model itself, and the context after it.

    The context is None inside a piece that the engine drew at once.
    """

    id: int
    log_prob: float
    context: Context | None


class _Draw(NamedTuple):
    """A symbol with the text that it adds; the rest as in _Symbol."""

    id: int
    text: str
    log_prob: float
    context: Context | None


def _natively(
    streamer: Streamer,
    context: Context,
    length: int,
    sampling: Sampling,
    seed: int,
    ends: Sequence[int],
) -> Iterator[_Symbol]:
    """Symbols in pieces; one of `ends` is the last of its piece: whoever stops there has a context."""
    while length > 0:
        drawn = streamer.draw(
            context.logits, context.state, length, sampling, seed=seed, start=context.position, stop=ends
        )
        for piece in drawn:
            ids, log_probs = piece.ids[:, 0].tolist(), piece.log_probs[:, 0].tolist()
            context = Context(piece.logits, piece.state, context.position + len(ids), ids[-1])
            length -= len(ids)
            yield from (_Symbol(*pair, None) for pair in zip(ids[:-1], log_probs[:-1], strict=True))
            yield _Symbol(ids[-1], log_probs[-1], context)
