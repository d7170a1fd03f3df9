"""What the tasks that write a sequence have in common: model, batches, loss, validation and evaluation.

A subclass says where sources and targets come from (translation: pairs of texts; dialogue; captions), and how
sources make a batch; everything else is here. Figures: nats per target symbol, ends counted and without label
smoothing, is what decides; BLEU and chrF are of what the model writes (elman.metrics.translation).
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from elman.cells import Cell
from elman.data.sequence_codec import SequenceCodec
from elman.errors import ConfigError, DataError
from elman.metrics.language import Rate
from elman.metrics.translation import bleu, bleu_interval, chrf, sacrebleu
from elman.models.encoder_decoder import EncoderDecoder
from elman.streaming import Precision
from elman.tasks import sequence_memory
from elman.tasks.base import Task, stopping
from elman.tasks.sequence_data import SequenceData, SequenceExamples, sequence_loss, teaching
from elman.tasks.sequence_search import GREEDY, Search, find, searched
from elman.tasks.sequence_settings import MODELS

EVALUATE_TOKENS = 8192
"""Symbols, padded, that are measured side by side; a search has as many for all its rows."""


class SequenceTask(Task):
    """Something in, a sequence of symbols out."""

    _data: tuple[SequenceData, SequenceData] | None = None

    @property
    @abstractmethod
    def target(self) -> SequenceCodec:
        """The codec of what is written."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """What the model must know of the data: source or features, and target."""

    @abstractmethod
    def load(self) -> tuple[SequenceData, SequenceData]:
        """Training and validation data; DataError where a file has changed since the run began."""

    @abstractmethod
    def read(self, files: Sequence[str]) -> SequenceData:
        """The examples in files that the run did not begin with."""

    @abstractmethod
    def collate(self, sources: Sequence[Any]) -> Any:
        """Sources of a batch as the model encodes them."""

    @abstractmethod
    def limit(self, length: int) -> int:
        """The most symbols that are written for a source of that length."""

    @abstractmethod
    def described(self) -> str:
        """The training data in a few words and figures."""

    def data(self) -> tuple[SequenceData, SequenceData]:
        """Training and validation data, read once."""
        if self._data is None:
            self._data = self.load()
        return self._data

    def build(self, cell: type[Cell] | None = None) -> EncoderDecoder:
        if cell is not None:
            raise ConfigError(f"{self.name}: its cells go by name, a class of your own cannot be given")
        config = self.config
        return MODELS[config.model.kind](config.model, config.train, self.sizes(), self.target)

    def memory(self, model: nn.Module) -> int:
        settings, train, vocabulary = self.config.model, self.config.train, len(self.target)
        buckets, valid = self.examples().buckets, self.data()[1]
        if settings.kind == "recurrent":
            many, count = sequence_memory.recurrent, buckets.symbols
        else:
            many, count = sequence_memory.transformer, buckets.largest
        largest = many(settings, train, count, buckets.targets, buckets.pairs, vocabulary)
        for rows in valid.batches(EVALUATE_TOKENS):
            targets = int(valid.target_lengths[rows].sum())
            tokens = int((valid.source_lengths + valid.target_lengths)[rows].max()) * len(rows)
            largest = max(largest, sequence_memory.measured(settings, tokens, targets, vocabulary))
        return sequence_memory.in_bytes(sum(p.numel() for p in model.parameters()), largest)

    def examples(self) -> SequenceExamples:
        ends = self.target.begin, self.target.end
        return SequenceExamples(self.data()[0], self.collate, self.config.train, ends, self.described())

    def validate(self, model: nn.Module, stop: Callable[[], bool]) -> dict[str, float]:
        assert isinstance(model, EncoderDecoder)
        data = self.data()[1]
        check = stopping(stop)
        if not len(data):
            return {}
        figures = self._rate_figures(self.rate(model, data, check))
        part = data.part(slice(self.config.bleu_sentences))
        if len(part):
            written = self.write(model, part, GREEDY, check)
            figures["bleu"] = bleu(part.texts, written, self.target.lowercase).value
        return figures

    def evaluate(
        self,
        model: nn.Module,
        files: Sequence[str],
        progress: Callable[[float], None],
        weights: Precision = "float32",
    ) -> dict[str, Any]:
        assert isinstance(model, EncoderDecoder)
        search = Search.of(self.config.search, searched(self.name, weights))
        self.require()
        data = self.read(files) if files else self.data()[1]
        if not len(data):
            raise DataError("evaluate: the run has no validation data; name FILEs to evaluate on")
        left = {"left_out": data.left_out} if data.left_out else {}
        rate = self.rate(model, data, lambda part: progress(part * 0.2))
        written = self.write(model, data, search, lambda part: progress(0.2 + part * 0.8))
        return {
            **self._rate_figures(rate),
            **self.measure(data.texts, written),
            "sentences": len(data),
            **left,
        }

    def require(self) -> None:
        """Raises ConfigError where a library that `measure` needs is missing."""
        sacrebleu()

    def measure(self, references: Sequence[str], hypotheses: Sequence[str]) -> dict[str, Any]:
        """BLEU, with the ends of its interval of 95 %, and chrF, with their signatures."""
        found: dict[str, Any] = {}
        for name, metric in (("bleu", bleu), ("chrf", chrf)):
            score = metric(references, hypotheses, self.target.lowercase)
            found |= {name: score.value, f"{name}_signature": score.signature}
        low, high = bleu_interval(references, hypotheses, self.target.lowercase)
        return {**found, "bleu_low": low, "bleu_high": high}

    def rate(self, model: EncoderDecoder, data: SequenceData, progress: Callable[[float], None]) -> Rate:
        """-ln p of the targets with their ends."""
        rate, done = Rate(0.0, 0), 0
        for rows in data.batches(EVALUATE_TOKENS):
            progress(done / len(data))
            taught = teaching([data.targets[row] for row in rows], self.target.begin, self.target.end)
            source = self.collate([data.sources[row] for row in rows])
            with torch.no_grad():
                logits = model(source, taught.inputs, taught.lengths).logits
            rate += sequence_loss(logits, taught.targets, 0.0)[1]
            done += len(rows)
        return rate

    def write(
        self,
        model: EncoderDecoder,
        data: SequenceData,
        search: Search,
        progress: Callable[[float], None],
    ) -> list[str]:
        """What the model writes for each source."""
        texts, done = [""] * len(data), 0
        for rows in data.batches(EVALUATE_TOKENS // search.rows):
            progress(done / len(data))
            limits = torch.tensor([self.limit(int(data.source_lengths[row])) for row in rows])
            source = self.collate([data.sources[row] for row in rows])
            found = find(model, source, self.target, limits, search)
            for row, hypotheses in zip(rows, found, strict=True):
                texts[row] = self.target.extended(data.words_of(row)).decode(hypotheses[0].ids)
            done += len(rows)
        return texts

    @staticmethod
    def _rate_figures(rate: Rate) -> dict[str, Any]:
        return {"nats": rate.nats, "perplexity": rate.perplexity, "symbols": rate.symbols}
