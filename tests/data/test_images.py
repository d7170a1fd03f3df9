"""Images: what a good file becomes, and every bad one by name."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from elman.data.images import MAX_PIXELS, ImageShape, normalise, read_image
from elman.errors import ConfigError, DataError


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_header(width: int, height: int) -> bytes:
    """A PNG that says its size and holds no pixel."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")


def gradient(height: int = 20, width: int = 30) -> np.ndarray:
    down, across = np.mgrid[:height, :width]
    return np.stack([down * 255 // height, across * 255 // width, (down + across) * 2], -1).astype(np.uint8)


def encoded(array: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_png_is_read_exactly(tmp_path: Path) -> None:
    array = gradient()
    (tmp_path / "a.png").write_bytes(encoded(array, "PNG"))
    image = read_image(tmp_path / "a.png")
    assert image.dtype == torch.uint8
    assert torch.equal(image, torch.from_numpy(array).permute(2, 0, 1))


def test_a_jpeg_is_read_whatever_its_name(tmp_path: Path) -> None:
    array = gradient()
    (tmp_path / "a.png").write_bytes(encoded(array, "JPEG", quality=95))
    image = read_image(tmp_path / "a.png")
    assert image.shape == (3, 20, 30)
    assert (image.float() - torch.from_numpy(array).permute(2, 0, 1)).abs().mean() < 3


@pytest.mark.parametrize(("fit", "corner"), [("crop", 200), ("stretch", 200), ("pad", 0)])
def test_an_image_takes_the_shape_that_is_asked_for(tmp_path: Path, fit: str, corner: int) -> None:
    Image.fromarray(np.full((40, 80), 200, np.uint8)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", ImageShape(16, 16, 1, fit))  # pyrefly: ignore
    assert image.shape == (1, 16, 16)
    assert int(image[0, 0, 0]) == corner
    assert int(image[0, 8, 8]) == 200


def test_crop_keeps_the_middle_and_stretch_keeps_all(tmp_path: Path) -> None:
    array = np.zeros((10, 30), np.uint8)
    array[:, 10:20] = 255
    Image.fromarray(array).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", ImageShape(10, 10, 1)).min() == 255
    assert read_image(tmp_path / "a.png", ImageShape(10, 30, 1, "stretch")).float().mean() == pytest.approx(
        85
    )


def test_sixteen_bits_are_scaled_and_transparency_is_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png", ImageShape(1, 3, 1)).flatten().tolist() == [0, 100, 255]
    Image.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png")[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]


def test_a_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown by a quarter turn to the right
    Image.fromarray(gradient()).save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (3, 30, 20)
    expected = torch.from_numpy(gradient()).permute(2, 0, 1).rot90(-1, (1, 2))
    assert (image.float() - expected).abs().mean() < 4


def test_normalise() -> None:
    image = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert normalise(image, 0.5, 0.25).flatten().tolist() == [-2, 2]


BAD = {
    "missing.png": (None, "no such file"),
    "empty.png": (b"", "the file is empty"),
    "text.jpg": (b"this is no image", "not a JPEG or PNG image"),
    "drawing.png": (b"GIF89a" + bytes(20), "not a JPEG or PNG image"),
    "short.png": (encoded(gradient(), "PNG")[:-60], "truncated or damaged"),
    "short.jpg": (encoded(gradient(90, 90), "JPEG")[:-400], "truncated or damaged"),
    "head.png": (b"\x89PNG\r\n\x1a\n", "its header cannot be read"),
    "crc.png": (encoded(gradient(), "PNG").replace(b"IDAT", b"IDAU"), "damaged"),
    "huge.png": (png_header(5001, 5000), "5001 x 5000 pixels are 25,005,000, expected at most 25,000,000"),
    "bomb.png": (png_header(60_000, 60_000), "more pixels than are decoded, expected at most 25,000,000"),
    "nothing.png": (png_header(0, 7), ""),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_named(tmp_path: Path, name: str) -> None:
    content, told = BAD[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert told in str(caught.value)


def test_size_is_checked_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(png_header(MAX_PIXELS + 1, 1))

    def refuse(self: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", refuse)
    with pytest.raises(DataError, match="scale it down"):
        read_image(tmp_path / "a.png")


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="this is a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 5001, 3), (5, 5, 2)])
def test_shapes_out_of_range(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="expected height and width"):
        ImageShape(*shape)  # pyrefly: ignore
