"""Training a recurrent layer on symbols, forward and backward: Tokens on the native engine against torch.nn.

    python benchmarks/token_training.py [--threads 2] [--shape 100,32,256 ...] [--symbols 65 ...] [--rounds 7]

Embedded: nn.Embedding of the width of the layer and nn.LSTM or nn.GRU, against scan over Tokens of the same
table. One-hot: functional.one_hot and a layer of so many inputs, against Tokens without a table. `dense`: the
engine on the rows themselves, which shows what is gained by preparing a symbol once. All run in turn, round
after round; the products a second are those of the recurrence alone, 6 T N G H H, forward and backward.
"""

import argparse

import torch
from timing import conditions, interleaved, table
from torch import nn
from torch.nn import functional

from elman.cells import GRUCell, LSTMCell
from elman.scan import scan
from elman.tokens import Tokens

KINDS = {"LSTM": (LSTMCell, nn.LSTM, 4), "GRU": (GRUCell, nn.GRU, 3)}


def measure(kind: str, shape: tuple[int, int, int], symbols: int, onehot: bool, rounds: int) -> list[object]:
    steps, batch, hidden = shape
    cell_kind, layer_kind, gates = KINDS[kind]
    torch.manual_seed(0)
    columns = symbols if onehot else hidden
    cell, layer = cell_kind(columns, hidden), layer_kind(columns, hidden)
    rows = None if onehot else nn.Embedding(symbols, hidden).weight
    ids, d = torch.randint(symbols, (steps, batch)), torch.randn(steps, batch, hidden)

    def dense() -> torch.Tensor:
        return functional.one_hot(ids, symbols).float() if rows is None else functional.embedding(ids, rows)

    times = interleaved(
        {
            "peer": lambda: layer(dense())[0].backward(d),
            "dense": lambda: scan(cell, dense(), kernels="native")[0].backward(d),
            "tokens": lambda: scan(cell, Tokens(ids, rows), kernels="native")[0].backward(d),
        },
        rounds,
    )
    tokens = times["tokens"]
    speed = 6 * steps * batch * gates * hidden * hidden / tokens.median / 1e9
    return [
        f"{kind} {steps},{batch},{hidden}", symbols, "one-hot" if onehot else "embedded",
        *(f"{times[name].median * 1e3:.1f}" for name in ("peer", "dense", "tokens")),
        times["peer"].over(tokens), times["dense"].over(tokens), f"{speed:.0f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--shape", action="append", help="T,N,H; may be given several times")
    parser.add_argument("--symbols", action="append", type=int)
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [
        measure(kind, (int(steps), int(batch), int(hidden)), symbols, onehot, options.rounds)
        for steps, batch, hidden in (
            text.split(",") for text in options.shape or ["100,32,256", "100,64,512"]
        )
        for kind in options.kind or KINDS
        for symbols in options.symbols or [65, 256]
        for onehot in (False, True)
    ]
    print(conditions() + "\n")
    header = ("T,N,H", "symbols", "rows", "torch.nn ms", "dense ms", "Tokens ms")
    print(table((*header, "torch / Tokens", "dense / Tokens", "GFLOP/s"), rows))


if __name__ == "__main__":
    main()
