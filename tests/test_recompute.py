"""scan(recompute=True): the same numbers from less memory."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import contract_cells
from elman import Stack, kernels
from elman.cells import Cell, GRUCell, LayerNormLSTMCell, LSTMCell
from elman.errors import KernelError
from elman.scan import scan
from elman.tokens import Tokens
from elman.tracing import leaves

pytestmark = pytest.mark.skipif(not kernels.native_available(), reason="there is no native module here")

CELLS: dict[str, Callable[[], Cell]] = {
    "lstm": lambda: LSTMCell(6, 6),
    "cho": lambda: GRUCell(6, 6, reset="before"),
    "norm": lambda: LayerNormLSTMCell(6, 6),
    "stack": lambda: Stack([LSTMCell(6, 6, peepholes=True), GRUCell(6, 6)]),
}


def gradients(cell: Cell, inputs: Tensor, lengths: Tensor | None, **options: bool) -> list[Tensor]:
    torch.manual_seed(1)
    x = inputs.clone().requires_grad_()
    outputs, final = scan(cell, x, lengths=lengths, kernels="native", **options)  # pyrefly: ignore[bad-argument-type]
    loss = (outputs * torch.randn(outputs.shape)).sum() + sum(part.square().sum() for part in leaves(final))
    return [outputs.detach(), *torch.autograd.grad(loss, [x, *cell.parameters()])]


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("time", [1, 2, 37])
def test_the_numbers_are_those_of_keeping_everything(name: str, time: int) -> None:
    torch.manual_seed(0)
    cell, inputs = CELLS[name](), torch.randn(time, 4, 6)
    for lengths in (None, torch.tensor([time, 0, time // 2, 1])):
        for reverse in (False, True):
            kept = gradients(cell, inputs, lengths, reverse=reverse)
            again = gradients(cell, inputs, lengths, reverse=reverse, recompute=True)
            assert torch.equal(kept[0], again[0])
            for one, other in zip(again[1:], kept[1:], strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5)


def test_symbols() -> None:
    torch.manual_seed(0)
    cell, ids = LSTMCell(5, 7), torch.randint(0, 5, (23, 3))
    found = []
    for recompute in (False, True):
        outputs, _ = scan(cell, Tokens(ids), kernels="native", recompute=recompute)
        found.append([outputs, *torch.autograd.grad(outputs.square().sum(), list(cell.parameters()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5)


def test_what_is_not_native_is_refused() -> None:
    with pytest.raises(KernelError, match=r"recompute: Plain is not computed natively here .*sin"):
        scan(contract_cells.Plain(3, 4), torch.randn(5, 2, 3), recompute=True)
    with pytest.raises(KernelError, match="recompute: LSTMCell is not computed natively here"):
        scan(LSTMCell(3, 4), torch.randn(5, 2, 3), recompute=True, kernels="torch")
