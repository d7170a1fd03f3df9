"""Training a recurrent layer with products of bfloat16, forward and backward, against float32.

    python benchmarks/bfloat16_training.py [--threads 2] [--shape 100,32,256 ...] [--rounds 7]

torch.nn in float32, elman's engine in float32 and in bfloat16, and torch's own bfloat16 kernel where it has
one (the LSTM's) run in turn on the same inputs. Ratios are those of torch.nn's time to the others'.
"""

import argparse
from collections.abc import Callable

import torch
from timing import conditions, interleaved, table
from torch import nn

from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell
from elman.scan import scan

KINDS: dict[str, tuple[type[Cell], Callable[[int, int], nn.RNNBase]]] = {
    "LSTM": (LSTMCell, nn.LSTM),
    "GRU": (GRUCell, nn.GRU),
    "RNN": (ElmanCell, nn.RNN),
}


def measure(kind: str, shape: tuple[int, int, int], rounds: int) -> list[object]:
    steps, batch, hidden = shape
    torch.manual_seed(0)
    make_cell, make_layer = KINDS[kind]
    cell, layer = make_cell(hidden, hidden), make_layer(hidden, hidden)
    inputs = torch.randn(steps, batch, hidden, requires_grad=True)
    d_outputs = torch.randn(steps, batch, hidden)

    def train(kernels: str | None, compute: torch.dtype | None) -> Callable[[], None]:
        def call() -> None:
            inputs.grad = None
            for module in (cell, layer):
                module.zero_grad()
            outputs = (
                layer(inputs)[0]
                if kernels is None
                else scan(cell, inputs, kernels=kernels, compute=compute)[0]
            )
            outputs.backward(d_outputs)

        return call

    rivals = {
        "torch.nn": train(None, None),
        "float32": train("native", None),
        "bfloat16": train("native", torch.bfloat16),
    }
    if kind == "LSTM":
        rivals["torch bfloat16"] = train("torch", torch.bfloat16)
    times = interleaved(rivals, rounds)
    base = times["torch.nn"]
    torch_half = base.over(times["torch bfloat16"]) if "torch bfloat16" in times else "-"
    return [
        f"{kind} {','.join(map(str, shape))}",
        *(f"{times[name].median * 1e3:.1f}" for name in ("torch.nn", "float32", "bfloat16")),
        base.over(times["float32"]),
        base.over(times["bfloat16"]),
        torch_half,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", action="append", help="T,N,H; may be given several times")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for text in arguments.shape or ["100,32,256", "100,64,512"]:
        steps, batch, hidden = map(int, text.split(","))
        rows += [measure(kind, (steps, batch, hidden), arguments.rounds) for kind in KINDS]
    print(f"{conditions()}\n")
    header = ["T,N,H", "torch.nn ms", "float32 ms", "bfloat16 ms", "float32", "bfloat16", "torch's bfloat16"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
