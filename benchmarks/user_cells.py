"""Cells that a user writes in Python against their own eager loops: forward and backward over a whole
sequence.

    python benchmarks/user_cells.py [--threads 2] [--shape 100,32,256] [--rounds 5] [--compiled]

Every rival computes the same cell from the same parameters. There are two eager loops: one takes its inputs
apart once (scan's reference), one takes inputs[t] at each step, as loops are often written; the gradient of
each such step is a tensor as large as the whole sequence. "first call" counts a run of the engine for the
first time in the process, with reading the equations and making the programs; --compiled adds torch.compile
of the step, whose compilation is told apart.
"""

import argparse
import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from timing import conditions, interleaved, table
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from elman.cells import Cell
from elman.scan import choose, scan


class Memory(NamedTuple):
    h: Tensor
    c: Tensor


class UserCell(Cell):
    """What the cells here share: two weights of four gates and a bias."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))
        self.extra = nn.ParameterList(nn.Parameter(torch.empty(hidden_size)) for _ in range(3))
        self.reset_parameters()

    def initial_state(self, batch_size: int) -> Memory:
        return Memory(self.zeros(batch_size, self.hidden_size), self.zeros(batch_size, self.hidden_size))


class PeepholeLSTM(UserCell):
    """Gers, Schraudolph and Schmidhuber 2002."""

    def prepare(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias)

    def step(
        self, x: Tensor, state: Memory, record: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, Memory]:
        h, c = state
        i, f, g, o = (x + linear(h, self.weight_hh)).chunk(4, -1)
        i, f = torch.sigmoid(i + self.extra[0] * c), torch.sigmoid(f + self.extra[1] * c)
        c = f * c + i * torch.tanh(g)
        h = torch.sigmoid(o + self.extra[2] * c) * torch.tanh(c)
        return h, Memory(h, c)


class LayerNormLSTM(UserCell):
    """Ba, Kiros and Hinton 2016: the products and the memory are normalised."""

    def prepare(self, inputs: Tensor) -> Tensor:
        return layer_norm(linear(inputs, self.weight_ih), self.bias.shape) + self.bias

    def step(
        self, x: Tensor, state: Memory, record: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, Memory]:
        h, c = state
        gates = x + layer_norm(linear(h, self.weight_hh), self.bias.shape)
        i, f, g, o = gates.chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(layer_norm(c, self.extra[0].shape, self.extra[0], self.extra[1]))
        return h, Memory(h, c)


KINDS: dict[str, type[UserCell]] = {"peephole LSTM": PeepholeLSTM, "layer-norm LSTM": LayerNormLSTM}


def rivals(cell: UserCell, inputs: Tensor) -> dict[str, Callable[[], None]]:
    d_outputs = torch.randn(*inputs.shape[:2], cell.hidden_size)

    def way(name: str) -> Callable[[], None]:
        return lambda: scan(cell, inputs, kernels=name)[0].backward(d_outputs)

    def indexed() -> None:
        state, outputs = cell.initial_state(inputs.shape[1]), []
        prepared = cell.prepare(inputs)
        for t in range(len(inputs)):
            output, state = cell.step(prepared[t], state)
            outputs.append(output)
        torch.stack(outputs).backward(d_outputs)

    return {"indexed": indexed, "eager loop": way("reference"), "elman": way("native")}


def compiled(cell: UserCell, inputs: Tensor) -> tuple[Callable[[], None], float]:
    """The loop over a compiled step, and the seconds of its first run."""
    # An empty folder for what is compiled: what an earlier run left does not count.
    folder = os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(prefix="elman-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    step = torch.compile(cell.step)
    d_outputs = torch.randn(*inputs.shape[:2], cell.hidden_size)

    def run() -> None:
        state = cell.initial_state(inputs.shape[1])
        outputs = []
        for x in cell.prepare(inputs):
            output, state = step(x, state)
            outputs.append(output)
        torch.stack(outputs).backward(d_outputs)

    start = time.perf_counter()
    run()
    return run, time.perf_counter() - start


def measure(name: str, shape: tuple[int, int, int], rounds: int, with_compile: bool) -> list[object]:
    steps, batch, hidden = shape
    torch.manual_seed(0)
    cell = KINDS[name](hidden, hidden)
    if choose(cell, "native").path != "native":
        raise SystemExit(f"{name}: not native")
    inputs = torch.randn(steps, batch, hidden).requires_grad_()
    ways = rivals(cell, inputs)
    start = time.perf_counter()
    ways["elman"]()
    first = time.perf_counter() - start
    compiling = "-"
    if with_compile:
        ways["compiled step"], seconds = compiled(cell, inputs)
        compiling = f"{seconds:.1f} s"
    times = interleaved(ways, rounds)
    own, eager, indexed = times["elman"], times["eager loop"], times["indexed"]
    return [
        f"{name} {steps},{batch},{hidden}", f"{indexed.median * 1e3:.1f}", f"{eager.median * 1e3:.1f}",
        f"{own.median * 1e3:.1f}", indexed.over(own), f"{indexed.median / first:.2f}",
        eager.over(own), f"{eager.median / first:.2f}",
        times["compiled step"].over(own) if with_compile else "-", compiling,
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--shape", action="append", help="T,N,H; may be given several times")
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compiled", action="store_true", help="torch.compile of the step too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.zeros(2, requires_grad=True).backward(torch.ones(2))  # torch imports much at its first backward
    print(f"{conditions()}\n")
    header = [
        "cell T,N,H",
        "inputs[t] ms",
        "taken apart ms",
        "elman ms",
        "inputs[t]/elman",
        "first call",
        "taken apart/elman",
        "first call",
        "compiled/elman",
        "compiling",
    ]
    rows = []
    for name in options.kind or KINDS:
        for text in options.shape or ["100,32,256", "100,64,512"]:
            steps, batch, hidden = map(int, text.split(","))
            rows.append(measure(name, (steps, batch, hidden), options.rounds, options.compiled))
    print(table(header, rows))


if __name__ == "__main__":
    main()
