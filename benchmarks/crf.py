"""CRFs: the loss with its gradient, and decoding, elman against pytorch-crf.

    python benchmarks/crf.py [--shape 100,64,20 ...] [--threads 2] [--rounds 7]

Both layers have the same parameters, scores and tags (T, N, S). Before the times losses and gradients are
compared. Needs pytorch-crf.
"""

import argparse

import torch
import torchcrf
from timing import conditions, interleaved, table

from elman.lattice.crf import CRF


def rows(shape: tuple[int, int, int], rounds: int) -> list[tuple[object, ...]]:
    time, batch, size = shape
    torch.manual_seed(0)
    own, peer = CRF(size), torchcrf.CRF(size)
    peer.load_state_dict({
        "start_transitions": own.start, "transitions": own.transitions, "end_transitions": own.end,
    })  # fmt: skip
    tags = torch.randint(size, (time, batch))
    scores = torch.randn(shape, requires_grad=True)

    def gradient(of_own: bool) -> torch.Tensor:
        scores.grad = None
        loss = own(scores, tags, reduction="sum") if of_own else -peer(scores, tags, reduction="sum")
        loss.backward()
        assert scores.grad is not None
        return scores.grad

    torch.testing.assert_close(gradient(True), gradient(False), rtol=1e-3, atol=1e-4)
    calls = {
        "loss and gradient": (lambda: gradient(True), lambda: gradient(False)),
        "best path": (lambda: own.decode(scores), lambda: peer.decode(scores.detach())),
    }
    found: list[tuple[object, ...]] = []
    for name, (ours, theirs) in calls.items():
        times = interleaved({"elman": ours, "pytorch-crf": theirs}, rounds=rounds)
        ratio = times["pytorch-crf"].over(times["elman"])
        milliseconds = [f"{times[side].median * 1e3:.2f}" for side in ("pytorch-crf", "elman")]
        found.append((name, *shape, *milliseconds, ratio))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", nargs="+", default=["50,32,10", "100,64,20", "500,16,50"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = []
    for given in arguments.shape:
        time, batch, size = (int(number) for number in given.split(","))
        found += rows((time, batch, size), arguments.rounds)
    print(conditions() + "\n")
    print(table(["CRF", "T", "N", "S", "pytorch-crf ms", "elman ms", "times as fast"], found))


if __name__ == "__main__":
    main()
