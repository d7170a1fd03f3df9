"""Images shown a little differently each time: mirrored, cropped, brighter, paler.

A view is a function of (key, row) alone, so that a resumed run sees the images that it would have seen.

    x' = scale x + shift, mirrored or not        colour: a + b (x - mean) with the saturation drawn anew

Shapes: images (N, C, H, W) float in [0, 1].
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from elman import counter
from elman.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """How far a view may go from the image.

    flip: mirrored left to right with probability 1/2 (not where captions say left and right); zoom: the part
    of height and width that a crop may leave out, 0 to 0.9; stretch: by how much the two may differ; shift:
    the part of height and width by which an image may be moved beyond its own border, what comes in black;
    colour: the largest change of brightness, contrast and saturation, 0 to 1.
    """

    flip: bool = False
    zoom: float = 0.0
    stretch: float = 0.0
    shift: float = 0.0
    colour: float = 0.0

    def __post_init__(self) -> None:
        for name, value, most in (
            ("zoom", self.zoom, 0.9), ("stretch", self.stretch, 0.5), ("shift", self.shift, 0.5),
            ("colour", self.colour, 1.0),
        ):  # fmt: skip
            if not 0 <= value <= most:
                raise ConfigError(f"augmentation.{name}: expected 0 to {most}, got {value}")

    def __call__(self, images: Tensor, key: int, rows: Tensor | None = None) -> Tensor:
        """A view of each image, drawn from (key, its row): rows (N,), alike for the frames of one clip."""
        rows = torch.arange(len(images)) if rows is None else rows
        drawn = counter.uniform(key, rows[:, None], torch.arange(8)) * 2 - 1
        if self.flip or self.zoom or self.shift or self.stretch:
            images = self._move(images, drawn)
        return self._recolour(images, drawn) if self.colour else images

    def _move(self, images: Tensor, drawn: Tensor) -> Tensor:
        side = 1 - self.zoom * (drawn[:, 0] + 1) / 2
        ratio = 1 + self.stretch * drawn[:, 1]
        across, down = side * ratio.sqrt(), side / ratio.sqrt()
        theta = torch.zeros(len(images), 2, 3)
        mirrored = torch.where(drawn[:, 2] < 0, -1.0, 1.0) if self.flip else torch.ones(len(images))
        theta[:, 0, 0], theta[:, 1, 1] = across * mirrored, down
        theta[:, 0, 2] = ((1 - across).clamp(min=0) + 2 * self.shift) * drawn[:, 3]
        theta[:, 1, 2] = ((1 - down).clamp(min=0) + 2 * self.shift) * drawn[:, 4]
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)

    def _recolour(self, images: Tensor, drawn: Tensor) -> Tensor:
        change = 1 + self.colour * drawn[:, 5:8, None, None, None]
        grey = images.mean(1, keepdim=True)
        images = grey + change[:, 0] * (images - grey)
        middle = grey.mean((2, 3), keepdim=True)
        return (change[:, 1] * (middle + change[:, 2] * (images - middle))).clamp(0, 1)
