"""Captioning: sentences about images, features of images, or clips of frames.

    elman train captioning PICTURES CAPTIONS -o RUN         elman evaluate RUN PICTURES CAPTIONS [LIST]
    elman predict RUN IMAGE ...

PICTURES is a folder of images or of clips, or a file of features (elman.data.pictures); CAPTIONS is a table
(elman.data.captions); LIST names the pictures to look at. nats per symbol of the captions, ends counted,
decides which checkpoint is the best; CIDEr-D and BLEU are of what the model writes, beside all captions of a
picture (elman.metrics.captions).
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import nn

from elman.cells import Cell
from elman.data.captions import check_names, read_names
from elman.data.pictures import FeatureFile
from elman.data.sequence_codec import SequenceCodec
from elman.data.subwords import SEQUENCE_CODECS, sequence_codec_from_json
from elman.data.text import Document, read_bytes
from elman.errors import ConfigError, DataError
from elman.metrics.captions import caption_scores, cider_d
from elman.metrics.language import Rate
from elman.metrics.translation import sacrebleu
from elman.models.captioner import Captioner, View
from elman.streaming import Precision
from elman.tasks import sequence_memory
from elman.tasks.base import Task, check_unchanged, stopping
from elman.tasks.captioning_data import (
    CaptionExamples,
    Collator,
    Item,
    Read,
    Sentence,
    about,
    divide,
    read_pictures,
)
from elman.tasks.captioning_predictor import CaptionPredictor
from elman.tasks.captioning_settings import CaptionDataSettings, CaptioningConfig, absolute, build_captioner
from elman.tasks.sequence_data import sequence_loss, teaching
from elman.tasks.sequence_search import GREEDY, Search, find, searched

EVALUATE = 32
"""Pictures that are measured side by side."""


@final
class CaptioningTask(Task):
    """Reading, model, loss, metrics and prediction of captions."""

    name = "captioning"
    Config = CaptioningConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    reading: ClassVar[tuple[str, ...]] = ("data.skip", "data.missing", "data.uncaptioned", "data.unreadable")

    def __init__(
        self,
        config: CaptioningConfig,
        codec: SequenceCodec,
        features: int | None,
        files: list[dict[str, Any]],
    ) -> None:
        self.config, self.codec, self.features, self.files = config, codec, features, files
        self._loaded: tuple[Read, list[Item], list[Item], list[Sentence]] | None = None

    @classmethod
    def begin(cls, config: CaptioningConfig, files: Sequence[str]) -> "CaptioningTask":
        data = config.data
        read = read_pictures(data, files)
        lists = _read_lists(data, read)
        training, _, texts = divide(data, read.paired, *_names(config, [names for names, _ in lists]))
        told = [caption.text for one in training for caption in one.captions]
        told += [caption.text for caption in texts]
        if not training:
            raise DataError(
                f"{files[0]}: no picture is left for training; look at the lists and the fraction"
            )
        codec = SEQUENCE_CODECS[data.unit].train(told, data.vocabulary, data.lowercase)
        features = read.pictures.features if isinstance(read.pictures, FeatureFile) else None
        remembered = read.files + [document.to_json() for _, document in lists]
        if config.model.encoder_weights is not None:
            path = str(Path(config.model.encoder_weights).absolute())
            remembered.append(_whole_file(path))
        task = cls(config, codec, features, remembered)
        task._loaded = task._divide(read, [names for names, _ in lists])
        return task

    @classmethod
    def restore(
        cls, config: CaptioningConfig, codec: Any, files: list[dict[str, Any]], name: str
    ) -> "CaptioningTask":
        if not isinstance(codec, dict) or set(codec) != {"captions", "features"}:
            raise DataError(f"{name}: expected a codec of 'captions', and 'features'")
        features = codec["features"]
        if not (features is None or (isinstance(features, int) and features > 0)):
            raise DataError(f"{name}: expected a number or null under 'features', got {features!r}")
        return cls(config, sequence_codec_from_json(codec["captions"], f"{name}: captions"), features, files)

    def codec_json(self) -> Any:
        return {"captions": self.codec.to_json(), "features": self.features}

    def build(self, cell: type[Cell] | None = None) -> Captioner:
        if cell is not None:
            raise ConfigError(f"{self.name}: its cells go by name, a class of your own cannot be given")
        return build_captioner(self.config, self.codec, self.features)

    def memory(self, model: nn.Module) -> int:
        assert isinstance(model, Captioner)
        settings, train, data = self.config.model, self.config.train, self.config.data
        _, items, valid, _ = self.loaded()
        regions = 1 if settings.attention is None else 256
        if model.encoder is not None:
            height, width = model.encoder.grid(data.height, data.width)
            regions = min(regions, height * width)
        pixels = data.height * data.width * (32 if data.of_clips else 1) if data.of_images else 0
        longest = max(len(sentence.ids) for item in items for sentence in item.sentences) + 1
        largest = sequence_memory.captioner(
            settings, pixels=train.batch * pixels, regions=regions, longest=longest,
            sentences=train.batch * train.captions + train.texts, vocabulary=len(self.codec),
        )  # fmt: skip
        if valid:
            told = max(len(item.sentences) for item in valid) * min(EVALUATE, len(valid))
            measured = sequence_memory.captions_measured(
                settings, pixels=min(EVALUATE, len(valid)) * pixels, sentences=told, longest=longest,
                vocabulary=len(self.codec),
            )  # fmt: skip
            largest = max(largest, measured)
        return sequence_memory.in_bytes(sum(p.numel() for p in model.parameters()), largest)

    def loaded(self) -> tuple[Read, list[Item], list[Item], list[Sentence]]:
        """What was read, training and validation pictures, and captions without a picture.

        Raises DataError where a file has changed since the run began.
        """
        if self._loaded is None:
            paths = [file["path"] for file in self.files]
            read = read_pictures(self.config.data, paths[:2])
            count = len(self.config.data.valid_lists) + len(self.config.data.held_lists)
            lists = [read_names(path) for path in paths[2 : 2 + count]]  # checked when the run began
            now = read.files + [document.to_json() for _, document in lists]
            now += [_whole_file(path) for path in paths[2 + count :]]
            check_unchanged(self.files, now)
            self._loaded = self._divide(read, [names for names, _ in lists])
        return self._loaded

    def examples(self) -> CaptionExamples:
        read, training, valid, texts = self.loaded()
        told = sum(len(item.sentences) for item in training)
        described = (
            f"{len(training):,} pictures with {told:,} captions for training, {len(valid):,} for validation"
            + (f", {len(texts):,} captions without a picture" if texts else "")
            + (f" ({read.left_out})" if read.left_out else "")
            + f", {len(self.codec):,} {self.codec.unit}"
        )
        weights = None if self.config.model.encoder_weights is None else self.files[-1]["path"]
        ends = self.codec.begin, self.codec.end
        return CaptionExamples(self.config, read, training, texts, ends, described, weights)

    def validate(self, model: nn.Module, stop: Callable[[], bool]) -> dict[str, float]:
        assert isinstance(model, Captioner)
        read, _, valid, _ = self.loaded()
        check = stopping(stop)
        if not valid:
            return {}
        rate = self.rate(model, read, valid, check)
        figures: dict[str, float] = {"nats": rate.nats, "perplexity": rate.perplexity}
        if part := valid[: self.config.written]:
            written, references = self.write(model, read, part, GREEDY, check)
            scores = cider_d(references, written)
            figures["cider_d"] = sum(scores) / len(scores)
        return figures

    def evaluate(
        self,
        model: nn.Module,
        files: Sequence[str],
        progress: Callable[[float], None],
        weights: Precision = "float32",
    ) -> dict[str, Any]:
        assert isinstance(model, Captioner)
        search = Search.of(self.config.search, searched(self.name, weights))
        sacrebleu()  # missed now, not after the search
        read, items = self.read(files)
        rate = self.rate(model, read, items, lambda part: progress(part * 0.2))
        written, references = self.write(model, read, items, search, lambda part: progress(0.2 + part * 0.8))
        scores = caption_scores(references, written)
        bleu = {f"bleu_{n}": value for n, value in enumerate(scores.bleu, 1)}
        left = {"left_out": read.left_out} if files and read.left_out else {}
        return {
            "nats": rate.nats, "perplexity": rate.perplexity, **bleu, "bleu_signature": scores.signature,
            "cider": scores.cider, "cider_d": scores.cider_d, "captioned": len(written), **left,
        }  # fmt: skip

    def read(self, files: Sequence[str]) -> tuple[Read, list[Item]]:
        """The pictures of `files`: PICTURES CAPTIONS [LIST], or those of validation where there are none."""
        if not files:
            read, _, valid, _ = self.loaded()
            if not valid:
                raise DataError("evaluate: the run has no validation pictures; name PICTURES and CAPTIONS")
            return read, valid
        read = read_pictures(self.config.data, files[:2], *files[2:3])
        if len(files) > 3:
            raise ConfigError(f"evaluate: expected PICTURES CAPTIONS [LIST], got {len(files)} files")
        items = read.items(read.paired.images, self.codec, self.config.data)
        if not items:
            raise DataError(f"{files[1]}: no caption is left to measure ({read.left_out}); name other files")
        return read, items

    def rate(
        self, model: Captioner, read: Read, items: Sequence[Item], progress: Callable[[float], None]
    ) -> Rate:
        """-ln p of all captions with their ends."""
        rate, collate = Rate(0.0, 0), Collator(self.config.data)
        for first in range(0, len(items), EVALUATE):
            progress(first / len(items))
            part = items[first : first + EVALUATE]
            pictures = [read.pictures.read(item.name) for item in part]
            places = about(pictures, [item.sentences for item in part], self.config.data.each_frame)
            told = [sentence.ids for item in part for sentence in item.sentences]
            taught = teaching(told, self.codec.begin, self.codec.end)
            with torch.no_grad():
                logits = model(
                    View(collate(pictures), torch.tensor(places)), taught.inputs, taught.lengths
                ).logits
            rate += sequence_loss(logits, taught.targets, 0.0)[1]
        return rate

    def write(
        self,
        model: Captioner,
        read: Read,
        items: Sequence[Item],
        search: Search,
        progress: Callable[[float], None],
    ) -> tuple[list[str], list[list[str]]]:
        """What the model writes about each picture, or each frame that has captions; and those captions."""
        written: list[str] = []
        references: list[list[str]] = []
        collate = Collator(self.config.data)
        for first in range(0, len(items), EVALUATE):
            progress(first / len(items))
            part = items[first : first + EVALUATE]
            pictures = [read.pictures.read(item.name) for item in part]
            one = [_one_each(item.sentences) for item in part]
            places = torch.tensor(about(pictures, one, self.config.data.each_frame))
            limits = torch.full((len(places),), self.config.data.longest + 1)
            found = find(model, View(collate(pictures), places), self.codec, limits, search)
            written += [self.codec.decode(hypotheses[0].ids) for hypotheses in found]
            references += [
                [told.text for told in item.sentences if told.frame == sentence.frame]
                for item, sentences in zip(part, one, strict=True)
                for sentence in sentences
            ]
        return written, references

    def predictor(self, model: nn.Module, weights: Precision = "float32") -> CaptionPredictor:
        assert isinstance(model, Captioner)
        search = Search.of(self.config.search, searched(self.name, weights))
        return CaptionPredictor(model, self.codec, self.config.data, search)

    def _divide(
        self, read: Read, lists: Sequence[Sequence[str]]
    ) -> tuple[Read, list[Item], list[Item], list[Sentence]]:
        data = self.config.data
        training, valid, texts = divide(data, read.paired, *_names(self.config, lists))
        return (
            read,
            read.items(training, self.codec, data),
            read.items(valid, self.codec, data),
            read.sentences(texts, self.codec, data),
        )


def _read_lists(data: CaptionDataSettings, read: Read) -> list[tuple[list[str], Document]]:
    """The lists that settings name; DataError for one that names what is not there."""
    lists = []
    for path in absolute(data.valid_lists + data.held_lists):
        names, document = read_names(path)
        check_names(path, names, read.named, data.missing == "error")
        lists.append((names, document))
    return lists


def _whole_file(path: str) -> dict[str, Any]:
    """What a run remembers of a file that it does not read as text."""
    content = read_bytes(path)
    return {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _names(config: CaptioningConfig, lists: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """The names for validation and those held back, from the files in their order."""
    count = len(config.data.valid_lists)
    valid = [name for names in lists[:count] for name in names]
    return valid, [name for names in lists[count:] for name in names]


def _one_each(sentences: Sequence[Sentence]) -> list[Sentence]:
    """The first sentence of each frame."""
    return list({sentence.frame: sentence for sentence in reversed(sentences)}.values())[::-1]
