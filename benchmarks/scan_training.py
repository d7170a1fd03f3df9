"""Training a recurrent layer, forward and backward: the native engine against torch.nn.

    python benchmarks/scan_training.py [--threads 2] [--shape 100,32,256 ...] [--kind LSTM ...] [--rounds 9]
                                       [--ragged]

Each side gets the same inputs and threads and begins without gradients, as after zero_grad in training. A row
is the median time of each, the median ratio of a round with the least and the most, the engine's
multiplications and additions a second, 6 T N G H (C + H) forward and backward with C = H, and their share of
what the machine does in registers, measured before each row. --ragged: lengths drawn from T / 5 .. T, against
a PackedSequence that torch is given ready made. Peephole: a cell that torch lacks, against its own loop in
Python (`kernels="reference"`).
"""

import argparse
from collections.abc import Callable

import torch
from timing import conditions, interleaved, table
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from elman import kernels
from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell
from elman.scan import scan

KINDS: dict[str, tuple[Callable[[int, int], Cell], Callable[[int, int], nn.RNNBase] | None, int]] = {
    "LSTM": (LSTMCell, nn.LSTM, 4),
    "GRU": (GRUCell, nn.GRU, 3),
    "RNN": (ElmanCell, nn.RNN, 1),
    "peephole": (lambda size, hidden: LSTMCell(size, hidden, peepholes=True), None, 4),
}


def train(parameters: list[nn.Parameter], inputs: Tensor, d: Tensor, run: Callable[[], Tensor]) -> None:
    """One forward and backward pass from no gradients."""
    inputs.grad = None
    for parameter in parameters:
        parameter.grad = None
    run().backward(d)


def measure(kind: str, shape: tuple[int, int, int], rounds: int, ragged: bool) -> list[object]:
    steps, batch, hidden = shape
    make, layer_kind, gates = KINDS[kind]
    torch.manual_seed(0)
    cell = make(hidden, hidden)
    inputs, d_inputs = torch.randn(steps, batch, hidden).requires_grad_(), torch.randn(steps, batch, hidden)
    lengths = None
    if ragged:
        lengths = torch.randint(steps // 5, steps + 1, (batch,)).sort(descending=True).values
        lengths[0] = steps

    def way(kernels: str) -> None:
        run = lambda: scan(cell, inputs, lengths=lengths, kernels=kernels)[0]  # noqa: E731
        train(list(cell.parameters()), inputs, d_inputs, run)

    if layer_kind is None:
        peer: Callable[[], None] = lambda: way("reference")  # noqa: E731
    else:
        peer = of_torch(layer_kind(hidden, hidden), inputs.detach(), lengths)
    peak = kernels.native_module().fma_peak("", torch.get_num_threads())
    times = interleaved({"peer": peer, "native": lambda: way("native")}, rounds)
    rows = steps * batch if lengths is None else int(lengths.sum())
    speed = 12 * rows * gates * hidden * hidden / times["native"].median
    return [
        f"{kind} {steps},{batch},{hidden}",
        *(f"{times[name].median * 1e3:.1f}" for name in ("peer", "native")),
        times["peer"].over(times["native"]), f"{speed / 1e9:.0f}", f"{peak / 1e9:.0f}", f"{speed / peak:.0%}",
    ]  # fmt: skip


def of_torch(layer: nn.RNNBase, inputs: Tensor, lengths: Tensor | None) -> Callable[[], None]:
    given: Tensor | PackedSequence = inputs.clone().requires_grad_()
    if lengths is not None:
        packed = pack_padded_sequence(inputs, lengths)
        given = PackedSequence(packed.data.requires_grad_(), packed.batch_sizes)
    data = given.data if isinstance(given, PackedSequence) else given
    d_outputs = torch.randn_like(data)

    def run() -> Tensor:
        outputs = layer(given)[0]
        return outputs.data if isinstance(outputs, PackedSequence) else outputs

    return lambda: train(list(layer.parameters()), data, d_outputs, run)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", action="append", help="T,N,H; may be given several times")
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--ragged", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [
        measure(kind, (int(steps), int(batch), int(hidden)), options.rounds, options.ragged)
        for steps, batch, hidden in (
            text.split(",") for text in options.shape or ["100,32,256", "100,64,512"]
        )
        for kind in options.kind or KINDS
    ]
    print(f"{conditions()}; {'ragged, against PackedSequence' if options.ragged else 'full'}\n")
    header = ("T,N,H", "torch ms", "native ms", "torch / native", "native GFLOP/s", "peak GFLOP/s", "share")
    print(table(header, rows))


if __name__ == "__main__":
    main()
