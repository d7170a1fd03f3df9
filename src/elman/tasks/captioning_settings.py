"""Settings of captioning, and the model that they describe."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from elman.cells import Cell
from elman.data.augmentation import Augmentation
from elman.data.images import Fit, ImageShape
from elman.data.sequence_codec import SequenceCodec
from elman.errors import ConfigError
from elman.models.captioner import Captioner
from elman.models.image_encoder import ENCODERS, ImageEncoder
from elman.models.recurrent_encoder import named_cell
from elman.tasks.base import Files, Settings, TrainSettings
from elman.tasks.sequence_settings import SearchSettings

NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "plain": ((0.5,), (0.25,)),
    "dark": ((0.1,), (0.25,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Mean and deviation of values from 0 to 1: photographs, light on black, ImageNet's."""


class AugmentationSettings(Settings):
    """How a picture differs from one look to the next; see elman.data.augmentation."""

    flip: bool = Field(False, description="mirrored at random; not where captions say left and right")
    zoom: float = Field(0.0, ge=0, le=0.9, description="part of each side that a crop may leave out")
    stretch: float = Field(0.0, ge=0, le=0.5, description="how far height and width may part")
    shift: float = Field(0.0, ge=0, le=0.5, description="part of each side that it may be moved by")
    colour: float = Field(0.0, ge=0, le=1, description="largest change of brightness, contrast, saturation")


class CaptionDataSettings(Settings):
    """What is read, and as what."""

    kind: Literal["images", "features", "clips", "clip_features"] = Field(
        "images", description="what captions are about; clips are folders of numbered frames"
    )
    each_frame: bool = Field(False, description="clips: captions of CLIP/FRAME, in place of captions of CLIP")
    height: int = Field(112, ge=1, le=5000, description="of every image, in pixels")
    width: int = Field(112, ge=1, le=5000, description="of every image, in pixels")
    grey: bool = Field(False, description="one channel in place of three")
    fit: Fit = Field("crop", description="how an image of another shape becomes one of this")
    normalisation: Literal["plain", "dark", "imagenet"] = Field("plain", description="of pixels")
    augmentation: AugmentationSettings = AugmentationSettings()
    unit: Literal["words", "subwords", "characters"] = Field("words", description="the symbols of captions")
    vocabulary: int = Field(8000, ge=4, description="largest number of symbols")
    lowercase: bool = Field(True, description="read, write and measure in lower case")
    longest: int = Field(60, ge=1, description="symbols of a caption; longer ones are refused")
    skip: bool = Field(False, description="leave out captions that cannot be used, and count them")
    missing: Literal["error", "skip", "text"] = Field(
        "error", description="captions whose image is not there: refused, left out, or learnt from as text"
    )
    uncaptioned: Literal["error", "skip"] = Field("error", description="images without a caption")
    unreadable: Literal["error", "skip"] = Field(
        "error", description="pictures that are damaged, huge, or none: refused, or left out and counted"
    )
    valid_fraction: float = Field(0.05, ge=0, lt=1, description="the last part of the images, for validation")
    valid_lists: Files = Field((), description="files of names for validation, in its place")
    held_lists: Files = Field((), description="files of names that training never sees")

    @model_validator(mode="after")
    def _fits(self) -> "CaptionDataSettings":
        if self.each_frame and not self.of_clips:
            raise ValueError(f"data.each_frame is about clips, data.kind is {self.kind!r}")
        if self.grey and self.normalisation == "imagenet":
            raise ValueError("data.normalisation=imagenet is of three channels, data.grey leaves one")
        return self

    @property
    def of_clips(self) -> bool:
        return self.kind in ("clips", "clip_features")

    @property
    def of_images(self) -> bool:
        """Whether an image encoder reads it."""
        return self.kind in ("images", "clips")

    def shape(self) -> ImageShape:
        return ImageShape(self.height, self.width, 1 if self.grey else 3, self.fit)

    def view(self) -> Augmentation:
        return Augmentation(**self.augmentation.model_dump())


class CaptionModelSettings(Settings):
    """The network."""

    encoder: Literal["resnet", "convnext"] = Field("resnet", description="of images")
    encoder_options: dict[str, Any] = Field(
        default_factory=dict, description="of the encoder, such as {widths = [32, 64, 128]}"
    )
    encoder_weights: str | None = Field(None, description="a safetensors file that the encoder begins with")
    frames: str = Field("lstm", description="clips: the cell that runs over their frames")
    cell: str = Field("lstm", description="of the decoder: elman, gru or lstm")
    hidden: int = Field(256, ge=1, description="units of the decoder, and of the encoder of frames")
    embedding: int = Field(128, ge=1, description="size of a symbol's row")
    attention: str | None = Field(
        "additive", description="where to look: additive, dot, ...; none: the regions' mean"
    )
    attention_options: dict[str, Any] = Field(default_factory=dict, description="of the attention")
    order: Literal["luong", "bahdanau"] = Field(
        "luong", description="attend after the recurrence, or before it with the last state"
    )
    doubly_stochastic: float = Field(
        0.0, ge=0, description="weight of the penalty for regions that are not looked at about once"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="of the regions")
    dropout_embedding: float = Field(0.0, ge=0, lt=1, description="of what is read")
    dropout_output: float = Field(0.0, ge=0, lt=1, description="of what the output's weight is applied to")


class CaptionTrainSettings(TrainSettings):
    """Training on batches of pictures."""

    batch: int = Field(32, ge=1, description="pictures learnt from at once")
    captions: int = Field(2, ge=1, description="of each picture in a batch, drawn anew each time")
    texts: int = Field(0, ge=0, description="captions without their picture in a batch (data.missing=text)")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="part of a target given to all symbols alike")
    entropy: float = Field(0.01, ge=0, description="attention hard: weight of the entropy of where it looks")
    baseline: float = Field(0.9, ge=0, lt=1, description="attention hard: part of the moving average kept")
    drawn_from: int = Field(
        0, ge=0, description="attention hard: the update from which on places are drawn; expectations before"
    )


class CaptioningConfig(Settings):
    """All settings of the task."""

    data: CaptionDataSettings = CaptionDataSettings()
    model: CaptionModelSettings = CaptionModelSettings()
    train: CaptionTrainSettings = CaptionTrainSettings()
    search: SearchSettings = SearchSettings(beam=3, alpha=0.7)
    written: int = Field(200, ge=0, description="validation: pictures that are captioned, for CIDEr-D")

    @model_validator(mode="after")
    def _fits(self) -> "CaptioningConfig":
        if self.model.attention is None and self.model.attention_options:
            raise ValueError(
                "model.attention_options: needs an attention; leave it out, or set model.attention"
            )
        if self.train.texts and self.data.missing != "text":
            raise ValueError("train.texts needs captions without pictures: set data.missing=text")
        return self


def build_captioner(config: CaptioningConfig, codec: SequenceCodec, features: int | None) -> Captioner:
    """The model of these settings, with fresh weights; features: F, where they come computed."""
    model, data, train = config.model, config.data, config.train
    encoder = _encoder(config) if data.of_images else None
    below = model.hidden if encoder is None else encoder.features
    frames: Cell | None = None
    if data.of_clips:
        # Where each frame is told, what is known of those before it stands among the frame's own regions.
        frames = named_cell(model.frames)(below, below if data.each_frame else model.hidden)
    return Captioner(
        len(codec),
        encoder=encoder,
        features=features,
        frames=frames,
        each_frame=data.each_frame,
        attention=model.attention,
        attention_options=model.attention_options,
        cell=model.cell,
        hidden=model.hidden,
        embedding=model.embedding,
        order=model.order,
        doubly_stochastic=model.doubly_stochastic,
        entropy=train.entropy,
        baseline=train.baseline,
        end=codec.end,
        dropout_regions=model.dropout,
        dropout_embedding=model.dropout_embedding,
        dropout_output=model.dropout_output,
    )


def _encoder(config: CaptioningConfig) -> ImageEncoder:
    """Raises ConfigError naming the option that the encoder does not take, or an image it cannot read."""
    model, data = config.model, config.data
    kind, channels = ENCODERS[model.encoder], 1 if data.grey else 3
    try:
        encoder = kind(channels, **model.encoder_options)
    except TypeError as error:
        raise ConfigError(
            f"model.encoder_options: {model.encoder} does not take {model.encoder_options}: {error}"
        ) from error
    if min(data.height, data.width) < encoder.reduction:
        raise ConfigError(
            f"data.height and data.width: {data.height} x {data.width} pixels are less than a region of this "
            f"encoder, {encoder.reduction}; take larger images, or fewer stages"
        )
    return encoder


def absolute(paths: tuple[str, ...]) -> list[str]:
    """Files that settings name, as a run remembers them."""
    return [str(Path(path).absolute()) for path in paths]
