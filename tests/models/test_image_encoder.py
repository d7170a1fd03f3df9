"""Image encoders: regions and their places, no image depends on another, gradients reach every weight."""

import math

import pytest
import torch

from elman.errors import ConfigError, ShapeError
from elman.models.image_encoder import ConvNeXt, ImageEncoder, ResNet, coordinates


def small(kind: str) -> ImageEncoder:
    torch.manual_seed(1)
    if kind == "resnet":
        return ResNet(2, (8, 16), (1, 2))
    if kind == "large":
        return ResNet(2, (8, 16), (1, 1), stem="large", norm="frozen")
    return ConvNeXt(2, (8, 16), (1, 1), patch=2)


KINDS = ("resnet", "large", "convnext")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(16, 24), (19, 30)])
def test_regions(kind: str, size: tuple[int, int]) -> None:
    encoder = small(kind)
    regions = encoder(torch.rand(3, 2, *size))
    height, width = encoder.grid(*size)
    assert regions.data.shape == (height * width, 3, 16)
    assert regions.lengths.tolist() == [height * width] * 3
    if size == (16, 24):
        assert (height, width) == (16 // encoder.reduction, 24 // encoder.reduction)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_does_not_depend_on_its_batch(kind: str) -> None:
    encoder = small(kind).train()
    images = torch.rand(4, 2, 16, 16)
    together = encoder(images).data
    alone = torch.cat([encoder(image[None]).data for image in images], 1)
    assert torch.allclose(together, alone, atol=1e-5)
    assert not list(encoder.buffers()), "what a model knows is in its parameters"


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_weight(kind: str) -> None:
    encoder = small(kind)
    encoder(torch.rand(2, 2, 16, 16)).data.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", ["large", "convnext"])
def test_regions_follow_their_places(kind: str) -> None:
    """An image moved by a region moves its regions by one, but for their places; norms are of a place."""
    encoder = small(kind)
    step, size = encoder.reduction, 16
    image = torch.zeros(1, 2, size * step, size * step)
    spot = torch.rand(2, step, step)
    image[0, :, 7 * step : 8 * step, 7 * step : 8 * step] = spot
    moved = image.roll(step, 3)
    maps, other = encoder.maps(image), encoder.maps(moved)
    assert torch.allclose(maps[..., 4:12, 4:11], other[..., 4:12, 5:12], atol=1e-3)
    assert not torch.allclose(maps[..., 4:12, 4:11], other[..., 4:12, 4:11], atol=1e-3)


def test_coordinates_by_the_formula() -> None:
    places = coordinates(2, 4)
    assert places.shape == (8, 16)
    down, across = 1.5 / 2, 2.5 / 4  # of region 4 * 1 + 2
    angles = [part * math.pi * 2**k for part in (down, across) for k in range(4)]
    expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    assert places[6].tolist() == pytest.approx(expected, abs=1e-5)
    assert len(coordinates(9, 9).round(decimals=4).unique(dim=0)) == 81


@pytest.mark.parametrize(
    "options",
    [{"widths": (8,), "blocks": (1, 1)}, {"widths": (), "blocks": ()}, {"widths": (8, 0), "blocks": (1, 1)}],
)
def test_stages_that_do_not_fit(options: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ConfigError, match="as many blocks as widths"):
        ResNet(3, **options)  # pyrefly: ignore
    with pytest.raises(ConfigError, match="as many blocks as widths"):
        ConvNeXt(3, **options)  # pyrefly: ignore


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 2, 3, 16), (2, 16, 16)])
def test_images_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"images must be \(N, 2, height, width\)"):
        small("resnet")(torch.zeros(shape))
