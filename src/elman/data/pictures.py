"""Pictures by name: a folder of images, arrays of features computed elsewhere, clips of numbered frames.

    folder        images: NAME.jpg, NAME.png                                  (C, H, W) uint8
    features      .npz or .safetensors: an array of each name, .npy: one array, its first axis in the order in
                  which the captions first name the images                    (S, F) or (F,) float
    clips         a folder for each clip with frames that end in their number: 0001.jpg, frame-12.png
                                                                              (T, C, H, W) uint8
    clip features as features: a clip's frames are its rows                   (T, F) float

Arrays are read without pickle. What is read is kept, up to KEPT bytes.
"""

import hashlib
import re
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from elman.data.images import SUFFIXES, ImageShape, read_image
from elman.data.text import read_bytes
from elman.errors import DataError

KEPT = 1 << 30
ARRAYS = (".npy", ".npz", ".safetensors")
NUMBER = re.compile(r"(\d+)$")


class Pictures(ABC):
    """What captions are about, by name."""

    place: str
    """The folder or file, for messages."""

    def __init__(self, place: str | Path) -> None:
        self.place = str(place)
        self._kept: dict[str, Tensor] = {}
        self._bytes = 0

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """What can be asked for."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What a run folder remembers: enough to notice that something has changed."""

    def frames(self, name: str) -> list[str]:
        """The names of a clip's frames, CLIP/FRAME; features have only the numbers of theirs, from 1."""
        return [f"{name}/{number}" for number in range(1, len(self.read(name)) + 1)]

    @abstractmethod
    def _read(self, name: str) -> Tensor:
        """One picture; raises DataError naming its file."""

    def read(self, name: str) -> Tensor:
        """One picture; raises DataError naming the file where it is missing or damaged."""
        if name in self._kept:
            return self._kept[name]
        picture = self._read(name)
        size = picture.numel() * picture.element_size()
        if self._bytes + size <= KEPT:
            self._kept[name] = picture
            self._bytes += size
        return picture


@final
class ImageFolder(Pictures):
    """The images in a folder, each by its file's name."""

    def __init__(self, place: str | Path, shape: ImageShape) -> None:
        super().__init__(place)
        self._shape = shape
        self._files = {path.name: path for path in _entries(Path(place)) if _is_image(path)}
        if not self._files:
            raise DataError(f"{place}: no image in it; expected files that end in {', '.join(SUFFIXES)}")

    @property
    def names(self) -> list[str]:
        return list(self._files)

    def to_json(self) -> dict[str, Any]:
        return _digest(self.place, list(self._files.values()))

    def _read(self, name: str) -> Tensor:
        return read_image(self._files[name], self._shape)


@final
class ClipFolder(Pictures):
    """Clips as folders of numbered frames, in the order of their numbers."""

    def __init__(self, place: str | Path, shape: ImageShape) -> None:
        super().__init__(place)
        self._shape = shape
        self._clips = {path.name: frame_files(path) for path in _entries(Path(place)) if path.is_dir()}
        if not self._clips:
            raise DataError(f"{place}: no clip in it; expected a folder of frames for each")

    @property
    def names(self) -> list[str]:
        return list(self._clips)

    def to_json(self) -> dict[str, Any]:
        return _digest(self.place, [path for frames in self._clips.values() for path in frames])

    def frames(self, name: str) -> list[str]:
        return [f"{name}/{path.name}" for path in self._clips[name]]

    def _read(self, name: str) -> Tensor:
        return read_frames(self._clips[name], self._shape)


@final
class FeatureFile(Pictures):
    """Arrays of features in one file; every one has the same F.

    order: of an .npy file, the names of its rows. Raises DataError, naming file and key.
    """

    def __init__(self, place: str | Path, order: Sequence[str] = ()) -> None:
        super().__init__(place)
        self._arrays = _open_arrays(Path(place), order)
        if not self._arrays:
            raise DataError(f"{place}: no array in it")
        self.features = self._checked(next(iter(self._arrays))).shape[-1]

    @property
    def names(self) -> list[str]:
        return list(self._arrays)

    def to_json(self) -> dict[str, Any]:
        return _digest(self.place, [Path(self.place)])

    def _read(self, name: str) -> Tensor:
        values = self._checked(name)
        if values.shape[-1] != self.features:
            first = next(iter(self._arrays))
            raise DataError(
                f"{self.place}: {name!r} has {values.shape[-1]} features, {first!r} has {self.features}; "
                f"expected the same of all"
            )
        return values

    def _checked(self, name: str) -> Tensor:
        """(S, F) float32, finite, with S and F of at least one."""
        held = self._arrays[name]
        values = _array(self.place, name) if held is None else held
        if values.dtype.kind != "f" or values.ndim not in (1, 2) or not values.size:
            raise DataError(
                f"{self.place}: {name!r} is {values.dtype} of shape {values.shape}, expected floats "
                f"(regions or frames, features)"
            )
        if not np.isfinite(values).all():
            raise DataError(f"{self.place}: {name!r} has a value that is not finite")
        return torch.from_numpy(np.atleast_2d(values).astype(np.float32))


def frame_files(folder: str | Path) -> list[Path]:
    """The frames in a clip's folder by their number; DataError where there is none, or one without number."""
    numbered: dict[int, Path] = {}
    for path in _entries(Path(folder)):
        if not _is_image(path):
            continue
        found = NUMBER.search(path.stem)
        if not found:
            raise DataError(f"{path}: a frame without a number; expected names as 0001.jpg")
        number = int(found[1])
        if number in numbered:
            raise DataError(f"{path}: frame {number} stands there twice, also as {numbered[number].name}")
        numbered[number] = path
    if not numbered:
        raise DataError(f"{folder}: a clip without a frame; expected images as 0001.jpg")
    return [numbered[number] for number in sorted(numbered)]


def read_frames(files: Sequence[Path], shape: ImageShape) -> Tensor:
    """(T, C, H, W) uint8."""
    return torch.stack([read_image(path, shape) for path in files])


def is_array_file(path: str | Path) -> bool:
    """Whether the name is of a file of features."""
    return Path(path).suffix.lower() in ARRAYS


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, by name; raises DataError where it is none."""
    if not folder.is_dir():
        what = "this is a file, expected a folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {what}; check the name")
    return sorted(folder.iterdir())


def _digest(place: str, files: Sequence[Path]) -> dict[str, Any]:
    """One digest over names and contents."""
    digest, size = hashlib.sha256(), 0
    for path in files:
        content = read_bytes(path)
        digest.update(f"{path.name}\0{len(content)}\0".encode())
        digest.update(content)
        size += len(content)
    return {"path": place, "size": size, "sha256": digest.hexdigest()}


def _open_arrays(path: Path, order: Sequence[str]) -> dict[str, Any]:
    """name -> an array, or None where it is read from the file when it is asked for."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the name")
    kind = path.suffix.lower()
    try:
        if kind == ".safetensors":
            with safe_open(path, framework="numpy") as file:
                return dict.fromkeys(file.keys())
        if kind == ".npz":
            with np.load(path) as file:
                return dict.fromkeys(file.files)
        loaded = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read as arrays: {error}") from error
    if loaded.ndim not in (2, 3) or len(loaded) != len(order):
        raise DataError(
            f"{path}: an array of shape {loaded.shape}, expected a row for each of the {len(order)} images "
            f"that the captions name"
        )
    return dict(zip(order, loaded, strict=True))


def _array(path: str, name: str) -> np.ndarray:
    """One array of a file that has them by name."""
    try:
        if Path(path).suffix.lower() == ".npz":
            with np.load(path) as file:
                return file[name]
        with safe_open(path, framework="numpy") as file:
            return file.get_tensor(name)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, SafetensorError) as error:
        raise DataError(f"{path}: {name!r} cannot be read: {error}") from error
