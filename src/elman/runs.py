"""The run folder: what training leaves and everything else reads; safetensors and JSON, no code.

    RUN/run.json            format, task, settings, files with their checksums
    RUN/codec.json          the codec
    RUN/manifest.json       sizes and SHA-256 of the two above
    RUN/metrics.jsonl       one record a line, appended while training
    RUN/checkpoints/update-00000500/
        weights.safetensors  optimizer.safetensors  carry.safetensors  progress.json
        manifest.json        written last: sizes and SHA-256 of these four, and of the run.json they belong to

A checkpoint is written to a temporary folder, every file and the folder flushed to disk, its manifest last,
and then renamed to its name: whatever happens before the rename, the earlier checkpoints stand as they did.
The two newest and the best are kept.
"""

import contextlib
import fcntl
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from elman import storage
from elman.errors import RunError
from elman.tasks import find_task
from elman.tasks.base import Task
from elman.tasks.config import validate

FORMAT = 1
DESCRIPTION = ("run.json", "codec.json")
PROGRESS = "progress.json"
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
        names = storage.names_in(self.path)
        if names is None or not {storage.MANIFEST, *DESCRIPTION} & set(names):
            kind = "no such run folder" if names is None else "this folder is not a run (it has no run.json)"
            raise RunError(f"{self.path}: {kind}; make one with elman train TASK FILE... -o {self.path}")
        manifest = storage.verify(self.path, DESCRIPTION)
        self.identity: str = manifest["files"]["run.json"]["sha256"]
        self.description: dict[str, Any] = storage.read_json(self.path / "run.json")
        self.codec: Any = storage.read_json(self.path / "codec.json")
        self._check_description()

    def _check_description(self) -> None:
        place, description = self.path / "run.json", self.description
        if not isinstance(description, dict) or description.get("format") != FORMAT:
            form = description.get("format") if isinstance(description, dict) else None
            raise RunError(f"{place}: format {form!r}, this version of elman reads {FORMAT}")
        if missing := {"elman", "created", "task", "config", "files"} - set(description):
            raise RunError(f"{place}: {min(missing)!r} is missing; {storage.NOT_OURS}")
        kinds = {"path": str, "size": int, "sha256": str}
        files = description["files"]
        if not isinstance(files, list) or not all(
            isinstance(file, dict) and all(isinstance(file.get(key), kind) for key, kind in kinds.items())
            for file in files
        ):
            raise RunError(
                f"{place}: expected a list of path, size and sha256 under 'files'; {storage.NOT_OURS}"
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
        with storage.saying(path, "choose another folder, or make room and make it writable"):
            storage.check_place(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            with storage.temporary(path) as folder:
                storage.write_json(folder / "run.json", {"format": FORMAT, **description})
                storage.write_json(folder / "codec.json", codec)
                storage.write_manifest(folder)
                storage.flush_folder(folder)
                folder.rename(path)
                storage.flush_folder(path.parent)
        return cls(path, notify)

    def task(self) -> Task:
        """The task that was trained here, with its settings and codec.

        Raises ConfigError or DataError naming the file.
        """
        place = str(self.path / "run.json")
        kind = find_task(str(self.description["task"]), place)
        config = validate(kind, self.description["config"], place)
        return kind.restore(config, self.codec, self.description["files"], str(self.path / "codec.json"))

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    def checkpoints(self) -> list[Path]:
        """The checkpoints' folders, oldest first."""
        folder = self.path / "checkpoints"
        names = [name for name in storage.names_in(folder) or () if _update_of(name) is not None]
        return [folder / name for name in sorted(names, key=lambda name: (len(name), name))]

    def best(self) -> Path | None:
        """The checkpoint with the smallest validation figure (nats) of those that are there.

        None where none has one.
        """
        there = {path.name: path for path in self.checkpoints()}
        figures = {
            checkpoint_name(record["update"]): record["nats"]
            for record in self.records()
            if record["kind"] == "valid" and math.isfinite(record.get("nats", math.nan))
        }
        return min(
            (there[name] for name in there if name in figures), key=lambda p: figures[p.name], default=None
        )

    def save(
        self, update: int, tensors: Mapping[str, Mapping[str, Tensor]], progress: Mapping[str, Any]
    ) -> Path:
        """Writes the checkpoint after `update` updates, whole or not at all.

        One that is there already is left as it is: the same update has the same content. Raises RunError
        where the disk refuses.
        """
        final = self.path / "checkpoints" / checkpoint_name(update)
        with storage.saying(final):
            if final.exists():
                return final
            if not final.parent.exists():
                final.parent.mkdir()
                storage.flush_folder(self.path)
            with storage.temporary(final) as folder:
                self.notify("folder made")
                for part, content in tensors.items():
                    storage.write_tensors(folder / f"{part}.safetensors", content)
                    self.notify(f"{part} written")
                storage.write_json(folder / PROGRESS, progress)
                self.notify("progress written")
                storage.write_manifest(folder, self.identity)
                self.notify("manifest written")
                storage.flush_folder(folder)
                self.notify("folder flushed")
                storage.flush_file(self.metrics_path)
                self.notify("records flushed")
                folder.rename(final)
                self.notify("renamed")
                storage.flush_folder(final.parent)
                self.notify("name flushed")
            self._prune()
            self.notify("old removed")
        return final

    def load(self, which: str = "best", parts: tuple[str, ...] = ("weights",)) -> Checkpoint:
        """Reads and verifies a checkpoint: "best" (the newest, where none is), "newest", or a folder's name.

        Raises RunError naming the file where one is missing, damaged or does not belong there.
        """
        found = self.checkpoints()
        if not found:
            raise RunError(f"{self.path}: no checkpoint yet; go on with elman train --resume -o {self.path}")
        names = [folder.name for folder in found]
        if which in ("best", "newest"):
            path = (self.best() if which == "best" else None) or found[-1]
        elif which in names:
            path = found[names.index(which)]
        else:
            raise RunError(f"{self.path}: no checkpoint {which!r}; there are {', '.join(names)}")
        try:
            return self._read(path, parts)
        except RunError as error:
            others = [name for name in names if name != path.name]
            if not others:
                raise
            raise RunError(
                f"{error}; {others[-1]} may be whole: use it by --checkpoint {others[-1]}, or remove {path} "
                "to go on training without it"
            ) from error

    def _read(self, path: Path, parts: tuple[str, ...]) -> Checkpoint:
        manifest = storage.verify(path, [*(f"{part}.safetensors" for part in parts), PROGRESS])
        if manifest.get("run") != self.identity:
            raise RunError(
                f"{path / storage.MANIFEST}: this is a checkpoint of another run, not of {self.path}"
            )
        progress = storage.read_json(path / PROGRESS)
        update = progress.get("update") if isinstance(progress, dict) else None
        if update is None or update != _update_of(path.name):
            raise RunError(f"{path / PROGRESS}: it tells of update {update}, which is not that of its folder")
        return Checkpoint(
            path, {part: storage.read_tensors(path / f"{part}.safetensors") for part in parts}, progress
        )

    def records(self) -> list[dict[str, Any]]:
        """What training recorded, in order; a last line that was cut off by a crash is left out.

        Raises RunError where the file is missing though there are checkpoints, or naming a damaged line.
        """
        if not self.metrics_path.exists() and not self.checkpoints():
            return []
        lines = storage.read_bytes(self.metrics_path).split(b"\n")
        # The last is empty, or was never finished.
        return [self._parse(row, line) for row, line in enumerate(lines[:-1], 1)]

    def _parse(self, row: int, line: bytes) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            why = str(error)
        else:
            if (
                isinstance(record, dict)
                and record.get("kind") in ("train", "valid")
                and type(record.get("update")) is int
                and type(record.get("nats", 0.0)) is float
            ):
                return record
            why = "it is no record of training or validation"
        raise RunError(f"{self.metrics_path}: line {row} is damaged: {why}; remove it to go on")

    def keep_records(self, update: int) -> None:
        """Drops the records after `update`: those of work that was lost and will be done again."""
        kept = b"".join(_line(record) for record in self.records() if record["update"] <= update)
        if self.metrics_path.exists() and storage.read_bytes(self.metrics_path) == kept:
            return
        new = self.path / f"{storage.TEMPORARY}metrics"
        with storage.saying(self.metrics_path):
            try:
                storage.write_file(new, kept)
                new.rename(self.metrics_path)
            finally:
                new.unlink(missing_ok=True)
            storage.flush_folder(self.path)

    def record(self, record: Mapping[str, Any]) -> None:
        """Appends a record to metrics.jsonl at once."""
        rest = memoryview(_line(record))
        with storage.saying(self.metrics_path), self.metrics_path.open("ab", buffering=0) as file:
            while rest:  # a disk that fills up takes a part of the line first
                rest = rest[file.write(rest) :]

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run for one training process, and clears away what a killed one left.

        Raises RunError where another process holds it.
        """
        with contextlib.ExitStack() as stack:
            with storage.saying(self.path):
                file = stack.enter_context((self.path / "lock").open("w"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise RunError(
                        f"{self.path}: another process is training this run; wait for it or stop it"
                    ) from error
                for left in [
                    *self.path.glob(f"{storage.TEMPORARY}*"),
                    *(self.path / "checkpoints").glob(f"{storage.TEMPORARY}*"),
                ]:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield

    def _prune(self) -> None:
        best = self.best()
        for old in self.checkpoints()[:-KEEP]:
            if old != best:
                # Renamed first: a folder that is half removed must not look like a checkpoint.
                gone = old.with_name(storage.TEMPORARY + old.name)
                old.rename(gone)
                try:
                    self.notify("old set aside")
                finally:
                    shutil.rmtree(gone)


def checkpoint_name(update: int) -> str:
    """update-00000500"""
    return f"update-{update:08d}"


def _update_of(name: str) -> int | None:
    """The update that a checkpoint's name tells; None where it is not one."""
    number = re.fullmatch(r"update-([0-9]{8,18})", name)
    return int(number[1]) if number and checkpoint_name(int(number[1])) == name else None


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"
