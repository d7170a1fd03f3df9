"""Pictures by name: folders, clips and arrays, and what may be wrong with each."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from elman.data.images import ImageShape
from elman.data.pictures import ClipFolder, FeatureFile, ImageFolder
from elman.errors import DataError

SHAPE = ImageShape(4, 4, 1)


def draw(path: Path, value: int) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)


def test_a_folder_of_images(tmp_path: Path) -> None:
    draw(tmp_path / "b.PNG", 7)
    draw(tmp_path / "a.jpg", 9)
    (tmp_path / "notes.txt").write_text("x")
    pictures = ImageFolder(tmp_path, SHAPE)
    assert pictures.names == ["a.jpg", "b.PNG"]
    assert pictures.read("b.PNG").unique().tolist() == [7]
    before = pictures.to_json()
    draw(tmp_path / "a.jpg", 90)
    assert ImageFolder(tmp_path, SHAPE).to_json()["sha256"] != before["sha256"]


def test_folders_that_will_not_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image in it"):
        ImageFolder(tmp_path, SHAPE)
    with pytest.raises(DataError, match="no clip in it"):
        ClipFolder(tmp_path, SHAPE)
    with pytest.raises(DataError, match="no such folder"):
        ImageFolder(tmp_path / "x", SHAPE)
    (tmp_path / "f").write_text("x")
    with pytest.raises(DataError, match="this is a file, expected a folder"):
        ImageFolder(tmp_path / "f", SHAPE)


def test_clips_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        draw(tmp_path / "clip" / f"f{number}.png", number)
    clips = ClipFolder(tmp_path, SHAPE)
    assert clips.names == ["clip"]
    assert clips.frames("clip") == ["clip/f1.png", "clip/f9.png", "clip/f10.png"]
    assert clips.read("clip")[:, 0, 0, 0].tolist() == [1, 9, 10]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a.png"], "a frame without a number"),
        (["1.png", "01.png"], "frame 1 stands there twice"),
        (["notes.txt"], "a clip without a frame"),
    ],
)
def test_a_bad_clip_is_named(tmp_path: Path, names: list[str], told: str) -> None:
    (tmp_path / "clip").mkdir()
    for name in names:
        if name.endswith("png"):
            draw(tmp_path / "clip" / name, 1)
        else:
            (tmp_path / "clip" / name).write_text("x")
    with pytest.raises(DataError, match=told) as caught:
        ClipFolder(tmp_path, SHAPE)
    assert str(tmp_path / "clip") in str(caught.value)


def test_features_by_name_and_by_order(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, np.float32)}
    np.savez(tmp_path / "f.npz", **arrays)
    save_file(arrays, tmp_path / "f.safetensors")
    np.save(tmp_path / "f.npy", np.stack([arrays["a"], arrays["a"] + 1]))
    for name in ("f.npz", "f.safetensors"):
        features = FeatureFile(tmp_path / name)
        assert (sorted(features.names), features.features) == (["a", "b"], 3)
        assert torch.equal(features.read("a"), torch.arange(6.0).reshape(2, 3))
        assert features.read("b").shape == (1, 3)
        assert features.frames("a") == ["a/1", "a/2"]
    ordered = FeatureFile(tmp_path / "f.npy", ["y", "x"])
    assert torch.equal(ordered.read("x"), torch.arange(6.0).reshape(2, 3) + 1)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.array([1, 2]), "'b' is int64 of shape"),
        (np.zeros((1, 2, 3)), "expected floats"),
        (np.zeros((0, 3)), "expected floats"),
        (np.array([[1.0, np.nan, 0.0]]), "not finite"),
        (np.zeros((1, 4)), "'b' has 4 features, 'a' has 3"),
        (np.array([{"x": 1}]), "cannot be read"),
    ],
)
def test_bad_features_are_named(tmp_path: Path, array: np.ndarray, told: str) -> None:
    np.savez(tmp_path / "f.npz", a=np.zeros((2, 3), np.float32), b=array)
    with pytest.raises(DataError, match=told) as caught:
        FeatureFile(tmp_path / "f.npz").read("b")
    assert str(tmp_path / "f.npz") in str(caught.value)


def test_files_that_are_no_arrays(tmp_path: Path) -> None:
    for name in ("f.npz", "f.npy", "f.safetensors"):
        with pytest.raises(DataError, match="no such file"):
            FeatureFile(tmp_path / name)
        (tmp_path / name).write_bytes(b"this is text, no array")
        with pytest.raises(DataError, match="cannot be read as arrays"):
            FeatureFile(tmp_path / name)
    np.save(tmp_path / "f.npy", np.zeros((3, 2)))
    with pytest.raises(DataError, match="expected a row for each of the 2 images"):
        FeatureFile(tmp_path / "f.npy", ["a", "b"])
    np.save(tmp_path / "f.npy", np.array([{"a": 1}]))
    with pytest.raises(DataError, match="cannot be read as arrays"):  # pickled objects
        FeatureFile(tmp_path / "f.npy", ["a"])
