"""CTC's loss and gradient against torch's, and forced alignment: times, and errors against float64.

    python benchmarks/ctc.py --threads 2

Both sides begin with logits (T, N, C) and end with the gradient to them. "call" is elman.ctc_loss and
backward(), as a training loop has it; "kernel" is the same work without autograd's. A round is as many calls
of each side as torch makes in about 20 ms.
"""

import argparse
from collections.abc import Callable

import torch
from timing import conditions, interleaved, table
from torch import Tensor
from torch.nn import functional

from elman import ctc_align, ctc_loss
from elman.lattice.ctc_batch import check_batch
from elman.lattice.ctc_native import compute

SHAPES = [(150, 32, 29, 20), (500, 16, 29, 80), (1000, 8, 29, 200), (300, 16, 5000, 30), (50, 128, 12, 5)]
"""T, N, C, L."""


def torchs(logits: Tensor, targets: Tensor, frames: Tensor, lengths: Tensor) -> Tensor:
    return functional.ctc_loss(logits.log_softmax(2), targets, frames, lengths, reduction="sum")


def owns(logits: Tensor, *rest: Tensor) -> Tensor:
    return ctc_loss(logits, *rest, reduction="sum")


def gradient(loss: Callable[..., Tensor], values: Tensor, rest: tuple[Tensor, ...]) -> Tensor:
    leaf = values.clone().requires_grad_()
    loss(leaf, *rest).backward()
    assert leaf.grad is not None
    return leaf.grad


def measure(shape: tuple[int, ...], rounds: int) -> tuple[object, ...]:
    time, batch, classes, length = shape
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(time, batch, classes, generator=generator) * 3
    targets = torch.randint(1, classes, (batch, length), generator=generator)
    rest = (targets, torch.full((batch,), time), torch.full((batch,), length))
    # A leaf each: that one side gives back the other's gradient would count as its own time.
    leaves = {loss: values.clone().requires_grad_() for loss in (torchs, owns)}

    def full(loss: Callable[..., Tensor]) -> None:
        leaf = leaves[loss]
        leaf.grad = None
        loss(leaf, *rest).backward()

    rivals: dict[str, Callable[[], object]] = {
        "torch": lambda: full(torchs),
        "call": lambda: full(owns),
        "kernel": lambda: compute(values, check_batch(values, *rest), "sum", 0.0, True),
    }
    once = interleaved({"torch": rivals["torch"]}, rounds=2)["torch"].median
    times = interleaved(rivals, rounds, calls=max(1, round(0.02 / once)))
    exact = gradient(torchs, values.double(), rest)
    errors = [float((gradient(loss, values, rest) - exact).abs().max()) for loss in (torchs, owns)]
    return (
        ",".join(map(str, shape)),
        f"{times['torch'].median * 1e3:.2f}",
        f"{times['call'].median * 1e3:.3f}",
        f"{times['kernel'].median * 1e3:.3f}",
        times["torch"].over(times["call"]),
        times["torch"].over(times["kernel"]),
        f"{errors[0]:.0e}",
        f"{errors[1]:.0e}",
    )


def measure_alignment(frames: int, labels: int, rounds: int) -> tuple[object, ...]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(frames, 1, 29, generator=generator) * 3
    targets = torch.randint(1, 29, (1, labels), generator=generator)
    times = interleaved({"align": lambda: ctc_align(logits, targets)}, rounds)["align"]
    return f"{frames:,}", f"{labels:,}", f"{times.median * 1e3:.1f}", f"{max(times.seconds) * 1e3:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shape", action="append", help="T,N,C,L; may be given several times")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(conditions() + "\n")
    shapes = [tuple(map(int, text.split(","))) for text in options.shape or []] or SHAPES
    header = (
        "T,N,C,L",
        "torch ms",
        "call ms",
        "kernel ms",
        "call: times torch's speed",
        "kernel: times torch's speed",
    )
    rows = [measure(shape, options.rounds) for shape in shapes]
    print(table((*header, "torch's gradient error", "ours"), rows), "\n", flush=True)
    print(
        table(
            ("frames", "labels", "alignment ms", "most"), [measure_alignment(20_000, 3_000, options.rounds)]
        )
    )


if __name__ == "__main__":
    main()
