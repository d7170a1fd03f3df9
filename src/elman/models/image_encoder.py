"""Networks that read an image: a ResNet and a ConvNeXt, small enough to be trained from scratch.

An image becomes S = h w regions of F features each, row by row from the top left, which is what an attention
looks at; the place of each region is added to it, as a learnt map of sines and cosines of its coordinates.

    ResNet    stem; stages of blocks x + norm(conv(relu(norm(conv(x))))), the first of each at half the
              resolution                                                    He, Zhang, Ren and Sun 2016
    ConvNeXt  stem of patches; stages of blocks x + gain * W2 gelu(W1 layer_norm(depthwise 7x7(x))), halved
              between them                                                    Liu, Mao, Wu et al. 2022

Norms are over groups of channels (Wu and He 2018) or over the channels of a place: neither depends on the
other images of a batch, and neither keeps running statistics, so that all a model knows is in its
parameters. norm="frozen" is for a ResNet that was trained elsewhere with norms over batches, which in use
are a gain and an offset of each channel (elman.models.image_weights).

Shapes: N images, C channels in, images (N, C, height, width) float32, maps (N, F, h, w), regions (S, N, F).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from elman.errors import ConfigError, ShapeError
from elman.padded import Padded

Norm = Literal["group", "frozen"]
WAVES = 4
"""Frequencies of a region's coordinates: 1, 2, 4, 8 half turns over the image."""


class ImageEncoder(nn.Module, ABC):
    """Images to regions. `features`: F of the maps, `reduction`: pixels a region is apart from the next."""

    def __init__(self, channels: int, features: int, reduction: int) -> None:
        super().__init__()
        self.channels, self.features, self.reduction = channels, features, reduction
        self.place = nn.Linear(4 * WAVES, features)

    @abstractmethod
    def maps(self, images: Tensor) -> Tensor:
        """images (N, C, height, width) -> (N, F, h, w), without the places."""

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(h, w): the regions of an image of that size, down and across."""
        return -(-height // self.reduction), -(-width // self.reduction)

    def forward(self, images: Tensor) -> Padded:
        """images -> regions (S, N, F), all of them valid.

        Raises ShapeError for images of another number of channels, or smaller than a region.
        """
        if images.dim() != 4 or images.shape[1] != self.channels or min(images.shape[2:]) < self.reduction:
            raise ShapeError(
                f"{type(self).__name__}: images must be (N, {self.channels}, height, width) of at least "
                f"{self.reduction} x {self.reduction} pixels, got {tuple(images.shape)}"
            )
        maps = self.maps(images.contiguous(memory_format=torch.channels_last))
        height, width = maps.shape[2:]
        regions = maps.flatten(2).permute(2, 0, 1) + self.place(coordinates(height, width).to(maps))[:, None]
        return Padded(regions, torch.full((len(images),), height * width, device=maps.device))


def coordinates(height: int, width: int) -> Tensor:
    """(h w, 4 WAVES): sines and cosines of 2^k pi times each region's middle, from 0 to 1 down and across."""
    down = (torch.arange(height) + 0.5) / height
    across = (torch.arange(width) + 0.5) / width
    both = torch.stack(torch.meshgrid(down, across, indexing="ij"), -1).reshape(-1, 2)
    angles = (both[:, :, None] * torch.pi * 2.0 ** torch.arange(WAVES)).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], 1)


@final
class ResNet(ImageEncoder):
    """Residual networks of two convolutions a block: the blocks of ResNet-18 and -34.

    widths: channels of each stage; blocks: how many each has. stem "small" is a convolution of 3 x 3, "large"
    one of 7 x 7 at half the resolution and a maximum over 3 x 3 at half that, as published for photographs;
    then the first stage does not halve. first_stride: of the small stem. Raises ConfigError for sizes that
    do not go together.
    """

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (32, 64, 128),
        blocks: Sequence[int] = (1, 1, 1),
        *,
        stem: Literal["small", "large"] = "small",
        first_stride: int = 2,
        norm: Norm = "group",
    ) -> None:
        check_stages(widths, blocks)
        stride = 4 if stem == "large" else first_stride
        super().__init__(channels, widths[-1], stride * 2 ** (len(widths) - 1))
        size, padding = (7, 3) if stem == "large" else (3, 1)
        step = 2 if stem == "large" else first_stride
        self.stem = stem
        self.conv1 = nn.Conv2d(channels, widths[0], size, step, padding, bias=False)
        self.bn1 = make_norm(widths[0], norm)
        below = widths[0]
        for place, (width, count) in enumerate(zip(widths, blocks, strict=True), 1):
            made = [
                _Block(width if block else below, width, 2 if place > 1 and not block else 1, norm)
                for block in range(count)
            ]
            self.add_module(f"layer{place}", nn.Sequential(*made))
            below = width
        self.stages = len(widths)

    def maps(self, images: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(images)))
        if self.stem == "large":
            x = functional.max_pool2d(x, 3, 2, 1)
        for place in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{place}")(x)
        return x


class _Block(nn.Module):
    """relu(short(x) + norm(conv(relu(norm(conv(x))))))."""

    def __init__(self, below: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(below, width, 3, stride, 1, bias=False)
        self.bn1 = make_norm(width, norm)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = make_norm(width, norm)
        self.downsample = (
            nn.Sequential(nn.Conv2d(below, width, 1, stride, bias=False), make_norm(width, norm))
            if stride != 1 or below != width
            else None
        )
        for convolution in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class FrozenNorm(nn.Module):
    """gain * x + offset by channel: a norm over batches as it is in use, its statistics folded in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


@final
class ConvNeXt(ImageEncoder):
    """Blocks of a wide convolution by channel and two products at each place.

    widths: channels of each stage; blocks: how many each has; patch: side of the stem's patches. Raises
    ConfigError for sizes that do not go together.
    """

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (40, 80, 160),
        blocks: Sequence[int] = (1, 1, 2),
        *,
        patch: int = 4,
    ) -> None:
        check_stages(widths, blocks)
        super().__init__(channels, widths[-1], patch * 2 ** (len(widths) - 1))
        first = nn.Sequential(nn.Conv2d(channels, widths[0], patch, patch), _ChannelNorm(widths[0]))
        between = [
            nn.Sequential(_ChannelNorm(below), nn.Conv2d(below, width, 2, 2))
            for below, width in pairwise(widths)
        ]
        self.downsample_layers = nn.ModuleList([first, *between])
        self.stages = nn.ModuleList(
            nn.Sequential(*[_WideBlock(width) for _ in range(count)])
            for width, count in zip(widths, blocks, strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return height // self.reduction, width // self.reduction

    def maps(self, images: Tensor) -> Tensor:
        x = images
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of each place of (N, F, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _WideBlock(nn.Module):
    """x + gamma * W2 gelu(W1 norm(depthwise(x))), gamma by channel and small at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(functional.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


ENCODERS: dict[str, type[ResNet] | type[ConvNeXt]] = {"resnet": ResNet, "convnext": ConvNeXt}
"""The closed table of encoders that a run folder may name."""


def make_norm(channels: int, norm: Norm) -> nn.Module:
    """A norm over groups of channels, eight groups where that divides them, or a gain and an offset."""
    if norm == "frozen":
        return FrozenNorm(channels)
    groups = max(g for g in range(1, 9) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def check_stages(widths: Sequence[int], blocks: Sequence[int]) -> None:
    """Raises ConfigError unless there are as many counts of blocks as widths, all at least 1."""
    if not widths or len(widths) != len(blocks) or min((*widths, *blocks)) < 1:
        raise ConfigError(
            f"image encoder: expected as many blocks as widths, each at least 1, got widths {tuple(widths)} "
            f"and blocks {tuple(blocks)}"
        )
