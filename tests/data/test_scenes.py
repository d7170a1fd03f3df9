"""Scenes: the same for the same place, true to their sentences, and apart from those of training."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from elman.data.scenes import (
    GAP,
    HEIGHTS,
    PHRASINGS,
    SIDE,
    WORDS,
    Digits,
    Scene,
    Thing,
    draw_scene,
    is_held,
    read_digits,
)
from elman.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Ten bars and boxes for digits: what a scene does with its digits needs no handwriting."""
    images = torch.zeros(20, 28, 28, dtype=torch.uint8)
    for row in range(20):
        images[row, 4:24, 10 - row % 5 : 16 + row % 7] = 255
        images[row, 8 + row % 5 : 20, 12:15] = 0
    labels = torch.arange(20, dtype=torch.uint8) % 10
    return Digits(images, labels, tuple((labels == digit).nonzero()[:, 0] for digit in range(10)))


@pytest.fixture(scope="module")
def scenes(digits: Digits) -> list[Scene]:
    return [draw_scene(digits, 1, index) for index in range(150)]


def test_a_scene_is_a_function_of_seed_and_index(digits: Digits, scenes: list[Scene]) -> None:
    again = draw_scene(digits, 1, 17)
    assert torch.equal(again.image, scenes[17].image)
    assert again.things == scenes[17].things
    assert not torch.equal(draw_scene(digits, 2, 17).image, again.image)


def test_things_are_in_order_apart_and_inside(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert 2 <= len(scene.things) <= 5
        middles = [thing.middle[1] for thing in scene.things]
        assert all(later - former >= GAP for former, later in pairwise(middles))
        covered = torch.zeros(SIDE + 1, SIDE + 1, dtype=torch.int64)
        for thing in scene.things:
            top, left, bottom, right = thing.box
            assert 0 <= top < bottom <= SIDE
            assert 0 <= left < right <= SIDE
            low, high = HEIGHTS[thing.size]
            assert low <= bottom - top <= high
            covered[top : bottom + 1, left : right + 1] += 1  # with the pixel that stays free
        assert covered.max() == 1


def test_a_box_holds_the_ink_of_its_thing(scenes: list[Scene]) -> None:
    for scene in scenes[:40]:
        for top, left, bottom, right in (thing.box for thing in scene.things):
            inside = scene.image[top:bottom, left:right].float()
            assert inside.max() > 0.65 * 255
            for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
                assert edge.max() > 30


def test_every_count_size_and_digit_occurs(scenes: list[Scene]) -> None:
    assert {len(scene.things) for scene in scenes} == {2, 3, 4, 5}
    things = [thing for scene in scenes for thing in scene.things]
    assert {thing.digit for thing in things} == set(range(10))
    assert {thing.size for thing in things} == {"small", "big"}


def test_held_combinations_are_never_in_training(digits: Digits, scenes: list[Scene]) -> None:
    def combination(scene: Scene) -> tuple[int, ...]:
        return tuple(thing.digit for thing in scene.things)

    assert not any(is_held(combination(scene)) for scene in scenes)
    assert all(is_held(combination(draw_scene(digits, 1, index, held=True))) for index in range(30))
    pairs = sum(is_held((a, b)) for a in range(10) for b in range(10))
    assert 10 <= pairs <= 30
    assert is_held((0, 1)) != is_held((1,)) or is_held((0, 0, 1)) != is_held((0, 1))  # zeros count


def test_the_three_phrasings() -> None:
    things = (
        Thing(3, "small", (10, 2, 22, 10)),
        Thing(7, "big", (30, 8, 52, 20)),
        Thing(1, "small", (30, 40, 42, 46)),
    )
    scene = Scene(torch.zeros(SIDE, SIDE, dtype=torch.uint8), things)
    assert scene.sentence("list") == "a small three , a big seven and a small one"
    assert scene.sentence("places") == "a small three above a big seven left of a small one"
    assert scene.sentence("order") == "from left to right three seven one"
    with pytest.raises(ConfigError, match="phrasing: expected one of list, places, order"):
        scene.sentence("poem")


def test_every_phrasing_names_the_things_in_order(scenes: list[Scene]) -> None:
    for scene in scenes[:50]:
        for phrasing in PHRASINGS:
            told = [WORDS.index(word) for word in scene.sentence(phrasing).split() if word in WORDS]
            assert told == [thing.digit for thing in scene.things]


def test_digits_of_mnist(data: Callable[[str], Path]) -> None:
    train, test = (read_digits(data("mnist"), part) for part in ("train5k", "t10k"))
    assert (len(train.images), len(test.images)) == (5000, 10000)
    assert [len(rows) for rows in train.rows] == [500] * 10
    seen = {image.numpy().tobytes() for image in train.images}
    assert not any(image.numpy().tobytes() in seen for image in test.images)


def idx(tensor: torch.Tensor) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in tensor.shape)
    return bytes([0, 0, 8, tensor.dim()]) + sizes + tensor.numpy().tobytes()


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        (torch.zeros(3, 28, 28), torch.zeros(2), "for 2 labels"),
        (torch.zeros(2, 20, 28), torch.zeros(2), "of 28 x 28"),
        (torch.zeros(2, 28, 28), torch.tensor([1, 12]), "row 2 is 12, expected 0 to 9"),
        (torch.zeros(2, 28, 28), torch.tensor([1, 2]), "no digit 0, 3"),
    ],
)
def test_bad_digits_are_named(tmp_path: Path, images: torch.Tensor, labels: torch.Tensor, told: str) -> None:
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(images.to(torch.uint8)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels.to(torch.uint8)))
    with pytest.raises(DataError, match=told) as caught:
        read_digits(tmp_path, "t10k")
    assert str(tmp_path) in str(caught.value)
