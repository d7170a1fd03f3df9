"""Photographs and drawings: JPEG and PNG files to tensors, and every way in which a file may fail to be one.

A file is opened by its content, not its name; its size is read from its header and checked before anything
is decoded, so that a small file cannot ask for much memory. Turned as its EXIF entry says; what is
transparent shows white.

Shapes: C channels (3: red, green, blue; 1: grey), H height, W width. An image is (C, H, W) uint8; a batch
that a network reads is (N, C, H, W) float32.
"""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from elman.data.text import read_bytes
from elman.errors import ConfigError, DataError

MAX_PIXELS = 25_000_000
"""The largest image that is decoded."""

SUFFIXES = (".jpg", ".jpeg", ".png")
"""Names that a folder of images is searched for, in small or capital letters."""

SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
"""The first bytes of a PNG and of a JPEG file."""

Fit = Literal["crop", "stretch", "pad"]


@dataclass(frozen=True)
class ImageShape:
    """What every image of a data set is made into.

    crop: scaled until it covers height x width, the middle kept; stretch: scaled in each direction; pad:
    scaled until it fits, the rest black. Raises ConfigError for sizes out of range.
    """

    height: int
    width: int
    channels: Literal[1, 3] = 3
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        if not (1 <= self.height <= 5000 and 1 <= self.width <= 5000) or self.channels not in (1, 3):
            raise ConfigError(
                f"image shape: expected height and width from 1 to 5000 and 1 or 3 channels, got "
                f"{self.height} x {self.width} x {self.channels}"
            )


def read_image(path: str | Path, shape: ImageShape | None = None) -> Tensor:
    """The image in a JPEG or PNG file: (C, H, W) uint8, as `shape` says, or as it is, with three channels.

    Raises DataError naming the file where it is missing, empty, no image, of another format, truncated,
    damaged, without a pixel, or of more than 25 megapixels.
    """
    picture = _decode(read_bytes(path), path)
    if shape is None:
        return _tensor(picture.convert("RGB"))
    return _tensor(_fit(picture.convert("RGB" if shape.channels == 3 else "L"), shape))


def normalise(images: Tensor, mean: float | Tensor = 0.5, deviation: float | Tensor = 0.25) -> Tensor:
    """(value / 255 - mean) / deviation, as float32; mean and deviation are numbers, or (C, 1, 1)."""
    return (images.to(torch.float32) / 255 - mean) / deviation


def _decode(content: bytes, path: str | Path) -> Image.Image:
    """The first picture in `content`, upright, in mode L or RGB."""
    if not content:
        raise DataError(f"{path}: the file is empty; expected a JPEG or PNG image")
    try:
        with warnings.catch_warnings():
            # Pillow warns of sizes near its own limit, which is beyond ours: told below, by name.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path}: a picture of far more pixels than are decoded, expected at most {MAX_PIXELS:,}; "
            f"scale it down"
        ) from error
    except UnidentifiedImageError as error:
        if content.startswith(SIGNATURES):
            raise DataError(f"{path}: a damaged image: its header cannot be read; replace it") from error
        raise DataError(
            f"{path}: not a JPEG or PNG image, whatever its name says (it begins with {content[:8]!r}); "
            f"convert it, or leave it out"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: a damaged image: {error}; replace it, or leave it out") from error
    width, height = picture.size
    if width < 1 or height < 1:
        raise DataError(f"{path}: an image of {width} x {height} pixels; expected at least one")
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: {width} x {height} pixels are {width * height:,}, expected at most {MAX_PIXELS:,}; "
            f"scale it down"
        )
    try:
        picture.load()
        return _plain(ImageOps.exif_transpose(picture))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(
            f"{path}: a truncated or damaged image ({error}); replace it, or leave it out"
        ) from error


def _plain(picture: Image.Image) -> Image.Image:
    """Mode L or RGB: 16 bits to 8, palettes looked up, transparency over white."""
    if picture.mode.startswith("I"):  # Pillow's own conversion would cut at 255 in place of scaling
        wide = np.asarray(picture).astype(np.float64)
        return Image.fromarray((wide / 257).round().clip(0, 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def _fit(picture: Image.Image, shape: ImageShape) -> Image.Image:
    """Height x width; scaled with a filter as wide as the reduction, so that nothing fine turns to noise."""
    size, method = (shape.width, shape.height), Image.Resampling.BICUBIC
    if picture.size == size:
        return picture
    if shape.fit == "stretch":
        return picture.resize(size, method)
    if shape.fit == "crop":
        return ImageOps.fit(picture, size, method)
    return ImageOps.pad(picture, size, method, color=0)


def _tensor(picture: Image.Image) -> Tensor:
    """(C, H, W) uint8."""
    values = torch.from_numpy(np.array(picture))
    return values[None] if values.dim() == 2 else values.permute(2, 0, 1).contiguous()
