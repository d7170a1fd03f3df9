"""Running a recurrent layer over few sequences without gradients: the native engine against torch.nn.

    python benchmarks/scan_inference.py [--threads 2] [--shape 100,1,256 ...] [--kind LSTM ...] [--rounds 9]

A row is the median time of each in microseconds and the median ratio of a round with the least and the
most.
"""

import argparse
from collections.abc import Callable

import torch
from scan_training import KINDS
from timing import conditions, interleaved, table

from elman.scan import scan

SHAPES = ("20,1,64", "100,1,32", "100,1,128", "100,1,256", "100,1,512", "100,2,256", "100,4,256")
SHORT = 0.02
"""Seconds that the calls of a round take together, roughly."""


def measure(kind: str, shape: tuple[int, int, int], rounds: int) -> list[object]:
    steps, batch, hidden = shape
    make, layer_kind, _ = KINDS[kind]
    assert layer_kind is not None, "a cell that torch has"
    torch.manual_seed(0)
    cell, layer, inputs = make(hidden, hidden), layer_kind(hidden, hidden), torch.randn(*shape)
    ways: dict[str, Callable[[], object]] = {
        "torch": lambda: layer(inputs),
        "native": lambda: scan(cell, inputs, kernels="native"),
    }
    with torch.no_grad():
        once = interleaved(ways, 3)["torch"].median
        times = interleaved(ways, rounds, max(1, int(SHORT / once)))
    return [
        f"{kind} {steps},{batch},{hidden}",
        *(f"{times[name].median * 1e6:.0f}" for name in ("torch", "native")),
        times["torch"].over(times["native"]),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = [kind for kind, (_, layer, _) in KINDS.items() if layer is not None]
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", action="append", help="T,N,H; may be given several times")
    parser.add_argument("--kind", action="append", choices=kinds)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for text in options.shape or SHAPES:
        steps, batch, hidden = map(int, text.split(","))
        for kind in options.kind or kinds:
            rows.append(measure(kind, (steps, batch, hidden), options.rounds))
    print(f"{conditions()}\n")
    print(table(("T,N,H", "torch us", "native us", "torch / native"), rows))


if __name__ == "__main__":
    main()
