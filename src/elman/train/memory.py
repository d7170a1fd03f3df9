"""How much memory there is, so that a size that cannot fit is refused before it is tried."""

from pathlib import Path

from elman.errors import ConfigError

GIB = 2**30


def available_memory() -> int | None:
    """Bytes that this process can still use: what the system has, or what its control group allows if less.

    None where the system does not say (it has no /proc/meminfo).
    """
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text().strip()) != "max":
        free = min(free, int(text) - int(used.read_text()))
    return free


def check_memory(needed: int, what: str) -> None:
    """Raises ConfigError, with both figures, where `needed` bytes are more than there are."""
    free = available_memory()
    if free is not None and needed > free:
        raise ConfigError(
            f"{what} needs about {needed / GIB:,.1f} GiB of memory, {free / GIB:,.1f} GiB are free; make "
            "model.hidden, "
            f"train.batch or train.window smaller"
        )
