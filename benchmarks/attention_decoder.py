"""Training a decoder that attends: the native engine, the reference and a plain loop of torch.

    python benchmarks/attention_decoder.py [--threads 1] [--shape 16,80,16,256 ...] [--rounds 7] [--bfloat16]

A shape is T target steps, N sentences, S source positions, H units, of the embedding, the query, the memory
and the output alike. All do the same: an LSTM with input feeding, additive attention and tanh(W [c; h])
(Luong's order) over ragged sources, forward from given embeddings to outputs, and back to every parameter,
the embeddings and the memory. The plain loop is that of torch toolkits: nn.LSTMCell over [x; a], keys
computed once, masked softmax, bmm. A row is the median time of each and the median ratio of a round, with
the least and the most.
"""

import argparse
from collections.abc import Callable

import torch
from timing import conditions, interleaved, table
from torch import Tensor, nn

from elman.attention import ATTENTIONS
from elman.cells import LSTMCell
from elman.cells.decoder import AttentionCell
from elman.scan import scan


class Plain(nn.Module):
    """The decoder as torch toolkits write it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(2 * size, size)
        self.key = nn.Linear(size, size)
        self.query = nn.Linear(size, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)
        self.out = nn.Linear(2 * size, size)

    def forward(self, inputs: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """inputs (T, N, H), memory (N, S, H), mask (N, S)."""
        keys = self.key(memory)
        h = c = a = inputs.new_zeros(inputs.shape[1], memory.shape[2])
        outputs = []
        for x in inputs:
            h, c = self.cell(torch.cat([x, a], -1), (h, c))
            scores = self.score(torch.tanh(self.query(h)[:, None] + keys))[..., 0]
            weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), -1)
            context = torch.bmm(weights[:, None], memory)[:, 0]
            a = torch.tanh(self.out(torch.cat([context, h], -1)))
            outputs.append(a)
        return torch.stack(outputs)


def measure(shape: tuple[int, int, int, int], rounds: int, compute: torch.dtype | None) -> list[object]:
    steps, batch, places, size = shape
    torch.manual_seed(0)
    cell = AttentionCell([LSTMCell(size, size)], ATTENTIONS["additive"](size, size))
    plain = Plain(size)
    inputs = torch.randn(steps, batch, size, requires_grad=True)
    memory = torch.randn(places, batch, size, requires_grad=True)
    lengths = torch.randint(max(1, places // 2), places + 1, (batch,))
    mask = torch.arange(places) < lengths[:, None]
    d_outputs = torch.randn(steps, batch, size)

    def train(module: nn.Module, run: Callable[[], Tensor]) -> None:
        for tensor in (inputs, memory, *module.parameters()):
            tensor.grad = None
        run().backward(d_outputs)

    def own(kernels: str, compute: torch.dtype | None = None) -> Callable[[], None]:
        return lambda: train(
            cell, lambda: scan(cell.bind(memory, lengths), inputs, kernels=kernels, compute=compute)[0]
        )

    rivals = {
        "plain torch": lambda: train(plain, lambda: plain(inputs, memory.transpose(0, 1), mask)),
        "reference": own("reference"),
        "native": own("native", compute),
    }
    times = interleaved(rivals, rounds)
    native = times["native"]
    return [
        f"{steps},{batch},{places},{size}",
        *(f"{times[name].median * 1e3:.1f}" for name in rivals),
        times["plain torch"].over(native), times["reference"].over(native),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", nargs="+", default=["16,80,16,256", "16,80,16,512"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bfloat16", action="store_true", help="the engine's products in bfloat16")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    compute = torch.bfloat16 if given.bfloat16 else None
    rows = []
    for text in given.shape:
        steps, batch, places, size = (int(number) for number in text.split(","))
        rows.append(measure((steps, batch, places, size), given.rounds, compute))
    header = [
        "T,N,S,H",
        "plain torch ms",
        "reference ms",
        "native ms",
        "plain / native",
        "reference / native",
    ]
    print(f"{conditions()}{', native products in bfloat16' if compute else ''}\n\n{table(header, rows)}")


if __name__ == "__main__":
    main()
