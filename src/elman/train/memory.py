"""How much memory there is, so that a size that cannot fit is refused before it is tried.

Linux tells it in three places: /proc/meminfo for the machine, and for the control groups of the process (a
container is one) /sys/fs/cgroup in their version 2, /sys/fs/cgroup/memory in their version 1.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from elman.errors import ConfigError

GIB = 2**30


class _Version(NamedTuple):
    """Where a version of control groups keeps its figures, in bytes; `files`: what only caches files."""

    folder: str
    limit: str
    used: str
    files: str


_VERSIONS = {
    "": _Version("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": _Version(
        "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    ),
}
"""By the controllers that /proc/self/cgroup names."""


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still use: what the system has, or what its control groups allow if less.

    None where the system does not say (it is not Linux). root: where /proc and /sys are.
    """
    free = _table(root / "proc/meminfo").get("MemAvailable:")
    return None if free is None else max(0, min([free * 1024, *_rooms(root)]))


def check_memory(needed: int, what: str) -> None:
    """Raises ConfigError, with both figures, where `needed` bytes are more than there are."""
    free = available_memory()
    if free is not None and needed > free:
        raise ConfigError(
            f"{what} needs about {needed / GIB:,.1f} GiB of memory, {free / GIB:,.1f} GiB are free; make "
            f"model.hidden or the batches smaller (train.batch and train.window, or train.tokens)"
        )


def _rooms(root: Path) -> Iterator[int]:
    """What each control group above this process still allows; caches of files are given back when asked."""
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, own = line.split(":", 2)
        for version in {_VERSIONS[name] for name in controllers.split(",") if name in _VERSIONS}:
            top = root / version.folder
            group = top / own.lstrip("/")
            for folder in (group, *group.parents):
                limit = folder / version.limit
                if (
                    folder.is_relative_to(top)
                    and limit.exists()
                    and (text := limit.read_text().strip()) != "max"
                ):
                    cached = _table(folder / "memory.stat").get(version.files, 0)
                    yield int(text) - int((folder / version.used).read_text()) + cached


def _table(path: Path) -> dict[str, int]:
    """The lines "name number ..." of a file of the kernel's; none where there is no such file."""
    rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return {row[0]: int(row[1]) for row in rows if len(row) > 1}
