"""Training a recurrent layer, forward and backward: the native engine against torch.nn.

    python benchmarks/scan_training.py [--threads 2] [--shape 100,32,256 ...] [--rounds 7] [--ragged]

Both sides run in turn, round after round, on the same inputs and threads, so that what else the machine does
reaches both; on one thread the processor's time is taken, on several the wall's. A row is the median of each,
their ratio, the least and most of the ratio over the rounds, and the engine's multiplications and additions a
second: 6 T N G H (C + H), forward and backward, C = H. --ragged: lengths drawn from T / 5 .. T, against a
PackedSequence that torch is given ready made.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell
from elman.scan import scan

KINDS: dict[str, tuple[type[Cell], Callable[[int, int], nn.RNNBase], int]] = {
    "LSTM": (LSTMCell, nn.LSTM, 4),
    "GRU": (GRUCell, nn.GRU, 3),
    "RNN": (ElmanCell, nn.RNN, 1),
}


def interleaved(
    first: Callable[[], None], second: Callable[[], None], rounds: int
) -> list[tuple[float, float]]:
    """Seconds of both in each round, after one round that is not counted."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    pairs = []
    for _ in range(rounds + 1):
        start = clock()
        first()
        middle = clock()
        second()
        pairs.append((middle - start, clock() - middle))
    return pairs[1:]


def measure(kind: str, shape: tuple[int, int, int], rounds: int, ragged: bool) -> str:
    steps, batch, hidden = shape
    cell_kind, layer_kind, gates = KINDS[kind]
    torch.manual_seed(0)
    cell, layer = cell_kind(hidden, hidden), layer_kind(hidden, hidden)
    inputs = torch.randn(steps, batch, hidden)
    lengths = None
    given: torch.Tensor | PackedSequence = inputs.clone().requires_grad_()
    if ragged:
        lengths = torch.randint(steps // 5, steps + 1, (batch,)).sort(descending=True).values
        lengths[0] = steps
        packed = pack_padded_sequence(inputs, lengths)
        given = PackedSequence(packed.data.requires_grad_(), packed.batch_sizes)
    d_given = torch.randn_like(given.data)
    own = inputs.clone().requires_grad_()
    d_own = torch.randn_like(inputs)

    def theirs() -> None:
        outputs = layer(given)[0]
        (outputs.data if ragged else outputs).backward(d_given)

    def ours() -> None:
        scan(cell, own, lengths=lengths, kernels="native")[0].backward(d_own)

    pairs = interleaved(theirs, ours, rounds)
    peer, engine = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratios = [a / b for a, b in pairs]
    rows = steps * batch if lengths is None else int(lengths.sum())
    speed = 12 * rows * gates * hidden * hidden / engine / 1e9
    return (
        f"| {kind} {steps},{batch},{hidden} | {peer * 1e3:.1f} | {engine * 1e3:.1f} | {peer / engine:.2f} "
        f"| {min(ratios):.2f}-{max(ratios):.2f} | {speed:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--shape", action="append", help="T,N,H; may be given several times")
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ragged", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, {'ragged, against PackedSequence' if options.ragged else 'full'}\n")
    print(
        "| T,N,H | torch.nn ms | native ms | ratio | least-most | native GFLOP/s |\n|---|---|---|---|---|---|"
    )
    for text in options.shape or ["100,32,256", "100,64,512"]:
        steps, batch, hidden = map(int, text.split(","))
        for kind in options.kind or KINDS:
            print(measure(kind, (steps, batch, hidden), options.rounds, options.ragged), flush=True)


if __name__ == "__main__":
    main()
