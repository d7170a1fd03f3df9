"""The share of an attention that lies on a box, by hand."""

import importlib.util
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SPECIFICATION = importlib.util.spec_from_file_location("mnist_scenes", ROOT / "reproduce" / "mnist_scenes.py")
assert SPECIFICATION is not None
assert SPECIFICATION.loader is not None
scenes = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(scenes)


@pytest.mark.parametrize(
    ("box", "loose", "strict"),
    [
        ((16, 24, 24, 32), 1.0, 1.0),  # the square of region (2, 3) itself
        ((18, 24, 24, 28), 1.0, 6 * 4 / 64),
        ((24, 24, 40, 32), 0.0, 0.0),  # the one below it
        ((0, 0, 64, 64), 1.0, 1.0),
    ],
)
def test_all_weight_on_one_region(box: tuple[int, int, int, int], loose: float, strict: float) -> None:
    weights = torch.zeros(8, 8)
    weights[2, 3] = 1
    assert scenes.share(weights, box, False) == pytest.approx(loose)
    assert scenes.share(weights, box, True) == pytest.approx(strict)


def test_equal_weights_give_the_share_of_area() -> None:
    even = torch.full((8, 8), 1 / 64)
    assert scenes.share(even, (3, 5, 20, 31), True) == pytest.approx(17 * 26 / 64**2)
    assert scenes.share(even, (3, 5, 20, 31), False) == pytest.approx(3 * 4 / 64)
