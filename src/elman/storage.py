"""Files that are there whole or not at all: written to the disk, listed with checksums, verified when read.

A folder is described by its manifest.json: {"files": {name: {"size": bytes, "sha256": digest}}}. It is filled
under a temporary name, every file flushed, the manifest last, and renamed when it is whole. Tensors are
safetensors, everything else JSON; whatever is wrong with what is read is a RunError that names the file.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from elman.errors import RunError

MANIFEST = "manifest.json"
TEMPORARY = ".saving-"
NOT_OURS = "it is damaged or belongs to something else"
UNHARMED = "what was saved before is unharmed; when there is room and it may be written, go on with --resume"


def verify(folder: Path, wanted: Collection[str]) -> dict[str, Any]:
    """Compares every file of a folder with its manifest, which must name those wanted; returns the manifest.

    Raises RunError naming the first file that is missing or differs.
    """
    manifest = read_json(folder / MANIFEST)
    entries = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(entries, dict):
        raise RunError(f"{folder / MANIFEST}: expected a table of files; {NOT_OURS}")
    if missing := [name for name in wanted if name not in entries]:
        raise RunError(f"{folder / MANIFEST}: it does not name {missing[0]}; {NOT_OURS}")
    for name, entry in entries.items():
        # A plain name: no path that leads elsewhere is followed.
        if not isinstance(entry, dict) or not re.fullmatch(r"\w+\.(json|safetensors)", name, re.ASCII):
            raise RunError(f"{folder / MANIFEST}: the entry {name!r} is damaged")
        found = described(folder / name)
        if found["size"] != entry.get("size"):
            raise RunError(
                f"{folder / name}: {found['size']} bytes, expected {entry.get('size')}; it is cut off or not "
                "the file written"
            )
        if found["sha256"] != entry.get("sha256"):
            raise RunError(f"{folder / name}: its checksum is not the one written; the file is damaged")
    return manifest


def write_manifest(folder: Path, run: str | None = None) -> None:
    """Sizes and checksums of the files of a folder; `run`: identity of the run that they belong to."""
    files = {path.name: described(path) for path in sorted(folder.iterdir())}
    write_json(folder / MANIFEST, {"files": files} if run is None else {"run": run, "files": files})


def described(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, of which no more than a part is in memory at a time."""
    with _reading(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"size": file.tell(), "sha256": digest}


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file, flushed to disk."""
    content = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    write_file(path, safetensors.torch.save(content))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; raises RunError naming it where it is not one."""
    try:
        return safetensors.torch.load(read_bytes(path))
    except SafetensorError as error:
        raise RunError(f"{path}: not a safetensors file: {error}") from error
    except KeyError as error:  # how safetensors says that torch has no such type
        raise RunError(f"{path}: tensors of type {error} cannot be read; {NOT_OURS}") from error


def write_json(path: Path, content: Any) -> None:
    """A JSON file, flushed to disk."""
    write_file(
        path, json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
    )


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises RunError naming it where it is not one."""
    try:
        return json.loads(read_bytes(path).decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not JSON: {error}; {NOT_OURS}") from error


def read_bytes(path: Path) -> bytes:
    """The content of a file of a run; raises RunError naming it where it cannot be read."""
    with _reading(path):
        return path.read_bytes()


def names_in(folder: Path) -> list[str] | None:
    """The names in a folder, None where there is no such folder; raises RunError where it cannot be read."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"{folder}: cannot be read: {error.strerror or error}") from error


def write_file(path: Path, content: bytes) -> None:
    """A file with this content, flushed to disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_file(path: Path) -> None:
    """Flushes a file that is there to disk."""
    if path.exists():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Flushes the names in a folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_place(path: Path) -> None:
    """Raises RunError unless a run folder can be made at `path`."""
    if path.exists():
        if not path.is_dir() or any(path.iterdir()):
            raise RunError(f"{path}: already exists; go on with it by --resume, or choose another folder")
        if path.samefile(Path.cwd()):  # the new folder takes its place, and nobody stands in that
            raise RunError(f"{path}: this is the current folder; name one inside it")
    nearest = next(folder for folder in path.absolute().parents if os.path.exists(folder))
    if not nearest.is_dir():
        raise RunError(f"{path}: {nearest} is a file, expected a folder; choose another folder")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise RunError(f"{path}: missing; the run folder is not whole") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextlib.contextmanager
def temporary(final: Path) -> Iterator[Path]:
    """A folder beside `final` to fill and rename; whatever is left of it goes when an error does."""
    folder = final.with_name(TEMPORARY + final.name)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def saying(path: Path, advice: str = UNHARMED) -> Iterator[None]:
    """Turns what the operating system refuses into a RunError that names the place and what is free there."""
    try:
        yield
    except OSError as error:
        place = path.absolute()
        while not os.path.exists(place):
            place = place.parent
        free = shutil.disk_usage(place).free
        why = f"{error.strerror or error} ({free / 2**20:,.1f} MiB free in {place})"
        raise RunError(f"{path}: cannot be written: {why}; {advice}") from error
