"""Gradients of gradients where the native engine computes the first ones, against float64.

The reference is autograd through the reference loop in float64.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import contract_cells
import elman
from elman import kernels
from elman.cells import Cell, ElmanCell, GRUCell, LayerNormLSTMCell, LSTMCell
from elman.scan import choose, scan
from elman.tokens import Tokens
from elman.tracing import leaves

pytestmark = pytest.mark.skipif(not kernels.native_available(), reason="there is no native module here")

CELLS: dict[str, Callable[[], Cell]] = {
    "lstm": lambda: LSTMCell(3, 5),
    "projected": lambda: LSTMCell(3, 5, projection=2, peepholes=True),
    "gru": lambda: GRUCell(3, 5),
    "cho": lambda: GRUCell(3, 5, reset="before"),
    "elman": lambda: ElmanCell(3, 5),
    "norm": lambda: LayerNormLSTMCell(3, 5),
    "user's": lambda: contract_cells.NormLSTM(3, 5),
}


def second(cell: Cell, inputs: Tensor, lengths: Tensor | None, kernels: str, **options: bool) -> list[Tensor]:
    """The gradients of a penalty on gradients, and the gradients themselves."""
    x = inputs.detach().clone().requires_grad_()
    outputs, final = scan(cell, x, lengths=lengths, kernels=kernels, **options)  # pyrefly: ignore[bad-argument-type]
    wanted = [x, *cell.parameters()]
    loss = outputs.square().sum() + sum(part.sin().sum() for part in leaves(final))
    some = {
        "allow_unused": True,
        "materialize_grads": True,
    }  # a cell may have parameters that it does not use
    first = torch.autograd.grad(loss, wanted, create_graph=True, **some)
    penalty = sum(g.square().sum() for g in first)
    assert isinstance(penalty, Tensor)
    return [*(g.detach() for g in first), *torch.autograd.grad(penalty, wanted, **some)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_they_are_those_of_the_reference(name: str, reverse: bool) -> None:
    torch.manual_seed(0)
    cell, exact = CELLS[name](), CELLS[name]().double()
    exact.load_state_dict({key: value.double() for key, value in cell.state_dict().items()})
    inputs = torch.randn(6, 4, 3)
    assert choose(cell).path == "native"
    near = 2e-4 if name in ("norm", "user's") else 2e-5  # dividing by a deviation makes roundings larger
    for lengths in (None, torch.tensor([6, 0, 3, 1])):
        wanted = second(exact, inputs.double(), lengths, "reference", reverse=reverse)
        kept = second(cell, inputs, lengths, "auto", reverse=reverse)
        again = second(cell, inputs, lengths, "auto", reverse=reverse, recompute=True)
        for got in (kept, again):
            for one, other in zip(got, wanted, strict=True):
                scale = max(1.0, float(other.abs().max()))
                torch.testing.assert_close(one.double() / scale, other / scale, rtol=0, atol=near)


def test_of_symbols_reach_their_table() -> None:
    torch.manual_seed(0)
    cell, ids = GRUCell(4, 5), torch.randint(0, 7, (6, 3))
    table = torch.randn(7, 4)
    found = []
    for kind, way in ((torch.float32, "native"), (torch.float64, "reference")):
        rows = table.to(kind).requires_grad_()
        outputs, _ = scan(cell.to(kind), Tokens(ids, rows), kernels=way, lengths=torch.tensor([6, 2, 0]))
        (first,) = torch.autograd.grad(outputs.square().sum(), rows, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), [rows, *cell.parameters()]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


def test_a_layer_trains_on_a_penalty_of_its_gradient() -> None:
    torch.manual_seed(0)
    layer, inputs = elman.LSTM(3, 4, num_layers=2, bidirectional=True), torch.randn(5, 2, 3)
    exact = torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True).double()
    exact.load_state_dict({key: value.double() for key, value in layer.state_dict().items()})
    for module, x in ((layer, inputs.clone()), (exact, inputs.double())):
        outputs, _ = module(x.requires_grad_())
        (first,) = torch.autograd.grad(outputs.square().sum(), x, create_graph=True)
        first.square().sum().backward()
    for one, other in zip(layer.parameters(), exact.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-4, atol=1e-5)


def test_third_derivatives() -> None:
    torch.manual_seed(0)
    found = []
    cell = ElmanCell(2, 3)
    inputs = torch.randn(3, 2, 2)
    for kind, way in ((torch.float32, "native"), (torch.float64, "reference")):
        value = inputs.to(kind).requires_grad_()
        total = scan(cell.to(kind), value, kernels=way)[0].square().sum()
        for _ in range(3):
            (gradient,) = torch.autograd.grad(total, value, create_graph=True)
            total = gradient.square().sum()
        found.append(gradient.detach())
    torch.testing.assert_close(found[0].double(), found[1], rtol=1e-3, atol=1e-4)
