"""Where in an image a decoder looked for each word that it wrote: one panel a word.

The image is dimmed and its colours fade; the weights of the h x w regions, made smooth over the pixels, bring
them back and add a warm light:

    shown = (1 - a) dimmed + a (image + 2 light) / 3        a = STRONGEST * weight / limit

After figure 2 of Xu et al., "Show, Attend and Tell", 2015. One scale holds for all panels of a picture, so
that attention that is spread out looks faint beside attention that is not.

Shapes: L words, H x W pixels, h x w regions. image (H, W) or (3, H, W), weights (L, h, w).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from elman.errors import ShapeError
from elman.plots import style
from elman.plots.alignment import check_limit, check_weights, scale, shorten

MAXIMUM_WORDS = 60
MAXIMUM_SIDE = 4096
"""Pixels."""

STRONGEST = 0.9
"""The part of the light where the weight is the limit."""

_DIM = 0.5
_LIGHT = np.array([1.0, 0.62, 0.12])
_GREY = np.array([0.299, 0.587, 0.114])  # Rec. 601's luma
_PANEL = 1.42  # inches, the longer side
_GAP, _CAPTION, _RIGHT = 0.1, 0.2, 1.15
_COLUMNS = 5
_PIXELS = 240  # an image with fewer is drawn with more, so that the weights are smooth


class _Grid(NamedTuple):
    """Panels on a page, in inches from the top left; across and up: sizes of a panel."""

    columns: int
    across: float
    up: float

    def corner(self, place: int) -> tuple[float, float]:
        """Left and top of a panel, below the line of its word."""
        row, column = divmod(place, self.columns)
        return 0.12 + column * (self.across + _GAP), row * self.pitch + _CAPTION

    @property
    def pitch(self) -> float:
        return self.up + _CAPTION + 0.06

    @property
    def width(self) -> float:
        return 0.12 + self.columns * (self.across + _GAP)


def overlays(
    image: Any,
    weights: Any,
    words: Sequence[str],
    title: str = "",
    *,
    name: str = "attention weight",
    limit: float | None = None,
) -> Figure:
    """The image itself, and a panel for each of the L words with the weights (L, h, w) of its regions.

    image: (H, W) or (3, H, W), whole numbers from 0 to 255 or fractions from 0 to 1; the h x w regions divide
    it evenly. name: what the weights are, written at the scale, which goes from 0 to `limit`, by default the
    median over the words of their largest weights; larger ones are shown as it.

    Raises ShapeError for other shapes and ranges, weights that are negative or not finite, words that are not
    L, more than MAXIMUM_WORDS of them, a side of more than MAXIMUM_SIDE pixels, and a limit that is not above
    0.
    """
    pixels = _pixels(image)
    array = check_weights(weights, "weights", "Lhw")
    if len(words) != len(array):
        raise ShapeError(f"words: expected {len(array)}, one for each map of weights, got {len(words)}")
    if len(words) > MAXIMUM_WORDS:
        raise ShapeError(
            f"words: {len(words)}, at most {MAXIMUM_WORDS} are drawn; draw a part, as in weights[:20], "
            f"words[:20]"
        )
    largest = float(array.max())
    full = check_limit(limit, float(np.median(array.max((1, 2)))))
    high, wide = pixels.shape[:2]
    longer = max(high, wide)
    grid = _Grid(min(_COLUMNS, len(words) + 1), _PANEL * wide / longer, _PANEL * high / longer)
    finding = _finding(array)
    width = max(grid.width + _RIGHT, 4.2)
    head = style.headline_height(width, title, finding) + 0.06
    height = head + -(-(len(words) + 1) // grid.columns) * grid.pitch + 0.1
    height = max(height, head + _CAPTION + 1.2)
    with style.drawing():
        figure = style.figure(width, height, arranged=False)
        letters = max(4, int(72 * grid.across / (0.58 * 9)))
        shown = [(pixels, "")]
        shown += [
            (light(pixels, map_ / full), shorten(word, letters))
            for map_, word in zip(array, words, strict=True)
        ]
        for place, (picture, word) in enumerate(shown):
            left, top = grid.corner(place)
            box = (left / width, 1 - (head + top + grid.up) / height)
            axes = figure.add_axes((*box, grid.across / width, grid.up / height))
            _panel(axes, picture, word)
        bar = (grid.width + 0.14) / width, 1 - (head + _CAPTION + 1.1) / height
        ramp = light(np.full((256, 1, 3), 0.5), np.linspace(0, 1, 256)[:, None], smooth=False)
        axes = figure.add_axes((*bar, 0.14 / width, 1.1 / height))
        scale(axes, full, name, clipped=largest > full, colours=ramp)
        style.headline(figure, title, finding)
    return figure


def light(pixels: np.ndarray, part: np.ndarray, smooth: bool = True) -> np.ndarray:
    """pixels (H, W, 3) in [0, 1] with the light of part (h, w), in which 1 is the strongest."""
    high, wide = pixels.shape[:2]
    if smooth:
        map_ = torch.from_numpy(part)[None, None]
        # Bicubic curves overshoot between a peak and its flat surroundings; there is no weight below 0.
        grown = torch.nn.functional.interpolate(map_, (high, wide), mode="bicubic", align_corners=False)
        part = grown[0, 0].numpy()
    a = STRONGEST * np.clip(part, 0, 1)[..., None]
    grey = (pixels @ _GREY)[..., None]
    dimmed = _DIM * (pixels + grey) / 2
    return np.clip((1 - a) * dimmed + a * (pixels + 2 * _LIGHT) / 3, 0, 1)


def _pixels(image: Any) -> np.ndarray:
    """(H, W, 3) in [0, 1], small images with each pixel repeated."""
    values = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    array = style.as_array(values, "image", "CHW" if values.ndim == 3 else "HW")
    if array.ndim == 3 and array.shape[0] != 3:
        raise ShapeError(f"image: expected shape (H, W) or (3, H, W), got {tuple(values.shape)}")
    top = 255.0 if values.dtype.kind in "iu" else 1.0
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= top):
        raise ShapeError(
            f"image: expected {'whole numbers from 0 to 255' if top > 1 else 'fractions from 0 to 1'}, got "
            f"values from {array.min():g} to {array.max():g}; undo the normalisation before drawing"
        )
    if max(array.shape) > MAXIMUM_SIDE:
        raise ShapeError(
            f"image: {array.shape[-2]} x {array.shape[-1]} pixels, at most {MAXIMUM_SIDE} a side are drawn; "
            f"make it smaller"
        )
    pixels = np.repeat(array[..., None], 3, 2) if array.ndim == 2 else array.transpose(1, 2, 0)
    times = math.ceil(_PIXELS / max(pixels.shape[:2]))
    return (pixels / top).repeat(times, 0).repeat(times, 1)


def _panel(axes: Axes, picture: np.ndarray, word: str) -> None:
    axes.imshow(picture, aspect="auto", interpolation="antialiased")
    axes.set_axis_off()
    axes.set_title(word, fontsize=9, pad=3, loc="left")


def _finding(array: np.ndarray) -> str:
    count, high, wide = array.shape
    flat = array.reshape(count, -1)
    return (
        f"{count} word{'s' if count != 1 else ''} over {high} x {wide} regions: the largest weight of a word "
        f"is {flat.max(1).mean():.2f} on average, {1 / flat.shape[1]:.2g} if all were equal"
    )
