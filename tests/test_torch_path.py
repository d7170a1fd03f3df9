"""elman.torch_path: torch's kernels held still in the padding."""

from typing import Any

import pytest
import torch
from torch import Tensor

from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell, LSTMState
from elman.scan import scan

LENGTHS = torch.tensor([5, 2, 0, 1])


def inputs(time: int, size: int = 3, kind: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(time, 4, size, generator=torch.Generator().manual_seed(0), dtype=kind)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"recurrent_bias": False}])
def test_the_memory_is_carried_through_the_padding_bit_by_bit(
    kind: torch.dtype, options: dict[str, bool]
) -> None:
    """A thousand steps of padding leave c as it was: no factor near one, no rounding."""
    torch.manual_seed(0)
    cell = LSTMCell(3, 6, **options).to(kind)
    state = LSTMState(*(torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(1)) * 3).to(kind))
    brief = scan(cell, inputs(5, kind=kind), state, lengths=LENGTHS, kernels="torch")[1]
    padding = torch.full((1000, 4, 3), float("nan"), dtype=kind)
    extended = torch.cat([inputs(5, kind=kind), padding])
    outputs, long = scan(cell, extended, state, lengths=LENGTHS, kernels="torch")
    assert torch.equal(long.c, brief.c)
    assert torch.equal(long.h, brief.h)
    assert torch.equal(long.c[2], state.c[2])
    assert not outputs[5:].any()


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_a_relu_network_that_grows_stays_finite_in_the_padding(kind: torch.dtype) -> None:
    """Doubling at every step overflows after 1024 at most; its zero gradient must not meet that infinity."""
    torch.manual_seed(0)
    cell = ElmanCell(3, 4, nonlinearity="relu").to(kind)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.abs_()
        cell.weight_hh.copy_(2 * torch.eye(4))
    x = inputs(1200, kind=kind).abs().requires_grad_()
    outputs, state = scan(cell, x, lengths=LENGTHS, kernels="torch")
    assert outputs[4, 0].all(), "the case must grow to prove anything"
    found = torch.autograd.grad(outputs.sum() + state.h.sum(), (x, *cell.parameters()))
    wanted_outputs, wanted_state = scan(cell, x, lengths=LENGTHS, kernels="reference")
    wanted = torch.autograd.grad(wanted_outputs.sum() + wanted_state.h.sum(), (x, *cell.parameters()))
    for got, reference in zip(found, wanted, strict=True):
        assert got.isfinite().all()
        assert torch.allclose(got, reference, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options"),
    [(ElmanCell, {}), (ElmanCell, {"nonlinearity": "relu"}), (GRUCell, {}), (LSTMCell, {"projection": 2})],
)
def test_no_gradient_reaches_the_padding_nor_comes_from_it(kind: Any, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    cell: Cell = kind(3, 4, **options).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.abs_()  # a relu unit that is off would have no gradient to look at
    x = inputs(8).abs().requires_grad_()
    outputs, state = scan(cell, x, lengths=LENGTHS, kernels="torch")
    # Weights on the padded outputs must not matter: they are constants.
    total = (outputs * torch.arange(1.0, 9.0)[:, None, None]).sum() + sum(part.sum() for part in state)
    found = torch.autograd.grad(total, (x, *cell.parameters()))
    for n, length in enumerate(LENGTHS.tolist()):
        assert not found[0][length:, n].any()
        assert found[0][:length, n].all()
    one_by_one = [torch.zeros_like(p) for p in cell.parameters()]
    for n, length in enumerate(LENGTHS.tolist()):
        if not length:
            continue
        outputs, state = scan(cell, x[:length, n : n + 1], kernels="torch")
        total = (outputs * torch.arange(1.0, length + 1.0)[:, None, None]).sum()
        total = total + sum(part.sum() for part in state)
        for k, gradient in enumerate(torch.autograd.grad(total, list(cell.parameters()))):
            one_by_one[k] += gradient
    for got, wanted in zip(found[1:], one_by_one, strict=True):
        assert torch.allclose(got, wanted, atol=1e-12)
