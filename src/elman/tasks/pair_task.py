"""Tasks from text to text: pairs of texts read from files, and a codec of each side."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, final

import torch
from torch import Tensor, nn

from elman.data.pairs import Pair, Pairs, read_pairs
from elman.data.sequence_codec import SequenceCodec
from elman.data.subwords import SEQUENCE_CODECS, sequence_codec_from_json
from elman.errors import DataError
from elman.metrics.translation import sacrebleu
from elman.models.encoder_decoder import EncoderDecoder
from elman.padded import Padded
from elman.streaming import Precision
from elman.tasks.base import check_unchanged
from elman.tasks.sequence_data import SequenceData
from elman.tasks.sequence_predictor import SequencePredictor
from elman.tasks.sequence_task import SequenceTask


class Codecs(NamedTuple):
    """Of the two sides; one and the same where they share a vocabulary."""

    source: SequenceCodec
    target: SequenceCodec

    def to_json(self) -> Any:
        if self.source is self.target:
            return {"shared": self.source.to_json()}
        return {"source": self.source.to_json(), "target": self.target.to_json()}


class PairTask(SequenceTask):
    """A text in, a text out."""

    reading: ClassVar[tuple[str, ...]] = ("data.skip",)

    def __init__(self, config: Any, codecs: Codecs, files: list[dict[str, Any]]) -> None:
        self.config = config
        self.codecs = codecs
        self.files = files
        self._described = ""

    @classmethod
    def begin(cls, config: Any, files: Sequence[str]) -> Self:
        data = config.data
        if config.bleu_sentences:
            sacrebleu()  # missed now, not at the first validation
        pairs = cls.read_pairs(config, files)
        valid = None
        if data.valid_files:
            valid = cls.read_pairs(config, [str(Path(path).absolute()) for path in data.valid_files], files)
        training, held = _split(pairs, valid, data.valid_fraction)
        task = cls(config, _codecs(data, training), pairs.files + (valid.files if valid else []))
        task._data = task._encode_all(training, held)
        return task

    @classmethod
    def restore(cls, config: Any, codec: Any, files: list[dict[str, Any]], name: str) -> Self:
        return cls(config, _codecs_from_json(codec, name), files)

    @classmethod
    def read_pairs(cls, config: Any, files: Sequence[str], training: Sequence[str] = ()) -> Pairs:
        """The pairs in files, as the settings say; training: the files of the run, where these are others."""
        return read_pairs(files, config.data.skip)

    @property
    def target(self) -> SequenceCodec:
        return self.codecs.target

    def codec_json(self) -> Any:
        return self.codecs.to_json()

    def sizes(self) -> dict[str, int]:
        return {"source": len(self.codecs.source), "target": len(self.codecs.target)}

    def load(self) -> tuple[SequenceData, SequenceData]:
        count = len(self.files) - len(self.config.data.valid_files)
        pairs = self._reread(self.files[:count])
        valid = self._reread(self.files[count:], self._trained_on()) if self.files[count:] else None
        return self._encode_all(*_split(pairs, valid, self.config.data.valid_fraction))

    def read(self, files: Sequence[str]) -> SequenceData:
        pairs = self.read_pairs(self.config, files, self._trained_on())
        data = self._encode(pairs)
        out = _counted(pairs.skipped)
        if not len(data):
            raise DataError(
                f"{', '.join(files)}: no pair is left to measure (left out: {out}); name other files"
            )
        return replace(data, left_out=out)

    def collate(self, sources: Sequence[Tensor]) -> Padded:
        return Padded.of(sources)

    def limit(self, length: int) -> int:
        return min(2 * length + 10, self.config.data.longest + 1)

    def described(self) -> str:
        self.data()
        return self._described

    def predictor(self, model: nn.Module, weights: Precision = "float32") -> SequencePredictor:
        assert isinstance(model, EncoderDecoder)
        return TextPredictor(self, model, weights)

    def source_ids(self, text: str, name: str) -> Tensor:
        """A source with its end, as the model reads it; DataError where it is too long."""
        ids = self.codecs.source.extended(self.copied(text)).encode(text, name)
        if len(ids) > self.config.data.longest:
            raise DataError(self._too_long(name, len(ids)))
        return torch.cat([ids, torch.tensor([self.codecs.source.end])])

    def copied(self, source: str) -> tuple[str, ...]:
        """The unknown words of a source, which have the ids from V on where words are copied, else none."""
        return self.codecs.source.unknown_words(source) if self.config.model.copying else ()

    def _encode_all(self, training: Pairs, valid: Pairs) -> tuple[SequenceData, SequenceData]:
        data = self._encode(training), self._encode(valid)
        if not len(data[0]):
            raise DataError(f"{self.files[0]['path']}: no pair is left for training")
        units = " + ".join(f"{len(codec):,}" for codec in dict.fromkeys(self.codecs))
        left = training.skipped + valid.skipped
        out = _counted(left)
        self._described = (
            f"{len(data[0]):,} pairs for training, {len(data[1]):,} for validation"
            + (f" (left out: {out})" if out else "")
            + f", {units} {self.target.unit}"
        )
        return data

    def _encode(self, pairs: Pairs) -> SequenceData:
        """Ids of both sides; pairs with a side that is too long are refused, or skipped and counted."""
        rows = pairs.pairs
        sources = self.codecs.source.encode_all([p.source for p in rows], lambda i: rows[i].source_place)
        targets = self.codecs.target.encode_all([p.target for p in rows], lambda i: rows[i].target_place)
        kept: list[tuple[Tensor, Tensor, Pair, tuple[str, ...]]] = []
        longest = self.config.data.longest
        for pair, source, target in zip(rows, sources, targets, strict=True):
            if len(source) <= longest and len(target) <= longest:
                words = self.copied(pair.source)
                if words:
                    codec = self.target.extended(words)
                    source, target = codec.encode(pair.source), codec.encode(pair.target)
                kept.append((source, target, pair, words))
            elif self.config.data.skip:
                pairs.skipped["too long"] += 1
            elif len(source) > longest:
                raise DataError(self._too_long(pair.source_place, len(source), "source "))
            else:
                raise DataError(self._too_long(pair.target_place, len(target), "target "))
        end = torch.tensor([self.codecs.source.end])
        return SequenceData(
            [torch.cat([source, end]) for source, *_ in kept],
            torch.tensor([len(source) + 1 for source, *_ in kept], dtype=torch.int64),
            [target for _, target, *_ in kept],
            [pair.target for _, _, pair, _ in kept],
            [pair.source_place for _, _, pair, _ in kept],
            [words for *_, words in kept],
        )

    def _too_long(self, place: str, length: int, side: str = "") -> str:
        unit = self.codecs.source.unit
        # An input of a trained model has no other choice than to be shorter.
        advice = "cut it, or set data.longest or data.skip=true" if side else "cut it"
        return (
            f"{place}: the {side or 'text '}has {length:,} {unit}, at most {self.config.data.longest:,} are "
            f"read (data.longest); {advice}"
        )

    def _trained_on(self) -> list[str]:
        count = len(self.files) - len(self.config.data.valid_files)
        return [file["path"] for file in self.files[:count]]

    def _reread(self, files: list[dict[str, Any]], training: Sequence[str] = ()) -> Pairs:
        pairs = self.read_pairs(self.config, [file["path"] for file in files], training)
        check_unchanged(files, pairs.files)
        return pairs


@final
class TextPredictor(SequencePredictor):
    """A model from text to text, with its codecs."""

    def __init__(self, task: PairTask, model: EncoderDecoder, weights: Precision = "float32") -> None:
        super().__init__(task, model, weights)
        self.codecs, self._source_ids, self._copied = task.codecs, task.source_ids, task.copied

    def read(self, text: str, name: str) -> Tensor | None:
        source = self._source_ids(text, name)
        return source if len(source) > 1 else None

    def length(self, source: Tensor) -> int:
        return len(source)

    def symbols(self, text: str) -> list[str] | None:
        return self.codecs.source.split(text)

    def codec(self, text: str) -> SequenceCodec:
        return self.codecs.target.extended(self._copied(text))


def _split(pairs: Pairs, valid: Pairs | None, fraction: float) -> tuple[Pairs, Pairs]:
    """Training and validation; without files for it the last `fraction` of the pairs."""
    if valid is not None:
        return pairs, valid
    cut = len(pairs) - round(len(pairs) * fraction)
    return Pairs(pairs.pairs[:cut], pairs.files, pairs.skipped), Pairs(pairs.pairs[cut:], [])


def _counted(left: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(left.items()))


def _codecs(data: Any, pairs: Pairs) -> Codecs:
    """Codecs trained on the training pairs."""
    kind = SEQUENCE_CODECS[data.unit]
    sources = [pair.source for pair in pairs.pairs]
    targets = [pair.target for pair in pairs.pairs]
    if data.shared:
        one = kind.train(sources + targets, data.vocabulary, data.lowercase)
        return Codecs(one, one)
    return Codecs(*(kind.train(texts, data.vocabulary, data.lowercase) for texts in (sources, targets)))


def _codecs_from_json(content: Any, name: str) -> Codecs:
    """What `Codecs.to_json` gave; raises DataError naming the file where it is something else."""
    if isinstance(content, dict) and set(content) == {"shared"}:
        one = sequence_codec_from_json(content["shared"], f"{name}: shared")
        return Codecs(one, one)
    if isinstance(content, dict) and set(content) == {"source", "target"}:
        return Codecs(
            sequence_codec_from_json(content["source"], f"{name}: source"),
            sequence_codec_from_json(content["target"], f"{name}: target"),
        )
    raise DataError(f"{name}: expected a codec for 'source' and 'target', or one that is 'shared'")
