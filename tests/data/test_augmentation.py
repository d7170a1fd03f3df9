"""Views of images: what each option does, and that a view depends on its key and row alone."""

import pytest
import torch

from elman.data.augmentation import Augmentation
from elman.errors import ConfigError


def images() -> torch.Tensor:
    return torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_without_options_nothing_changes() -> None:
    assert torch.equal(Augmentation()(images(), 7), images())


def test_flip_mirrors_about_half_of_them() -> None:
    shown = Augmentation(flip=True)(images(), 3)
    mirrored = (shown - images().flip(3)).abs().amax((1, 2, 3)) < 1e-5
    same = (shown - images()).abs().amax((1, 2, 3)) < 1e-5
    assert bool((mirrored | same).all())
    assert 10 < int(mirrored.sum()) < 30


def test_shift_moves_by_at_most_its_part_and_brings_black() -> None:
    spot = torch.zeros(200, 1, 16, 16)
    spot[:, :, 8, 8] = 1
    shown = Augmentation(shift=0.25)(spot, 5)[:, 0]
    weight = shown.sum((1, 2))
    place = (shown.sum(1) * torch.arange(16.0)).sum(1) / weight
    assert (place - 8).abs().max() <= 4.01
    assert (place - 8).abs().max() > 3.5


def test_zoom_shows_a_part() -> None:
    ramp = torch.linspace(0, 1, 32).expand(50, 1, 32, 32)
    shown = Augmentation(zoom=0.5)(ramp, 2)
    spread = shown.amax((1, 2, 3)) - shown.amin((1, 2, 3))
    assert 0.45 < spread.min() < 0.7
    assert spread.max() > 0.85


def test_colour_stays_in_range_and_keeps_shapes() -> None:
    shown = Augmentation(colour=0.5)(images(), 2)
    assert 0 <= shown.min() <= shown.max() <= 1
    grey = torch.full((9, 3, 4, 4), 0.5)
    changed = Augmentation(colour=0.4)(grey, 2)
    assert torch.allclose(changed, changed[:, :1, :1, :1].expand_as(changed))  # still one grey each
    assert changed.unique().numel() > 5


def test_a_view_is_of_its_key_and_row() -> None:
    view = Augmentation(flip=True, zoom=0.3, stretch=0.1, shift=0.1, colour=0.3)
    whole = view(images(), 11)
    assert torch.allclose(view(images()[5:9], 11, torch.arange(5, 9)), whole[5:9], atol=1e-6)
    assert not torch.allclose(view(images(), 12), whole, atol=0.01)


def test_a_value_out_of_range_is_named() -> None:
    with pytest.raises(ConfigError, match=r"augmentation.zoom: expected 0 to 0.9, got 1.5"):
        Augmentation(zoom=1.5)
