"""What the machine can do at most: multiplications and additions in registers, and reading memory.

    python benchmarks/machine.py [--threads 1 2]

The peak is that of the engine's own multiply-and-add (csrc/scan/peak.h) on the widest instruction set.
Reading is the sum of a float32 array, again and again, by torch: the best of ten rounds, for arrays that fit
the second cache, the third, and neither. What is read in the second cache is more than torch's sum can show.
"""

import argparse
import time

import torch
from timing import conditions, table

from elman import kernels

SIZES = {"0.5 MiB": 1 << 17, "8 MiB": 1 << 21, "20 MiB": 5 << 20, "512 MiB": 1 << 27}
"""Floats."""


def reading(floats: int) -> float:
    """Bytes a second."""
    array = torch.ones(floats)
    turns = max(1, (1 << 27) // floats)
    best = 0.0
    for _ in range(10):
        start = time.perf_counter()
        for _ in range(turns):
            array.sum()
        best = max(best, 4.0 * floats * turns / (time.perf_counter() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    rows = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        peak = kernels.native_module().fma_peak(kernels.instructions(), threads)
        read = [f"{reading(floats) / 1e9:.0f}" for floats in SIZES.values()]
        rows.append([threads, kernels.instructions(), f"{peak / 1e9:.0f}", *read])
    print(f"{conditions()}\n")
    print(table(["threads", "instructions", "GFLOP/s", *(f"{name}, GB/s" for name in SIZES)], rows))


if __name__ == "__main__":
    main()
