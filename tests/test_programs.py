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
from interpreter import Interpreter

TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}


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


CELLS: dict[str, Callable[[], Cell]] = {
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


@pytest.mark.parametrize("name", CELLS)
def test_a_plan_computes_what_autograd_does(name: str) -> None:
    torch.manual_seed(0)
    cell = CELLS[name]().double()
    inputs = torch.randn(6, 4, 3, dtype=torch.float64, requires_grad=True)
    start = [torch.randn_like(part, requires_grad=True) for part in leaves(cell.initial_state(4))]
    kind = type(cell.initial_state(4))
    state = kind(*start) if hasattr(kind, "_fields") else tuple(start)
    outputs, final = scan(cell, inputs, state, kernels="reference")
    d_outputs = torch.randn_like(outputs)
    d_final = [torch.randn_like(part) for part in leaves(final)]
    wanted = [inputs, *start, *cell.parameters()]
    expected = torch.autograd.grad([outputs, *leaves(final)], wanted, [d_outputs, *d_final])

    traced = trace(cell, inputs, state)
    run = Interpreter(traced, plan(traced, train=True))
    got, got_final = run.forward(start)
    torch.testing.assert_close(got, outputs.detach(), **TOLERANCE)
    for one, other in zip(got_final, leaves(final), strict=True):
        torch.testing.assert_close(one, other.detach(), **TOLERANCE)
    d_inputs, d_tensors, d_start = run.gradients(d_outputs, d_final)
    # Vectors that the step derives from parameters carry their own history.
    pairs = [(tensor, d_tensors[place]) for place, tensor in enumerate(traced.graph.tensors)]
    pairs += [*zip(traced.graph.inputs, d_inputs, strict=True), *zip(start, d_start, strict=True)]
    torch.autograd.backward(
        [a for a, _ in pairs if a.requires_grad], [d for a, d in pairs if a.requires_grad]
    )
    for tensor, d in zip(wanted, expected, strict=True):
        torch.testing.assert_close(tensor.grad, d, **TOLERANCE)


@pytest.mark.parametrize("name", CELLS)
def test_a_plan_without_gradients_gives_the_same_values(name: str) -> None:
    torch.manual_seed(0)
    cell = CELLS[name]().double()
    inputs = torch.randn(6, 4, 3, dtype=torch.float64)
    state = cell.initial_state(4)
    outputs, final = scan(cell, inputs, state, kernels="reference")
    traced = trace(cell, inputs, state)
    got, got_final = Interpreter(traced, plan(traced, train=False)).forward(leaves(state))
    torch.testing.assert_close(got, outputs, **TOLERANCE)
    for one, other in zip(got_final, leaves(final), strict=True):
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
