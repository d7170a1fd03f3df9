"""A trained captioner in use: sentences about images, clips or features, and where it looked for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from elman.data.images import read_image
from elman.data.pictures import FeatureFile, frame_files, read_frames
from elman.data.sequence_codec import SequenceCodec
from elman.errors import ConfigError, DataError
from elman.models.captioner import Captioner, View
from elman.search.hypothesis import Hypothesis
from elman.search.sampling import Sampling
from elman.tasks.captioning_data import Collator
from elman.tasks.captioning_settings import CaptionDataSettings
from elman.tasks.sequence_search import Search, find
from elman.tasks.writing_predictor import WritingPredictor, asked_search


@dataclass(frozen=True)
class Look:
    """An image (3, H, W) or (H, W) uint8 as the model sees it, what it wrote, and where it looked for each.

    weights (L, h, w): the attention over the regions, row by row; words: the L symbols, the end among them.
    """

    image: Tensor
    words: list[str]
    weights: Tensor


@final
class CaptionPredictor(WritingPredictor):
    """A model from pictures to sentences."""

    def __init__(
        self, model: Captioner, codec: SequenceCodec, data: CaptionDataSettings, search: Search
    ) -> None:
        self.model, self.codec = model.eval(), codec
        self._data, self._search, self._collate = data, search, Collator(data)

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
        first: int = 0,
    ) -> list[dict[str, Any]]:
        """Of each input, a path, {picture, text, score, alternatives}, the likeliest of `best` first.

        inputs: image files; folders of frames; FILE#NAME for the features of that name. A model of each frame
        gives a row for every frame, with its number, `frame`. The options are those of a model that
        translates (SequencePredictor.predict). Raises DataError as the readers of pictures do, ConfigError
        for options that the search cannot follow.
        """
        search = asked_search(
            self._search, inputs, prefixes,
            best=best, sampling=sampling, seed=seed, beam=beam, alpha=alpha, coverage=coverage,
        )  # fmt: skip
        rows: list[dict[str, Any]] = []
        for place, path in enumerate(inputs):
            begun = None if prefixes is None else self.codec.encode(prefixes[place], "prefix").tolist()
            found = self._find([self.read(path)], search, begun, first + place)
            for frame, hypotheses in enumerate(found, 1):
                told = [{"text": self.codec.decode(h.ids), "score": h.score} for h in hypotheses]
                name = {"picture": path, "frame": frame} if self._data.each_frame else {"picture": path}
                rows.append({**name, **told[0], "alternatives": told})
        return rows

    def label(self, prediction: dict[str, Any]) -> str:
        """The picture, and the number of the frame where each is told, a tab after each of them."""
        return "".join(f"{prediction[key]}\t" for key in ("picture", "frame") if key in prediction)

    def look(self, path: str) -> Look:
        """The caption of an image file, word by word, with the regions that were looked at.

        Raises ConfigError for a model that reads no still images, or has no attention.
        """
        if self.model.encoder is None or self._data.kind != "images" or not self.model.attends:
            raise ConfigError("look: expected a model of images with an attention")
        image = self.read(path)
        (hypotheses,) = self._find([image], self._search)
        height, width = self.model.encoder.grid(*image.shape[1:])
        ids = torch.tensor(hypotheses[0].ids)
        inputs = torch.cat([torch.tensor([self.codec.begin]), ids[:-1]])[:, None]
        with torch.no_grad():
            weights = self.model.taught(
                View(self._collate([image])), inputs, torch.tensor([len(ids)])
            ).weights[:, 0]
        words = [self.codec.symbols[index] for index in ids]
        return Look(
            image[0] if len(image) == 1 else image,
            words,
            weights[:, : height * width].reshape(-1, height, width),
        )

    def read(self, path: str) -> Tensor:
        """What stands at `path`, as the model's kind of data; DataError naming it where it cannot be read."""
        if self._data.kind == "images":
            return read_image(path, self._data.shape())
        if self._data.kind == "clips":
            return read_frames(frame_files(path), self._data.shape())
        file, mark, name = path.rpartition("#")
        if not mark or Path(file).suffix.lower() == ".npy":
            raise DataError(
                f"{path}: expected FILE#NAME, features of that name in an .npz or .safetensors file"
            )
        features = FeatureFile(file)
        if name not in features.names:
            raise DataError(f"{file}: no array named {name!r}; it has {', '.join(features.names[:3])}, ...")
        return features.read(name)

    def _find(
        self, pictures: list[Tensor], search: Search, prefix: list[int] | None = None, first: int = 0
    ) -> list[list[Hypothesis]]:
        """What is found for each picture, or for each frame; first: of which number draws are functions."""
        source = View(self._collate(pictures))
        count = sum(len(clip) for clip in pictures) if self._data.each_frame else len(pictures)
        limits = torch.full((count,), self._data.longest + 1)
        begun = None if prefix is None else [prefix] * count
        numbers = torch.arange(count) + first * count
        return find(self.model, source, self.codec, limits, search, prefixes=begun, sources=numbers)
