"""Scenes of handwritten digits on a dark ground, with sentences that say exactly what is in them.

Two to five digits, small or big, each turned a little, lie without touching on a noisy ground among scraps of
other digits. A scene is a function of (digits, seed, index) alone. Its objects are told from left to right,
by the middles of their boxes, which lie at least GAP pixels apart; so each of the PHRASINGS below has exactly
one right wording:

    a small three , a big seven and a small one
    a small three left of a big seven above a small one        the place of each beside the next
    from left to right three seven one

The digits of a scene, in order, are its combination. One in five combinations, chosen by a fixed hash, is
never drawn for training; scenes that are `held` out have those alone. Of two neighbours the first is above or
below the second where their middles differ more in height than in width, else left of it.

Shapes: image (H, W) uint8, H = W = SIDE. Boxes are (top, left, bottom, right) in pixels, the last two
exclusive.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from elman import counter
from elman.data.idx import read_idx
from elman.errors import ConfigError, DataError

SIDE = 64
GAP = 6
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FEWEST, MOST = 2, 5
HEIGHTS = {"small": (12, 14), "big": (20, 24)}
"""Heights in pixels of the two sizes, both ends included."""
BIG_CHANCE, MOST_BIG = 0.4, 2
SCRAPS = 5
PHRASINGS = ("list", "places", "order")
_HELD_KEY, _HELD_SHARE = 7_919, 5
_DRAWS = 1024

Size = Literal["small", "big"]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Digits:
    """Pictures (N, 28, 28) uint8 of digits and what they are (N,) uint8; `rows[d]` are those of digit d."""

    images: Tensor
    labels: Tensor
    rows: tuple[Tensor, ...]


@dataclass(frozen=True)
class Thing:
    """One object: which digit, how big, and the box of its ink."""

    digit: int
    size: Size
    box: Box

    @property
    def middle(self) -> tuple[float, float]:
        """(down, across), in pixels."""
        top, left, bottom, right = self.box
        return (top + bottom) / 2, (left + right) / 2


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it, from left to right."""

    image: Tensor
    things: tuple[Thing, ...]

    def sentence(self, phrasing: str) -> str:
        """The scene in one of the PHRASINGS."""
        if phrasing == "order":
            return "from left to right " + " ".join(WORDS[thing.digit] for thing in self.things)
        names = [f"a {thing.size} {WORDS[thing.digit]}" for thing in self.things]
        if phrasing == "list":
            return " , ".join(names[:-1]) + " and " + names[-1]
        if phrasing != "places":
            raise ConfigError(f"phrasing: expected one of {', '.join(PHRASINGS)}, got {phrasing!r}")
        parts = [names[0]]
        for (before, thing), name in zip(pairwise(self.things), names[1:], strict=True):
            parts += [_place(before, thing), name]
        return " ".join(parts)


def read_digits(folder: str | Path, part: str) -> Digits:
    """The digits in `folder`: PART-images-idx3-ubyte and PART-labels-idx1-ubyte, gzip or not; MNIST's t10k.

    Raises DataError, naming the file, where one is missing or damaged, or the two do not fit together.
    """
    images_path, labels_path = (
        _either(Path(folder), f"{part}-{name}-ubyte") for name in ("images-idx3", "labels-idx1")
    )
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels) or images.shape[1:] != (28, 28):
        raise DataError(
            f"{images_path}: {tuple(images.shape)} for {len(labels)} labels in {labels_path.name}, expected "
            f"as many images, of 28 x 28"
        )
    if len(labels) and int(labels.max()) > 9:
        raise DataError(
            f"{labels_path}: row {int(labels.argmax()) + 1} is {int(labels.max())}, expected 0 to 9"
        )
    rows = tuple((labels == digit).nonzero()[:, 0] for digit in range(10))
    if missing := [str(digit) for digit in range(10) if not len(rows[digit])]:
        raise DataError(f"{labels_path}: no digit {', '.join(missing)} among {len(labels)}; expected all ten")
    return Digits(images, labels, rows)


def is_held(combination: tuple[int, ...]) -> bool:
    """Whether the digits, in this order, are kept for testing."""
    code = torch.tensor(int("1" + "".join(map(str, combination))))
    return int(counter.bits(_HELD_KEY, code)) % _HELD_SHARE == 0


def draw_scene(digits: Digits, seed: int, index: int, *, held: bool = False) -> Scene:
    """Scene `index` of those that `seed` makes from these digits, of held combinations or of the others."""
    draws = _Draws(counter.child(seed, index))
    count = draws.integer(FEWEST, MOST)
    combination = tuple(draws.integer(0, 9) for _ in range(count))
    while is_held(combination) != held:
        combination = tuple(draws.integer(0, 9) for _ in range(count))
    sizes: list[Size] = []
    for _ in range(count):
        big = draws.uniform() < BIG_CHANCE and sizes.count("big") < MOST_BIG
        sizes.append("big" if big else "small")
    if draws.uniform() < 0.5:  # the big ones are not to be the first two more often than others
        sizes.reverse()
    inks = [_draw_ink(digits, digit, size, draws) for digit, size in zip(combination, sizes, strict=True)]
    boxes = _lay_out([(ink.shape[0], ink.shape[1]) for ink in inks], draws)
    image = _ground(digits, boxes, draws)
    for ink, (top, left, bottom, right) in zip(inks, boxes, strict=True):
        place = image[top:bottom, left:right]
        torch.maximum(place, ink, out=place)
    things = tuple(Thing(*thing) for thing in zip(combination, sizes, boxes, strict=True))
    return Scene((image * 255).round().to(torch.uint8), things)


class _Draws:
    """Uniform numbers one after the other: number n is a function of (key, n)."""

    def __init__(self, key: int) -> None:
        self._key, self._next, self._block = key, 0, torch.empty(0).tolist()

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        if self._next % _DRAWS == 0:
            places = torch.arange(self._next, self._next + _DRAWS)
            self._block = counter.uniform(self._key, places).tolist()
        value = self._block[self._next % _DRAWS]
        self._next += 1
        return low + (high - low) * value

    def integer(self, low: int, high: int) -> int:
        """low to high, both included."""
        return low + int(self.uniform() * (high - low + 1))


def _draw_ink(digits: Digits, digit: int, size: Size, draws: _Draws) -> Tensor:
    """(h, w) float in [0, 1]: an example of the digit, turned and slanted, cut to its ink, of the size."""
    rows = digits.rows[digit]
    image = digits.images[rows[draws.integer(0, len(rows) - 1)]].to(torch.float32) / 255
    angle, slant = draws.uniform(-0.2, 0.2), draws.uniform(-0.2, 0.2)
    turned = torch.tensor(
        [[math.cos(angle), math.sin(angle) + slant, 0.0], [-math.sin(angle), math.cos(angle), 0.0]]
    )
    grid = functional.affine_grid(turned[None] * 1.2, [1, 1, 40, 40], align_corners=False)
    image = functional.grid_sample(image[None, None], grid, align_corners=False)[0, 0]
    ink = image > 0.3
    down, across = ink.any(1).nonzero()[:, 0], ink.any(0).nonzero()[:, 0]
    image = image[int(down[0]) : int(down[-1]) + 1, int(across[0]) : int(across[-1]) + 1]
    height = draws.integer(*HEIGHTS[size])
    width = round(height * image.shape[1] / image.shape[0] * draws.uniform(0.9, 1.1))
    width = min(max(width, 3), height + 2)
    scaled = functional.interpolate(
        image[None, None], (height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return (scaled[0, 0] / scaled.max() * draws.uniform(0.7, 1.0)).clamp(0, 1)


def _lay_out(sizes: list[tuple[int, int]], draws: _Draws) -> list[Box]:
    """Boxes of these (height, width), from left to right, a pixel or more between them."""
    while True:
        across = sorted(draws.uniform() for _ in sizes)
        boxes: list[Box] = []
        for (height, width), part in zip(sizes, across, strict=True):
            left = 1 + int(part * (SIDE - 1 - width))
            for _ in range(8):
                top = draws.integer(1, SIDE - 1 - height)
                box = (top, left, top + height, left + width)
                if not any(_touch(box, other) for other in boxes):
                    boxes.append(box)
                    break
        middles = [(box[1] + box[3]) / 2 for box in boxes]
        apart = all(later - former >= GAP for former, later in pairwise(middles))
        if len(boxes) == len(sizes) and apart:
            return boxes


def _ground(digits: Digits, boxes: list[Box], draws: _Draws) -> Tensor:
    """(SIDE, SIDE) of noise, with scraps of digits where no box is."""
    level = draws.uniform(0.02, 0.15)
    key = draws.integer(0, 2**24)
    noise = counter.uniform(key, torch.arange(SIDE)[:, None], torch.arange(SIDE)) * level
    for _ in range(draws.integer(0, SCRAPS)):
        high, wide = draws.integer(3, 7), draws.integer(3, 7)
        row = draws.integer(0, len(digits.images) - 1)
        y, x = draws.integer(8, 20 - high), draws.integer(8, 20 - wide)
        scrap = digits.images[row, y : y + high, x : x + wide].to(torch.float32) / 255 * draws.uniform(0.4, 1)
        top, left = draws.integer(0, SIDE - high), draws.integer(0, SIDE - wide)
        box = (top, left, top + high, left + wide)
        if not any(_touch(box, other) for other in boxes):
            place = noise[top : top + high, left : left + wide]
            torch.maximum(place, scrap, out=place)
    return noise


def _touch(one: Box, other: Box) -> bool:
    """Whether less than a pixel lies between two boxes."""
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _place(before: Thing, thing: Thing) -> str:
    """Where the former of two things is, seen from the latter."""
    (down, across), (other_down, other_across) = before.middle, thing.middle
    if abs(other_down - down) <= abs(other_across - across):
        return "left of"
    return "above" if down < other_down else "below"


def _either(folder: Path, name: str) -> Path:
    """The file of that name, or of that name and .gz."""
    plain = folder / name
    return plain if plain.exists() else folder / f"{name}.gz"
