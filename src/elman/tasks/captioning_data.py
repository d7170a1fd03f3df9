"""Examples of captioning: pictures with their sentences, and what a batch of them is.

A batch is `train.batch` pictures, each with up to `train.captions` of its sentences, and `train.texts`
sentences that have no picture. Each epoch meets every picture once, in an order drawn anew; all draws are
functions of (seed, epoch, picture) or (seed, update), so that a resumed run sees what it would have seen.

Shapes: as in elman.models.captioner.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from elman import counter
from elman.attention.hard import let_draw
from elman.cells import State
from elman.data.augmentation import Augmentation
from elman.data.captions import (
    Caption,
    Described,
    Paired,
    check_names,
    pair,
    read_captions,
    read_names,
)
from elman.data.images import normalise
from elman.data.pictures import ClipFolder, FeatureFile, ImageFolder, Pictures, is_array_file
from elman.data.sequence_codec import SequenceCodec
from elman.errors import ConfigError, DataError
from elman.models.captioner import NOTHING, Captioner, View
from elman.models.image_weights import load_encoder
from elman.padded import Padded
from elman.tasks.base import Examples, Outcome
from elman.tasks.captioning_settings import NORMALISATIONS, CaptionDataSettings, CaptioningConfig
from elman.tasks.sequence_data import Teaching, sequence_loss, teaching


@dataclass(frozen=True)
class Sentence:
    """A caption: of which frame, for those of each frame, else 0; its ids, as text, and where it stands."""

    frame: int
    ids: Tensor
    text: str
    place: str


@dataclass(frozen=True)
class Item:
    """A picture and its sentences."""

    name: str
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True)
class Read:
    """Pictures and their captions as they were read; `files` is what a run remembers of them."""

    pictures: Pictures
    paired: Paired
    unreadable: int
    captions_path: str
    files: list[dict[str, Any]]
    skipped: Counter[str]
    """Rows of the captions that were left out, by reason; `items` adds to it."""
    named: frozenset[str]
    """What a list may name: pictures, what has a caption, and of frames their clips."""

    @property
    def left_out(self) -> str:
        """What is not used, counted."""
        paired = self.paired
        rows = ", ".join(f"{count:,} captions {reason}" for reason, count in sorted(self.skipped.items()))
        counts = {
            "images that captions name are missing": paired.missing,
            "images have no caption": paired.uncaptioned,
            "pictures cannot be read": self.unreadable,
        }
        told = [f"{count:,} {what}" for what, count in counts.items() if count]
        return "; ".join([*told, *([f"left out: {rows}"] if rows else [])])

    def items(
        self, described: Sequence[Described], codec: SequenceCodec, data: CaptionDataSettings
    ) -> list[Item]:
        """The sentences as ids.

        One of more than data.longest symbols is left out and counted with data.skip; else DataError naming
        its row. A picture of which nothing is left is left out too.
        """
        clips: dict[str, list[Sentence]] = {}
        frames: dict[str, int] = {}
        for one in described:
            clip, slash, _ = one.image.rpartition("/")
            if slash and clip not in clips:
                frames |= {name: place for place, name in enumerate(self.pictures.frames(clip))}
            found = self.sentences(one.captions, codec, data, frames.get(one.image, 0))
            if found:
                clips.setdefault(clip if slash else one.image, []).extend(found)
        return [Item(name, tuple(sentences)) for name, sentences in clips.items()]

    def sentences(
        self, captions: Sequence[Caption], codec: SequenceCodec, data: CaptionDataSettings, frame: int = 0
    ) -> list[Sentence]:
        """Captions as ids, as `items` gives them."""
        found = []
        for caption in captions:
            place = f"{self.captions_path}: line {caption.row}"
            ids = codec.encode(caption.text, place)
            if len(ids) <= data.longest:
                found.append(Sentence(frame, ids, caption.text, place))
            elif data.skip:
                self.skipped["too long"] += 1
            else:
                raise DataError(
                    f"{place}: the caption has {len(ids):,} {codec.unit}, at most {data.longest:,} are read "
                    f"(data.longest); cut it, or set data.longest or data.skip=true"
                )
        return found


def read_pictures(data: CaptionDataSettings, files: Sequence[str], only: str | None = None) -> Read:
    """Pictures and captions from the two files of the task; only: a list of the names that are looked at.

    Raises ConfigError for another number of files, DataError for what is missing, damaged or does not match.
    """
    if len(files) != 2:
        raise ConfigError(
            f"captioning: expected two files, PICTURES (a folder, or a file of features) and CAPTIONS, got "
            f"{len(files)}: {', '.join(files)}"
        )
    captions, lines, skipped = read_captions(files[1], data.skip)
    pictures = _open(data, files[0], list(dict.fromkeys(caption.image for caption in captions)))
    names = pictures.names
    known = [frame for name in names for frame in pictures.frames(name)] if data.each_frame else names
    remembered = [pictures.to_json(), lines.to_json()]
    told = {caption.image for caption in captions}
    named = frozenset(names) | told | {_whole(name, data) for name in told}
    uncaptioned = data.uncaptioned
    if only is not None:
        listed, list_document = read_names(only)
        wanted = frozenset(listed)
        captions = [caption for caption in captions if _listed(caption.image, wanted)]
        if not captions:
            raise DataError(f"{only}: none of its {len(listed)} names has a caption in {files[1]}")
        check_names(only, listed, named, data.missing == "error")
        uncaptioned = "skip"
        remembered.append(list_document.to_json())
    paired = pair(captions, known, files[1], files[0], missing=data.missing, uncaptioned=uncaptioned)
    kept, unreadable = _readable(data, pictures, paired)
    return Read(pictures, replace(paired, images=kept), unreadable, files[1], remembered, skipped, named)


def _readable(
    data: CaptionDataSettings, pictures: Pictures, paired: Paired
) -> tuple[tuple[Described, ...], int]:
    """Every picture is read before anything is learnt; one that cannot be is refused, or left out."""
    bad: set[str] = set()
    for name in dict.fromkeys(_whole(one.image, data) for one in paired.images):
        try:
            pictures.read(name)
        except DataError as error:
            if data.unreadable == "error":
                raise DataError(f"{error}; or set data.unreadable=skip") from error
            bad.add(name)
    kept = tuple(one for one in paired.images if _whole(one.image, data) not in bad)
    if not kept:
        raise DataError(f"{pictures.place}: none of its {len(bad)} pictures can be read")
    return kept, len(bad)


def _open(data: CaptionDataSettings, path: str, order: list[str]) -> Pictures:
    """What holds the pictures."""
    if data.of_images:
        if is_array_file(path):
            raise DataError(
                f"{path}: a file of features, expected a folder of {data.kind}; set data.kind=features"
            )
        return (ImageFolder if data.kind == "images" else ClipFolder)(path, data.shape())
    if not is_array_file(path):
        raise DataError(f"{path}: expected a file of features, .npy, .npz or .safetensors; or set data.kind")
    return FeatureFile(path, order)


def divide(
    data: CaptionDataSettings, paired: Paired, valid: Sequence[str], held: Sequence[str]
) -> tuple[list[Described], list[Described], list[Caption]]:
    """Pictures for training and for validation, and captions without a picture for training.

    valid, held: names that lists gave. Without the former the last `valid_fraction` of the pictures is for
    validation.
    """
    tested, kept_out = frozenset(valid), frozenset(held)
    free = [one for one in paired.images if not _listed(one.image, kept_out)]
    texts = [one for one in paired.texts if not _listed(one.image, tested | kept_out)]
    if valid:
        training = [one for one in free if not _listed(one.image, tested)]
        return training, [one for one in free if _listed(one.image, tested)], texts
    names = list(dict.fromkeys(_whole(one.image, data) for one in free))
    cut = len(names) - round(len(names) * data.valid_fraction)
    last = frozenset(names[cut:])
    return (
        [one for one in free if _whole(one.image, data) not in last],
        [one for one in free if _whole(one.image, data) in last],
        texts,
    )


def _whole(name: str, data: CaptionDataSettings) -> str:
    """The clip of a frame."""
    return name.rpartition("/")[0] if data.each_frame else name


def _listed(name: str, names: frozenset[str]) -> bool:
    """Whether a list has the picture, or the clip that the frame is of."""
    return name in names or ("/" in name and name.rpartition("/")[0] in names)


class Collator:
    """Pictures as a network reads them."""

    def __init__(self, data: CaptionDataSettings) -> None:
        mean, deviation = NORMALISATIONS[data.normalisation]
        self._mean, self._deviation = (torch.tensor(values)[:, None, None] for values in (mean, deviation))
        self._data, self._augmentation = data, data.view()

    def __call__(self, pictures: Sequence[Tensor], key: int | None = None) -> Tensor | Padded:
        """A batch; key: of the views that the pictures are shown in, as they are where None."""
        if not self._data.of_images:
            return Padded.of(pictures)
        if self._data.kind == "images":
            return self._floats(torch.stack(list(pictures)), key, None)
        lengths = [len(clip) for clip in pictures]
        rows = torch.arange(len(pictures)).repeat_interleave(torch.tensor(lengths))
        return Padded.of(self._floats(torch.cat(list(pictures)), key, rows).split(lengths))

    def _floats(self, images: Tensor, key: int | None, rows: Tensor | None) -> Tensor:
        if key is None or self._augmentation == Augmentation():
            return normalise(images, self._mean, self._deviation)
        shown = self._augmentation(images.to(torch.float32) / 255, key, rows)
        return (shown - self._mean) / self._deviation


def about(pictures: Sequence[Tensor], sentences: Sequence[Sequence[Sentence]], each_frame: bool) -> list[int]:
    """What each sentence is about, by its place among the pictures, or among all their frames."""
    found: list[int] = []
    first = 0
    for picture, told in zip(pictures, sentences, strict=True):
        found += [first + sentence.frame for sentence in told]
        first += len(picture) if each_frame else 1
    return found


@final
class CaptionExamples(Examples):
    """Batches of pictures, and the loss on their sentences."""

    def __init__(
        self,
        config: CaptioningConfig,
        read: Read,
        items: Sequence[Item],
        texts: Sequence[Sentence],
        ends: tuple[int, int],
        described: str,
        encoder_weights: str | None = None,
    ) -> None:
        if config.train.texts and not texts:
            raise ConfigError("train.texts: there is no caption without a picture; leave it at 0")
        self._config, self._read, self._items, self._texts = config, read, items, texts
        self._ends, self._described, self._weights = ends, described, encoder_weights
        self._collate = Collator(config.data)
        self._order: tuple[int, list[int]] | None = None

    @property
    def epoch(self) -> float:
        return len(self._items) / self._config.train.batch

    def describe(self) -> str:
        return f"{self._described}; an epoch is {self.epoch:,.0f} updates"

    def carry(self, model: nn.Module) -> State | None:
        """Nothing is carried. The encoder's weights are taken from their file here, once."""
        assert isinstance(model, Captioner)
        if self._weights is not None:
            if model.encoder is None:
                raise ConfigError("model.encoder_weights: there is no encoder of images in this model")
            load_encoder(model.encoder, self._weights)
        return None

    def outcome(self, model: nn.Module, update: int, carry: State | None) -> Outcome:
        assert isinstance(model, Captioner)
        key = counter.child(self._config.train.seed, update)
        model.reseed(key)
        let_draw(model, update >= self._config.train.drawn_from)
        view, taught, names = self.batch(update, key)
        logits, penalty = model(view, taught.inputs, taught.lengths)
        objective, rate = sequence_loss(logits, taught.targets, self._config.train.label_smoothing)
        objective = objective if penalty is None else objective + penalty
        more = len(names) - 4
        place = f"update {update}: {', '.join(names[:4])}" + (f" and {more} more" if more > 0 else "")
        return Outcome(objective, rate, None, place)

    def batch(self, update: int, key: int) -> tuple[View, Teaching, list[str]]:
        """The view of an update, its sentences, and the names of its pictures."""
        train, size = self._config.train, len(self._items)
        rows = [divmod(update * train.batch + place, size) for place in range(train.batch)]
        items = [self._items[self._place(epoch, place)] for epoch, place in rows]
        chosen = [
            _draw(item.sentences, train.captions, counter.child(key, row)) for row, item in enumerate(items)
        ]
        pictures = [self._read.pictures.read(item.name) for item in items]
        places = about(pictures, chosen, self._config.data.each_frame)
        sentences = [sentence for told in chosen for sentence in told]
        if train.texts:
            sentences += _draw(self._texts, train.texts, counter.child(key, train.batch))
            places += [NOTHING] * (len(sentences) - len(places))
        view = View(self._collate(pictures, key), torch.tensor(places))
        return view, teaching([s.ids for s in sentences], *self._ends), [item.name for item in items]

    def _place(self, epoch: int, place: int) -> int:
        """The picture at `place` of an epoch's order."""
        if self._order is None or self._order[0] != epoch:
            key = counter.child(self._config.train.seed, epoch)
            drawn = counter.uniform(key, torch.arange(len(self._items)))
            self._order = epoch, drawn.argsort(stable=True).tolist()
        return self._order[1][place]


def _draw(sentences: Sequence[Sentence], count: int, key: int) -> list[Sentence]:
    """Some of them, each at most once where there are enough."""
    if len(sentences) <= count:
        return list(sentences)
    if len(sentences) > 16 * count:  # of very many: with replacement, without a pass over them
        drawn = counter.uniform(key, torch.arange(count)) * len(sentences)
        return [sentences[min(int(place), len(sentences) - 1)] for place in drawn]
    order = counter.uniform(key, torch.arange(len(sentences))).argsort(stable=True)
    return [sentences[place] for place in order[:count].tolist()]
