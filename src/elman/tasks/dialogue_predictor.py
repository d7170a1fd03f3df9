"""A trained dialogue model in use: answers found by search or drawn, and chosen by mutual information.

Shapes: T target time, L symbols of a target with its end.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from elman.data.dialogues import join_turns
from elman.data.sequence_codec import SequenceCodec
from elman.errors import ConfigError
from elman.models.encoder_decoder import EncoderDecoder
from elman.padded import length_mask
from elman.search.reranking import MutualInformation, rerank
from elman.streaming import Precision
from elman.tasks.sequence_data import teaching
from elman.tasks.sequence_predictor import SequencePredictor

if TYPE_CHECKING:
    from elman.tasks.dialogue import DialogueTask

CANDIDATES = 20
"""Answers that mutual information chooses from, where nothing else is asked."""

ROWS = 64
"""Pairs whose log probabilities are computed at a time."""

BETWEEN = "\t"
"""Stands between the turns of an input."""


@final
class DialoguePredictor(SequencePredictor):
    """A dialogue model with its codec; an input is what was said, with tabs between turns.

    `reranker`, where it is set, chooses among more answers than are asked for; scores are then its own.
    """

    def __init__(self, task: "DialogueTask", model: EncoderDecoder, weights: Precision = "float32") -> None:
        super().__init__(task, model, weights)
        self.dialogue = task
        self.reranker: Reranker | None = None

    def read(self, text: str, name: str) -> Tensor:
        return self.dialogue.history_ids(text.split(BETWEEN), name)

    def length(self, source: Tensor) -> int:
        return len(source)

    def symbols(self, text: str) -> list[str]:
        return self.dialogue.codecs.source.split(self._history(text))

    def codec(self, text: str) -> SequenceCodec:
        return self.dialogue.target.extended(self.copied(text))

    def copied(self, text: str) -> tuple[str, ...]:
        """The words of an input that have ids of their own."""
        return self.dialogue.copied(self._history(text))

    def _history(self, text: str) -> str:
        return self.dialogue.fitting_history(text.split(BETWEEN), "input")

    def predict(self, inputs: Sequence[str], best: int = 1, **options: Any) -> list[dict[str, Any]]:
        """As of every model that writes; with a reranker {source, text, score, alternatives} alone.

        Raises ConfigError where an alignment is asked of answers that were chosen otherwise.
        """
        if self.reranker is None:
            return super().predict(inputs, best, **options)
        if options.get("alignment"):
            raise ConfigError("alignment: not of answers that mutual information chooses; leave one out")
        found = super().predict(inputs, max(best, self.reranker.candidates), **options)
        texts = [list(dict.fromkeys(one["text"] for one in row["alternatives"])) for row in found]
        ranked = self.reranker.rank(self, inputs, texts)
        return [
            {"source": text, **answers[0], "alternatives": answers[:best]}
            for text, answers in zip(inputs, ranked, strict=True)
        ]

    def log_probs(
        self,
        sources: Sequence[Tensor],
        targets: Sequence[str],
        copied: Sequence[tuple[str, ...]] | None = None,
    ) -> list[Tensor]:
        """ln p of the symbols of each target and of its end, given its source: (L,) float64 each.

        copied: of each source the words that have ids of their own in it, and so in its target.
        """
        codec = self.dialogue.target
        ids = (
            codec.encode_all(targets)
            if copied is None
            else [codec.extended(own).encode(text) for text, own in zip(targets, copied, strict=True)]
        )
        # Of like length, or most of a batch is padding.
        order = sorted(range(len(ids)), key=lambda row: (len(ids[row]), len(sources[row])))
        found: list[Tensor] = [torch.empty(0)] * len(ids)
        for start in range(0, len(order), ROWS):
            rows = order[start : start + ROWS]
            taught = teaching([ids[row] for row in rows], codec.begin, codec.end)
            batch = self.dialogue.collate([sources[row] for row in rows])
            with torch.no_grad():
                logits = self.model(batch, taught.inputs, taught.lengths).logits
            values = logits.double().log_softmax(1).gather(1, taught.targets[:, None])[:, 0]
            table = values.new_zeros(taught.inputs.shape)
            table[length_mask(taught.lengths, len(table))] = values
            for column, row in enumerate(rows):
                found[row] = table[: int(taught.lengths[column]), column]
        return found


@final
class Reranker:
    """Chooses among answers by mutual information, with the models that its weights ask for.

    reverse: trained with data.reverse=true; language: trained with data.history=0. They read texts by their
    own codecs. Raises ConfigError where a weight has no model, or a model was trained in another way.
    """

    def __init__(
        self,
        weights: MutualInformation,
        reverse: DialoguePredictor | None = None,
        language: DialoguePredictor | None = None,
        candidates: int = CANDIDATES,
    ) -> None:
        if candidates < 1:
            raise ConfigError(f"candidates: expected at least 1, got {candidates}")
        self.weights, self.candidates = weights, candidates
        self.reverse = _fitting(reverse, weights.reverse, "reverse", "data.reverse=true")
        self.language = _fitting(language, weights.language, "language", "data.history=0")

    def rank(
        self, model: DialoguePredictor, inputs: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> list[list[dict[str, Any]]]:
        """For each input its answers {text, score, log_prob}, best first; log_prob is by `model` alone."""
        texts = [text for row in answers for text in row]
        of = [text for text, row in zip(inputs, answers, strict=True) for _ in row]
        sources = [model.read(text, "input") for text in of]
        forward = model.log_probs(sources, texts, [model.copied(text) for text in of])
        back, likely = self._back(of, texts), self._likely(texts)
        ranked, start = [], 0
        for row in answers:
            places = range(start, start + len(row))
            found = [{"text": texts[place], "log_prob": float(forward[place].sum())} for place in places]
            scores = [
                self.weights.score(one["log_prob"], len(forward[place]), back[place], likely[place])
                for one, place in zip(found, places, strict=True)
            ]
            ranked.append([{**one.answer, "score": one.score} for one in rerank(found, scores)])
            start += len(row)
        return ranked

    def _back(self, inputs: Sequence[str], answers: Sequence[str]) -> list[float]:
        """ln p(last turn | answer) of each."""
        if self.reverse is None:
            return [0.0] * len(answers)
        task = self.reverse.dialogue
        codec, longest = task.codecs.source, task.config.data.longest
        copied = [task.copied(answer) for answer in answers]
        # An answer that does not end may be longer than what the other model reads.
        cut = [
            codec.extended(own).encode(answer)[:longest] for answer, own in zip(answers, copied, strict=True)
        ]
        sources = [torch.cat([ids, torch.tensor([codec.end])]) for ids in cut]
        turns = [text.split(BETWEEN)[-1] for text in inputs]
        return [float(part.sum()) for part in self.reverse.log_probs(sources, turns, copied)]

    def _likely(self, answers: Sequence[str]) -> list[list[float]]:
        """ln p of the symbols of each answer, whatever was said."""
        if self.language is None:
            return [[]] * len(answers)
        nothing = self.language.dialogue.source_ids(join_turns([], 0), "nothing")
        return [part.tolist() for part in self.language.log_probs([nothing] * len(answers), answers)]


def _fitting(
    model: DialoguePredictor | None, weight: float, name: str, setting: str
) -> DialoguePredictor | None:
    """The model that a weight needs, or None where there is no weight."""
    if model is None and weight:
        raise ConfigError(f"{name}: its weight is {weight} and no model is given; give a run of {setting}")
    if model is None:
        return None
    data = model.dialogue.config.data
    if not (data.reverse if name == "reverse" else data.history == 0):
        raise ConfigError(
            f"{name}: the model was trained with data.reverse={str(data.reverse).lower()} and "
            f"data.history={data.history}; give a run of {setting}"
        )
    return model if weight else None
