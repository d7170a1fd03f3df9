"""A trained model that writes sequences, in use: searched in batches, drawn, or written symbol by symbol.

What is written for a source depends on that source alone: not on what is asked at the same time, nor on how
it is cut in batches.
Shapes: N sources, L symbols written, S places of a source.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from elman.data.codec import UNKNOWN
from elman.data.sequence_codec import END, SequenceCodec
from elman.errors import ConfigError
from elman.models.encoder_decoder import EncoderDecoder
from elman.search.hypothesis import Hypothesis
from elman.search.sampling import Sampling, sample
from elman.streaming import Precision
from elman.tasks.sequence_data import by_size
from elman.tasks.sequence_search import Search, find, searched
from elman.tasks.sequence_task import EVALUATE_TOKENS, SequenceTask
from elman.tasks.writing_predictor import WritingPredictor, asked_search


class SequencePredictor(WritingPredictor):
    """A model with its task; a subclass says how an input is read.

    weights: of its searches, float32 or bfloat16. Raises ConfigError for others.
    """

    def __init__(self, task: SequenceTask, model: EncoderDecoder, weights: Precision = "float32") -> None:
        self.weights = searched(task.name, weights)
        self.task = task
        self.model = model.eval()

    @abstractmethod
    def read(self, text: str, name: str) -> Any | None:
        """The source that an input describes; None where there is nothing in it, and nothing to be said."""

    @abstractmethod
    def length(self, source: Any) -> int:
        """Places of a source."""

    @abstractmethod
    def symbols(self, text: str) -> list[str] | None:
        """What stands at the places of a source before its end; None where that are no symbols."""

    def codec(self, text: str) -> SequenceCodec:
        """Of what is written for an input: it knows the words that can be copied from there."""
        return self.task.target

    def predict(
        self,
        inputs: Sequence[str],
        best: int = 1,
        *,
        beam: int | None = None,
        alpha: float | None = None,
        coverage: float | None = None,
        sampling: Sampling | None = None,
        seed: int = 0,
        prefixes: Sequence[str] | None = None,
        replace_unknown: bool = False,
        alignment: bool = False,
        first: int = 0,
    ) -> list[dict[str, Any]]:
        """For each input {source, text, score, alternatives}, the likeliest first among `best` alternatives.

        beam, alpha, coverage: of the search, as the run's settings say where they are not given. sampling:
        the alternatives are drawn, by `seed`, in place of a search. prefixes: a beginning for each input, all
        of whose symbols are forced. replace_unknown: a symbol that the model does not know is written as what
        it looked at most in the source. alignment: adds {source, target, weights (L, S)}, the symbols and
        where the model looked for each of those written. first: the number of the first input, of which draws
        and messages are functions.

        score: log probability in nats over length^alpha, without a penalty for coverage; of what was drawn,
        the log probability. Raises ConfigError for options that the model or the search cannot follow,
        DataError naming an input that cannot be read.
        """
        search = asked_search(
            Search.of(self.task.config.search, self.weights), inputs, prefixes,
            best=best, sampling=sampling, seed=seed, beam=beam, alpha=alpha, coverage=coverage,
        )  # fmt: skip
        sources = [self.read(text, f"input {first + row}") for row, text in enumerate(inputs, 1)]
        said = [row for row, source in enumerate(sources) if source is not None]
        lengths = [self.length(sources[row]) for row in said]
        found: dict[int, list[Hypothesis]] = {}
        for batch in by_size(lengths, EVALUATE_TOKENS // search.rows):
            rows = [said[place] for place in batch]
            begun = None if prefixes is None else [self._prefix(inputs[row], prefixes[row]) for row in rows]
            hypotheses = find(
                self.model,
                self.task.collate([sources[row] for row in rows]),
                self.task.target,
                torch.tensor([self.task.limit(lengths[place]) for place in batch]),
                search,
                prefixes=begun,
                sources=torch.tensor(rows) + first,
            )
            found.update(zip(rows, hypotheses, strict=True))
        return [
            self._prediction(text, found.get(row), replace_unknown, alignment)
            for row, text in enumerate(inputs)
        ]

    def stream(
        self,
        text: str,
        *,
        prefix: str = "",
        sampling: Sampling | None = None,
        seed: int = 0,
        replace_unknown: bool = False,
    ) -> Iterator[str]:
        """What the model writes, piece by piece as each symbol is known: greedily, or drawn by `seed`.

        The options are those of `predict`. The pieces make the text; `prefix` belongs to it.
        """
        source = self.read(text, "input 1")
        if source is None:
            return
        codec, begun = self.codec(text), self._prefix(text, prefix)
        words = self._words(text) if replace_unknown else None
        with torch.no_grad():
            step, state = self.model.start(self.model.encode(self.task.collate([source])), self.weights)
            logits, state = step(torch.tensor([codec.begin]), state)
            for index in begun:
                logits, state = step(torch.tensor([index]), state)
        say = codec.decoder()
        yield from (piece for piece in map(say, begun) if piece)
        draws = sample(
            step, logits, state, sampling=sampling or Sampling(temperature=0), seed=seed, start=len(begun)
        )
        for _ in range(self.task.limit(self.length(source)) - len(begun)):
            weights = self.model.attention(state)
            with torch.no_grad():  # around each draw: a generator must not leave the mode set while it waits
                ids, _, state = next(draws)
            index = int(ids[0])
            if index == codec.end:
                return
            if piece := self._said(say(index), index, words, None if weights is None else weights[0]):
                yield piece

    def _prefix(self, text: str, prefix: str) -> list[int]:
        return self.codec(text).encode(prefix, "prefix").tolist()

    def _prediction(
        self, text: str, found: list[Hypothesis] | None, replace_unknown: bool, alignment: bool
    ) -> dict[str, Any]:
        if found is None:
            shown = {"alignment": {"source": [], "target": [], "weights": []}} if alignment else {}
            return {"source": text, "text": "", "score": 0.0, "alternatives": [], **shown}
        words = self._words(text) if replace_unknown else None
        codec = self.codec(text)
        said = [{"text": self._text(one, codec, words), "score": one.score} for one in found]
        prediction: dict[str, Any] = {"source": text, **said[0], "alternatives": said}
        if alignment:
            prediction["alignment"] = self._alignment(text, found[0])
        return prediction

    def _text(self, found: Hypothesis, codec: SequenceCodec, words: list[str] | None) -> str:
        if words is None or codec.unknown not in found.ids:
            return codec.decode(found.ids)
        say = codec.decoder()
        looks = [None] * len(found.ids) if found.attention is None else list(found.attention)
        return "".join(
            self._said(say(index), index, words, look) for index, look in zip(found.ids, looks, strict=True)
        )

    def _said(self, piece: str, index: int, words: list[str] | None, weights: Tensor | None) -> str:
        """What a symbol adds; in place of an unknown one the word that has the most of the `weights` (S,)."""
        if words is None or index != self.task.target.unknown:
            return piece
        if weights is None:
            raise ConfigError(
                "replace_unknown: this model does not attend, so that nothing tells what it means"
            )
        return piece.removesuffix(UNKNOWN) + words[int(weights[: len(words)].argmax())]

    def _words(self, text: str) -> list[str]:
        words = self.symbols(text)
        if words is None:
            raise ConfigError(f"replace_unknown: the sources of {self.task.name} are no words")
        return words

    def _alignment(self, text: str, found: Hypothesis) -> dict[str, Any]:
        """The symbols of both sides, the end counted, and the weights between them."""
        if found.attention is None:
            raise ConfigError("alignment: this model does not attend, so that there is none")
        names, size, codec = self.symbols(text), found.attention.shape[1], self.codec(text)
        return {
            "source": None if names is None else names + [END] * (size - len(names)),
            "target": [codec.show(index) for index in found.ids],
            "weights": found.attention.tolist(),
        }
