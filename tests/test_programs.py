"""A traced step with its derivative, run by the interpreter in float64, equals autograd through the step."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import contract_cells
from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell
from elman.programs import plan
from elman.scan import scan
from elman.tracing import leaves, trace
from interpreter import TOLERANCE, Interpreter, compare_with_autograd


class Own(Cell):
    """What a user may write: no `prepare`, a learned rate, products in the step, a hidden memory."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.inner = torch.nn.Linear(input_size, 2 * hidden_size)
        self.outer = torch.nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.more = torch.nn.Linear(hidden_size, hidden_size)
        self.rate = torch.nn.Parameter(torch.randn(()))

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        return tuple(self.zeros(batch_size, self.hidden_size) for _ in range(3))

    def step(self, x: Tensor, state: tuple, record: dict | None = None) -> tuple[Tensor, tuple]:
        a, m, delayed = state
        gate, new = (self.inner(x) + self.outer(a)).chunk(2, -1)
        gate = torch.sigmoid(gate * torch.exp(self.rate))
        a = torch.relu(new) * gate - (1 - gate) * torch.abs(m) / 2
        m = torch.tanh(self.more(a)) + torch.sqrt(1 + m**2) * self.rate
        return a * delayed, (a, m, new)


class Rows(Cell):
    """Reductions of every kind, written out and by torch's functions, numbers of each row among vectors."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.both = torch.nn.Linear(input_size + hidden_size, 3 * hidden_size)
        self.norm = torch.nn.LayerNorm(hidden_size)
        self.gate = torch.nn.Linear(hidden_size, 1)
        self.gain = torch.nn.Parameter(torch.rand(hidden_size) + 0.5)
        self.rate = torch.nn.Parameter(torch.rand(()))

    def initial_state(self, batch_size: int) -> Tensor:
        return self.zeros(batch_size, 2 * self.hidden_size)

    def step(self, x: Tensor, state: Tensor, record: dict | None = None) -> tuple[Tensor, Tensor]:
        h, c = state.chunk(2, -1)
        a, b, new = self.both(torch.cat([x, h], -1)).split(self.hidden_size, -1)
        a = a - a.mean(-1, keepdim=True)
        a = torch.sigmoid(a * torch.rsqrt(a.pow(2).mean(-1, keepdim=True) + 1e-2) * self.gain)
        b = torch.softmax(b, -1) * b.std(dim=-1, keepdim=True) * self.rate
        c = self.norm(c + new) * torch.sigmoid(self.gate(c)) + b / (1 + b.abs().sum(-1))[:, None]
        h = a * torch.nn.functional.normalize(c, dim=-1) + c.var(-1, keepdim=True, unbiased=False)
        return h + torch.nn.functional.rms_norm(c, (self.hidden_size,), self.gain), torch.cat([h, c], -1)


CELLS: dict[str, Callable[[], Cell]] = {
    "layer norm": lambda: contract_cells.NormLSTM(3, 5),
    "rows": lambda: Rows(3, 5),
    "rows of one": lambda: contract_cells.NormLSTM(3, 1),
    "peephole": lambda: LSTMCell(3, 5, peepholes=True),
    "gru before keep": lambda: GRUCell(3, 5, reset="before"),
    "gru before write": lambda: GRUCell(3, 5, reset="before", update="write"),
    "gru after keep": lambda: GRUCell(3, 5),
    "gru after write": lambda: GRUCell(3, 5, update="write"),
    "gru no bias": lambda: GRUCell(3, 5, bias=False),
    "gru one bias": lambda: GRUCell(3, 5, recurrent_bias=False),
    "lstm": lambda: LSTMCell(3, 5),
    "projection": lambda: LSTMCell(3, 5, projection=2),
    "projected peephole": lambda: LSTMCell(3, 5, projection=2, peepholes=True),
    **{
        f"elman {name}": lambda name=name: ElmanCell(3, 5, nonlinearity=name)
        for name in ("tanh", "sigmoid", "relu", "identity")
    },
    "two products": lambda: contract_cells.TwoProducts(3, 5),
    "jordan": lambda: contract_cells.Jordan(3, 5),
    "own": lambda: Own(3, 5),
}

ATTENDING: dict[str, Callable[[], Cell]] = {
    "additive": lambda: contract_cells.Attending(3, 5),
    "dot": lambda: contract_cells.Attending(3, 5, score="dot"),
    "before": lambda: contract_cells.Attending(3, 5, score="before"),
    "sum": lambda: contract_cells.Attending(3, 5, score="sum", width=5),
    "twice": lambda: contract_cells.Attending(3, 5, score="twice", width=5),
    "context": lambda: contract_cells.Attending(3, 5, out="context"),
}
"""Cells that look at memories of 4 elements."""

KNOWN = {**CELLS, **{f"attending {name}": make for name, make in ATTENDING.items()}}


@pytest.mark.parametrize("name", KNOWN)
def test_a_plan_computes_what_autograd_does(name: str) -> None:
    torch.manual_seed(0)
    compare_with_autograd(KNOWN[name]().double())


@pytest.mark.parametrize("name", KNOWN)
def test_a_plan_without_gradients_gives_the_same_values(name: str) -> None:
    torch.manual_seed(0)
    cell = KNOWN[name]().double()
    inputs = torch.randn(6, 4, 3, dtype=torch.float64)
    state = cell.initial_state(4)
    outputs, final = scan(cell, inputs, state, kernels="reference")
    traced = trace(cell, inputs, state)
    got, parts = Interpreter(traced, plan(traced, train=False)).forward(traced.apart(leaves(state)))
    torch.testing.assert_close(got, outputs, **TOLERANCE)
    for one, other in zip(traced.joined(parts), leaves(final), strict=True):
        torch.testing.assert_close(one, other, **TOLERANCE)


def vectors(name: str) -> int:
    """Vectors of H floats that training keeps for each step and row: slots and states."""
    cell = CELLS[name]()
    traced = trace(cell, torch.zeros(2, 2, 3), cell.initial_state(2))
    made = plan(traced, train=True)
    return len(made.slots) + len(made.states)


@pytest.mark.parametrize(
    ("name", "most"), [("lstm", 6), ("peephole", 7), ("gru after keep", 5), ("elman tanh", 2)]
)
def test_memory_is_as_documented(name: str, most: int) -> None:
    assert vectors(name) <= most
