"""Prefix beam search over CTC outputs, with a lexicon, a language model and hotwords.

    Q(c) = ln p(c | x) + alpha ln p_lm(c) + beta words(c) + bonuses of the hotwords in c

p(c | x) is the sum over all alignments of c: the blank and non-blank endings of a prefix are one hypothesis.
With p(x | c) in proportion to p(c | x) / p(c)^(1 - alpha) that is arg max P(Y|W) P(W) (docs/decoding.md).
The recursion stands in elman.search.ctc_reference; csrc/search/beam.h computes it. In streaming, the frames
may come in any pieces: the result is the same to the last bit.

Shapes: T time, N batch, C classes. logits (T, N, C); log probabilities are logits too.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from elman import kernels
from elman.data.alphabet import Alphabet
from elman.errors import ConfigError, ShapeError
from elman.search.automaton import automaton
from elman.search.ctc_inputs import check_inputs, check_numbers
from elman.search.ctc_reference import ReferenceBeam, Settings
from elman.search.fusion import Follower, Fusion
from elman.search.lexicon import Lexicon
from elman.search.transcript import Transcript


@final
class CTCBeam:
    """A decoder; it keeps nothing of what it has decoded, and may be used by several threads.

    beam: hypotheses kept. lexicon: the words that may be written; without one, any symbols. model: a
    language model tied to the lexicon's words or the alphabet's symbols (elman.search.fusion), weighed by
    alpha; beta is added for each word: of the lexicon, else between separators, else for each symbol.
    hotwords: phrases with a bonus in nats each. symbols: look at so many likeliest symbols in a frame;
    probability: and only at those at least so likely (blank is always looked at). times: say in which frames
    the symbols stand. threads: at most; by default torch's number.

    A hypothesis is lost when it falls e^-87 behind the best (float32; e^-700 in float64), and a factor of the
    language model is held to e^87. Raises ConfigError for settings out of range.
    """

    def __init__(
        self,
        alphabet: Alphabet,
        *,
        beam: int = 100,
        lexicon: Lexicon | None = None,
        model: Fusion | None = None,
        alpha: float = 0.5,
        beta: float = 0.0,
        hotwords: Mapping[str, float] | None = None,
        symbols: int | None = None,
        probability: float = 0.0,
        times: bool = True,
        threads: int | None = None,
    ) -> None:
        _check(alphabet, beam, alpha, beta, symbols, probability, threads)
        if lexicon is not None and lexicon.alphabet.symbols != alphabet.symbols:
            raise ConfigError("CTCBeam: the lexicon is spelled in another alphabet; make it with this one")
        self.alphabet, self.lexicon, self.model = alphabet, lexicon, model
        self.times, self.threads = times, threads
        self.settings = Settings(len(alphabet), beam, symbols or 0, probability, alpha, beta)
        # In a lexicon it is the words that beta is added to; else the automaton counts them.
        self.automaton = automaton(alphabet, hotwords or {}, 0.0 if lexicon else beta)
        self._native: Any = None
        self._native_for = ""

    def decode(
        self, logits: Tensor, lengths: Tensor | None = None, *, best: int = 1
    ) -> list[list[Transcript]]:
        """The `best` transcripts of each utterance, best first; none where the lexicon allows nothing.

        logits (T, N, C) float32 or float64 (in which the search then computes), lengths (N,).
        Raises ShapeError for other shapes, types and lengths, DataError for a NaN, +inf, or a frame of
        nothing but -inf, naming utterance and frame.
        """
        _check_best(best)
        logits, frames = check_inputs(logits, lengths, self.alphabet)
        if self._decoder() is None or self._is_followed():
            return self._in_step(logits, frames, best)
        start, step, size = logits.data_ptr(), logits.stride(1), logits.element_size()
        found = kernels.native_module().beam_decode(
            self._decoder(),
            [start + n * step * size for n in range(len(frames))],
            frames,
            logits.stride(0),
            best,
            self.threads or torch.get_num_threads(),
            logits.dtype == torch.float64,
        )
        return [[self._transcript(one) for one in each] for each in found]

    def stream(self, dtype: torch.dtype = torch.float32) -> "CTCStream":
        """A stream for one utterance that comes in pieces of `dtype`, float32 or float64."""
        if dtype not in (torch.float32, torch.float64):
            raise ShapeError(f"stream: expected torch.float32 or torch.float64, got {dtype}")
        return CTCStream(self, dtype)

    def _in_step(self, logits: Tensor, frames: Sequence[int], best: int) -> list[list[Transcript]]:
        """All utterances frame by frame together: a language model takes all their new contexts at once."""
        follower = self._follower()
        searches = [self._search(logits.dtype, n, follower) for n in range(len(frames))]
        _supply(searches, follower)
        for t in range(max(frames, default=0)):
            going = [n for n in range(len(frames)) if t < frames[n]]
            for n in going:
                searches[n].advance(logits[t : t + 1, n])
            _supply([searches[n] for n in going], follower)
        return [search.best(best, True) for search in searches]

    def _is_followed(self) -> bool:
        """Whether the language model is one that has to be followed from here."""
        return self.model is not None and self.model.native() is None

    def _follower(self) -> Follower | None:
        return self.model.follower() if self.model is not None and self._is_followed() else None

    def _search(self, dtype: torch.dtype, utterance: int, follower: Follower | None) -> "_Search":
        decoder = self._decoder()
        if decoder is None:
            return _ReferenceSearch(self)
        return _NativeSearch(self, decoder, dtype, utterance, follower)

    def _decoder(self) -> Any:
        """The native decoder, made at the first use; None where the reference is to compute."""
        mode = kernels.mode()
        if mode in ("torch", "reference") or (mode == "auto" and not kernels.native_available()):
            return None
        wanted = kernels.instructions(family="search")
        if self._native is None or self._native_for != wanted:
            self._native, self._native_for = self._make(wanted), wanted
        return self._native

    def _make(self, wanted: str) -> Any:
        settings, model = self.settings, self.model
        edges = 0 if self.lexicon is None else self.lexicon.native.most_edges()
        if settings.beam << (settings.classes + edges - 1).bit_length() > 1 << 32:
            raise ConfigError(
                f"beam: {settings.beam} hypotheses of {settings.classes} classes and {edges} words of one "
                f"spelling are more than 2^32 candidates; take a smaller beam"
            )
        handle, units = (None, []) if model is None else model.native() or (None, [])
        external = model is not None and handle is None
        return kernels.native_module().Decoder(
            classes=settings.classes,
            beam=settings.beam,
            kept=settings.kept,
            least=settings.least,
            alpha=settings.alpha,
            beta=settings.beta,
            times=self.times,
            symbol_model=model is not None and model.symbols,
            external=model.columns if model is not None and external else 0,
            lexicon=None if self.lexicon is None else self.lexicon.native,
            model=handle,
            units=units,
            looks=model.looks() if model is not None and external else [],
            weights=self.automaton.weights,
            next=self.automaton.next,
            last=self.automaton.last,
            kernels=wanted,
        )

    def _transcript(self, found: Any) -> Transcript:
        symbols = tuple(found.symbols)
        if self.lexicon is None:
            words, text = (), self.alphabet.decode(symbols)
        else:
            words = tuple(self.lexicon.words[word] for word in found.words)
            text = " ".join(words)
        return Transcript(
            text,
            symbols,
            found.score,
            words,
            tuple(found.starts),
            tuple(found.ends),
            tuple(found.confidences),
        )


@final
class CTCStream:
    """One utterance in pieces: feed them, look at what is known so far, and finish.

    However the frames are cut, `finish` gives what CTCBeam.decode gives for the whole.
    """

    def __init__(self, decoder: CTCBeam, dtype: torch.dtype) -> None:
        self.decoder, self.dtype = decoder, dtype
        self.frames = 0
        self._follower = decoder._follower()
        self._search = decoder._search(dtype, 0, self._follower)
        self._finished = False
        _supply([self._search], self._follower)

    def feed(self, logits: Tensor) -> None:
        """The next frames, logits (T, C), T any number.

        Raises ShapeError and DataError as CTCBeam.decode; then nothing of the piece has been taken.
        """
        self._check_open()
        classes = len(self.decoder.alphabet)
        if logits.dim() != 2 or logits.shape[1] != classes or logits.dtype != self.dtype:
            raise ShapeError(
                f"stream: expected frames (T, {classes}) {self.dtype}, got {tuple(logits.shape)} "
                f"{logits.dtype}"
            )
        logits = logits.detach().cpu().contiguous()
        check_numbers(logits, "stream", self.frames)
        step = 1 if self._follower is not None else max(len(logits), 1)
        for piece in logits.split(step):
            self._search.advance(piece)
            _supply([self._search], self._follower)
        self.frames += len(logits)

    def partial(self, best: int = 1) -> list[Transcript]:
        """The best hypotheses so far; a word that is not yet over is not in `words`, but its symbols are."""
        self._check_open()
        _check_best(best)
        return self._search.best(best, False)

    def finish(self, best: int = 1) -> list[Transcript]:
        """The best transcripts of the whole; nothing can be fed any more."""
        self._check_open()
        _check_best(best)
        self._finished = True
        return self._search.best(best, True)

    def _check_open(self) -> None:
        if self._finished:
            raise ConfigError("stream: it is finished; ask the decoder for another one")


class _Search(ABC):
    """The search over one utterance, native or not."""

    @abstractmethod
    def advance(self, logits: Tensor) -> None:
        """Goes on by logits (T, C)."""

    @abstractmethod
    def asked(self) -> list[tuple[int, int, int, int]]:
        """The contexts that the language model is to be followed into, as Follower.follow takes them."""

    @abstractmethod
    def supply(self, rows: Tensor) -> None:
        """The rows that were asked for."""

    @abstractmethod
    def best(self, count: int, whole: bool) -> list[Transcript]:
        """The best transcripts, partial or whole."""


@final
class _NativeSearch(_Search):
    """One utterance in the native search, with the rows of the language model that it asks for."""

    def __init__(
        self, decoder: CTCBeam, native: Any, dtype: torch.dtype, utterance: int, follower: Follower | None
    ) -> None:
        self.decoder, self.utterance, self.follower = decoder, utterance, follower
        module = kernels.native_module()
        self.beam = (module.BeamTwofold if dtype == torch.float64 else module.BeamSingle)(native)

    def advance(self, logits: Tensor) -> None:
        self.beam.advance(logits.data_ptr(), logits.shape[0], logits.stride(0))

    def asked(self) -> list[tuple[int, int, int, int]]:
        return [(self.utterance, one.parent, one.unit, one.row) for one in self.beam.requests()]

    def supply(self, rows: Tensor) -> None:
        rows = rows.contiguous()
        self.beam.supply(rows.data_ptr())

    def best(self, count: int, whole: bool) -> list[Transcript]:
        ends: list[float] = []
        if whole and self.follower is not None:
            asked = [(self.utterance, one.parent, one.unit) for one in self.beam.endings()]
            ends = self.follower.ends(asked)
        return [self.decoder._transcript(found) for found in self.beam.best(count, whole, ends)]


@final
class _ReferenceSearch(_Search):
    """One utterance in the reference, which follows the language model by itself."""

    def __init__(self, decoder: CTCBeam) -> None:
        self.decoder = decoder
        model = decoder.model
        self.beam = ReferenceBeam(
            decoder.settings,
            decoder.lexicon,
            None if model is None else model.follower(),
            model is not None and model.symbols,
            [] if model is None else model.looks(),
            decoder.automaton,
        )

    def advance(self, logits: Tensor) -> None:
        for frame in logits.double().tolist():
            self.beam.advance(frame)

    def asked(self) -> list[tuple[int, int, int, int]]:
        return []

    def supply(self, rows: Tensor) -> None:
        raise AssertionError("the reference asks for nothing")

    def best(self, count: int, whole: bool) -> list[Transcript]:
        found = []
        for score, word_ids, prefix in self.beam.best(count, whole):
            lexicon = self.decoder.lexicon
            words = () if lexicon is None else tuple(lexicon.words[word] for word in word_ids)
            text = self.decoder.alphabet.decode(prefix.symbols) if lexicon is None else " ".join(words)
            tracks = (prefix.blank_track, prefix.symbol_track)
            spans = max(tracks, key=lambda track: track[0])[1] if self.decoder.times else ()
            starts, ends, peaks = zip(*spans, strict=True) if spans else ((), (), ())
            found.append(Transcript(text, prefix.symbols, score, words, starts, ends, peaks))
        return found


def _supply(searches: Sequence[_Search], follower: Follower | None) -> None:
    """Takes the language model one step for all contexts that are new in any of the searches."""
    if follower is None:
        return
    asked = [search.asked() for search in searches]
    if not any(asked):
        return
    rows = follower.follow([one for each in asked for one in each])
    for search, part in zip(searches, rows.split([len(each) for each in asked]), strict=True):
        if len(part):
            search.supply(part)


def _check(
    alphabet: Alphabet,
    beam: int,
    alpha: float,
    beta: float,
    symbols: int | None,
    probability: float,
    threads: int | None,
) -> None:
    if not 1 <= beam <= 1 << 20 or beam * len(alphabet) >= 1 << 31:
        raise ConfigError(
            f"beam: expected 1 to {min(1 << 20, (1 << 31) // len(alphabet) - 1)} hypotheses, got {beam}"
        )
    if not 0 <= alpha < math.inf or not math.isfinite(beta):
        raise ConfigError(f"expected alpha of at least 0 and a finite beta, got alpha={alpha}, beta={beta}")
    if symbols is not None and symbols < 1:
        raise ConfigError(f"symbols: expected at least 1 looked at in a frame, got {symbols}")
    if not 0 <= probability < 1:
        raise ConfigError(f"probability: expected 0 or more and less than 1, got {probability}")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads: expected at least 1, got {threads}")


def _check_best(best: int) -> None:
    if best < 1:
        raise ConfigError(f"best: expected at least 1 transcript, got {best}")
