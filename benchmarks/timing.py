"""Times of rivals in one interleaved run, and the tables of their ratios.

Every rival does the same work in turn, round after round, so that what else the machine does reaches them
all; the order is turned round at every other round. A ratio is taken within a round and its median over the
rounds is quoted, with the least and the most seen. One round more is run first and not counted: it pays for
caches, threads and compilation.
"""

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Times:
    """Seconds of one rival, a number a round; the rounds of all rivals belong together."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def over(self, other: "Times") -> "Ratio":
        """How many times as long as `other` this one takes."""
        ratios = sorted(a / b for a, b in zip(self.seconds, other.seconds, strict=True))
        return Ratio(statistics.median(ratios), ratios[0], ratios[-1])


@dataclass(frozen=True)
class Ratio:
    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f}-{self.most:.2f})"


def interleaved(
    rivals: Mapping[str, Callable[[], object]], rounds: int = 7, calls: int = 1
) -> dict[str, Times]:
    """The wall time of one call of every rival in each round.

    calls: how often a rival is called in a round, for work that is too short for the clock.
    """
    names = list(rivals)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names if turn % 2 else reversed(names):
            call = rivals[name]
            start = time.perf_counter()
            for _ in range(calls):
                call()
            seconds[name].append((time.perf_counter() - start) / calls)
    return {name: Times(values[1:]) for name, values in seconds.items()}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    lines += [" | ".join(str(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def conditions() -> str:
    """One line on what the figures were taken with: processor, threads, versions."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # another system, or a processor that does not tell its name
        pass
    threads, python = torch.get_num_threads(), platform.python_version()
    return f"{name}, {threads} threads, Python {python}, torch {torch.__version__}"
