"""The run folder: what training leaves and everything else reads. safetensors and JSON, nothing that runs
code.

    RUN/run.json            format, task, settings, files with their checksums
    RUN/codec.json          the codec
    RUN/manifest.json       sizes and SHA-256 of the two above
    RUN/metrics.jsonl       one record a line, appended while training
    RUN/checkpoints/update-00000500/
        weights.safetensors  optimizer.safetensors  carry.safetensors  progress.json
        manifest.json        written last

A checkpoint is written to a temporary folder, every file and the folder flushed to disk, its manifest last,
and then renamed
to its name: whatever happens before the rename, the earlier checkpoints stand as they did. The two newest
and the best
are kept.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from elman.errors import RunError
from elman.tasks import find_task
from elman.tasks.base import Task
from elman.tasks.config import validate

FORMAT = 1
MANIFEST = "manifest.json"
TEMPORARY = ".saving-"
KEEP = 2


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read: tensors by part (weights, optimizer, carry) and the progress record."""

    path: Path
    tensors: dict[str, dict[str, Tensor]]
    progress: dict[str, Any]


class Run:
    """A run folder that exists and whose description is whole.

    `notify` is told the name of each step of a save as it has been done (tests fail or kill there).
    """

    def __init__(self, path: str | Path, notify: Callable[[str], None] = lambda step: None) -> None:
        self.path = Path(path)
        self.notify = notify
        if not (self.path / "run.json").exists():
            kind = "this folder is not a run" if self.path.is_dir() else "no such run folder"
            raise RunError(
                f"{self.path}: {kind} (it has no run.json); make one with elman train TASK FILE... -o "
                f"{self.path}"
            )
        verify(self.path)
        self.description: dict[str, Any] = read_json(self.path / "run.json")
        self.codec: Any = read_json(self.path / "codec.json")
        if self.description.get("format") != FORMAT:
            raise RunError(
                f"{self.path / 'run.json'}: format {self.description.get('format')!r}, this version of elman "
                f"reads {FORMAT}"
            )

    @classmethod
    def create(
        cls,
        path: str | Path,
        description: Mapping[str, Any],
        codec: Any,
        notify: Callable[[str], None] = lambda step: None,
    ) -> "Run":
        """A new run folder at `path`, which must not exist or be empty; raises RunError otherwise."""
        path = Path(path)
        with _saying(path):
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise RunError(f"{path}: already exists; go on with it by --resume, or choose another folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            with _temporary(path) as folder:
                write_json(folder / "run.json", {"format": FORMAT, **description})
                write_json(folder / "codec.json", codec)
                write_manifest(folder)
                flush_folder(folder)
                folder.rename(path)
                flush_folder(path.parent)
        return cls(path, notify)

    def task(self) -> Task:
        """The task that was trained here, with its settings and codec.

        Raises ConfigError or DataError naming the file.
        """
        place = str(self.path / "run.json")
        kind = find_task(str(self.description.get("task")), place)
        config = validate(kind, self.description.get("config", {}), place)
        return kind.restore(
            config, self.codec, list(self.description.get("files", [])), str(self.path / "codec.json")
        )

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    def checkpoints(self) -> list[Path]:
        """The checkpoints' folders, oldest first."""
        return sorted((self.path / "checkpoints").glob("update-*"))

    def best(self) -> Path | None:
        """The checkpoint with the smallest validation figure (nats) of those that are there.

        None where none has one.
        """
        there = {path.name: path for path in self.checkpoints()}
        figures = {
            checkpoint_name(record["update"]): record["nats"]
            for record in self.records()
            if record["kind"] == "valid" and "nats" in record
        }
        return min(
            (there[name] for name in there if name in figures), key=lambda p: figures[p.name], default=None
        )

    def save(
        self, update: int, tensors: Mapping[str, Mapping[str, Tensor]], progress: Mapping[str, Any]
    ) -> Path:
        """Writes the checkpoint after `update` updates, whole or not at all; raises RunError where the disk
        refuses.

        One that is there already is left as it is: the same update has the same content.
        """
        final = self.path / "checkpoints" / checkpoint_name(update)
        if final.exists():
            return final
        with _saying(final):
            final.parent.mkdir(exist_ok=True)
            with _temporary(final) as folder:
                self.notify("folder made")
                for part, content in tensors.items():
                    write_tensors(folder / f"{part}.safetensors", content)
                    self.notify(f"{part} written")
                write_json(folder / "progress.json", progress)
                self.notify("progress written")
                write_manifest(folder)
                self.notify("manifest written")
                flush_folder(folder)
                self.notify("folder flushed")
                flush_file(self.metrics_path)
                self.notify("records flushed")
                folder.rename(final)
                self.notify("renamed")
                flush_folder(final.parent)
            self._prune()
            self.notify("old removed")
        return final

    def load(self, which: str = "best", parts: tuple[str, ...] = ("weights",)) -> Checkpoint:
        """Reads and verifies a checkpoint: "best" (the newest where none is the best yet), "newest", or a
        folder's name.

        Raises RunError naming the file where one is missing, damaged or does not belong there.
        """
        found = self.checkpoints()
        if not found:
            raise RunError(f"{self.path}: no checkpoint yet; go on with elman train --resume -o {self.path}")
        if which in ("best", "newest"):
            path = (self.best() if which == "best" else None) or found[-1]
        else:
            path = self.path / "checkpoints" / which
        if not path.is_dir():
            names = ", ".join(folder.name for folder in found)
            raise RunError(f"{path}: no such checkpoint; there are {names}")
        try:
            verify(path)
        except RunError as error:
            others = [folder.name for folder in found if folder != path]
            advice = (
                f"; of the others ({', '.join(others)}) one may be whole: --checkpoint {others[-1]}"
                if others
                else ""
            )
            raise RunError(f"{error}{advice}") from error
        tensors = {part: read_tensors(path / f"{part}.safetensors") for part in parts}
        return Checkpoint(path, tensors, read_json(path / "progress.json"))

    def records(self) -> list[dict[str, Any]]:
        """What training recorded, in order; a last line that was cut off by a crash is left out.

        Raises RunError naming the line where another is damaged.
        """
        records: list[dict[str, Any]] = []
        content = read_bytes(self.metrics_path) if self.metrics_path.exists() else b""
        lines = content.split(b"\n")
        for row, line in enumerate(lines[:-1], 1):  # the last is empty, or was never finished
            try:
                record = json.loads(line)
            except ValueError as error:
                raise RunError(
                    f"{self.metrics_path}: line {row} is damaged: {error}; remove it to go on"
                ) from error
            records.append(record)
        return records

    def keep_records(self, update: int) -> None:
        """Drops the records after `update`: those of work that was lost and will be done again."""
        kept = [record for record in self.records() if record["update"] <= update]
        with _saying(self.metrics_path):
            write_file(self.path / f"{TEMPORARY}metrics", b"".join(_line(record) for record in kept))
            (self.path / f"{TEMPORARY}metrics").rename(self.metrics_path)
            flush_folder(self.path)

    def record(self, record: Mapping[str, Any]) -> None:
        """Appends a record to metrics.jsonl at once."""
        line = _line(record)
        with _saying(self.metrics_path), self.metrics_path.open("ab", buffering=0) as file:
            if file.write(line) != len(line):
                raise OSError("the line was not written whole; the disk may be full")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run for one training process, and clears away what a killed one left.

        RunError where it is held.
        """
        with contextlib.ExitStack() as stack:
            with _saying(self.path):
                file = stack.enter_context((self.path / "lock").open("w"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise RunError(
                        f"{self.path}: another process is training this run; wait for it or stop it"
                    ) from error
                for left in [
                    *self.path.glob(f"{TEMPORARY}*"),
                    *(self.path / "checkpoints").glob(f"{TEMPORARY}*"),
                ]:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield

    def _prune(self) -> None:
        best = self.best()
        for old in self.checkpoints()[:-KEEP]:
            if old != best:
                # Renamed first: a folder that is half removed must not look like a checkpoint.
                gone = old.with_name(TEMPORARY + old.name)
                old.rename(gone)
                shutil.rmtree(gone)


def checkpoint_name(update: int) -> str:
    """update-00000500"""
    return f"update-{update:08d}"


def verify(folder: Path) -> None:
    """Compares every file of a folder with its manifest; raises RunError naming the first that differs."""
    manifest = read_json(folder / MANIFEST)
    entries = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(entries, dict):
        raise RunError(
            f"{folder / MANIFEST}: expected a table of files; it is damaged or belongs to something else"
        )
    for name, entry in entries.items():
        if not isinstance(entry, dict) or Path(name).name != name:
            raise RunError(f"{folder / MANIFEST}: the entry {name!r} is damaged")
        content = read_bytes(folder / name)
        if len(content) != entry.get("size"):
            raise RunError(
                f"{folder / name}: {len(content)} bytes, expected {entry.get('size')}; it is cut off or not "
                "the file written"
            )
        if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
            raise RunError(f"{folder / name}: its checksum is not the one written; the file is damaged")


def write_manifest(folder: Path) -> None:
    """Sizes and checksums of the files of a folder."""
    files = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        files[path.name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    write_json(folder / MANIFEST, {"files": files})


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


def write_json(path: Path, content: Any) -> None:
    """A JSON file, flushed to disk."""
    write_file(
        path, json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
    )


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises RunError naming it where it is not one."""
    try:
        return json.loads(read_bytes(path).decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise RunError(
            f"{path}: not JSON: {error}; the file is damaged or belongs to something else"
        ) from error


def read_bytes(path: Path) -> bytes:
    """The content of a file of a run; raises RunError naming it where it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RunError(f"{path}: missing; the run folder is not whole") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error


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


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


@contextlib.contextmanager
def _temporary(final: Path) -> Iterator[Path]:
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
def _saying(path: Path) -> Iterator[None]:
    """Turns what the operating system refuses into a RunError that names the place and what is free there."""
    try:
        yield
    except OSError as error:
        place = path
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        raise RunError(
            f"{path}: cannot be written: {error.strerror or error} ({free / 2**20:,.0f} MiB free there); "
            "what was saved before is "
            f"unharmed; make room or choose another folder, and go on with --resume"
        ) from error
