"""A kept trace is used only while it is the trace that reading anew would give: after each change of a cell
the engine still computes what the reference does.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from elman import kernels
from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell
from elman.scan import scan
from elman.tracing import keep, recall, trace

pytestmark = pytest.mark.skipif(not kernels.native_available(), reason=kernels.native_status())


def check(cell: Cell, inputs: torch.Tensor) -> None:
    """Values and gradients natively, three times so that a kept trace is met, against the reference."""
    values, gradients = [], []
    for way in ("reference", "native", "native", "native"):
        cell.zero_grad()
        given = inputs.clone().requires_grad_()
        outputs = scan(cell, given, kernels=way)[0]
        outputs.square().sum().backward()
        values.append(outputs.detach())
        gradients.append([given.grad, *(p.grad for p in cell.parameters())])
    for other, found in zip(values[1:], gradients[1:], strict=True):
        torch.testing.assert_close(other, values[0])
        torch.testing.assert_close(found, gradients[0])


def in_place(cell: Any) -> None:
    with torch.no_grad():
        cell.weight_hh.mul_(0.5)


def another_tensor(cell: Any) -> None:
    cell.weight_ih = nn.Parameter(cell.weight_ih.detach() * 0.5)


def without_bias(cell: Any) -> None:
    cell.bias_hh = None


def tied(cell: Any) -> None:
    cell.weight_hh = cell.weight_ih


def halved(cell: Any) -> None:
    class Half(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 2

    parametrize.register_parametrization(cell, "weight_hh", Half())


def own_step(cell: Any) -> None:
    given = cell.step
    cell.step = lambda x, state, record=None: given(x * 2, state)


CHANGES: dict[str, Callable[[Any], None]] = {
    "in place": in_place, "another tensor": another_tensor, "without a bias": without_bias, "tied": tied,
    "parametrized": halved, "a step of its own": own_step,
    "frozen": lambda cell: cell.weight_hh.requires_grad_(False),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", [ElmanCell, LSTMCell, GRUCell])
def test_a_changed_cell_is_read_again(kind: type[Cell], change: str) -> None:
    torch.manual_seed(0)
    cell, inputs = kind(5, 5), torch.randn(4, 3, 5)
    check(cell, inputs)
    CHANGES[change](cell)
    check(cell, inputs)


def test_an_attribute_belongs_to_what_is_kept() -> None:
    cell, inputs = ElmanCell(5, 5), torch.randn(4, 3, 5)
    check(cell, inputs)
    cell.nonlinearity = "relu"
    check(cell, inputs)


def test_a_patched_class_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, inputs = ElmanCell(5, 5), torch.randn(4, 3, 5)
    check(cell, inputs)
    given = ElmanCell.step
    monkeypatch.setattr(ElmanCell, "step", lambda self, x, state, record=None: given(self, -x, state))
    check(cell, inputs)


def test_a_copy_has_its_own_tensors() -> None:
    cell, inputs = GRUCell(5, 5), torch.randn(4, 3, 5)
    check(cell, inputs)
    other = copy.deepcopy(cell)
    in_place(other)
    check(other, inputs)
    check(cell, inputs)


class Own(ElmanCell):
    """A user's cell: its step may read anything."""


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        (ElmanCell(5, 5), True),
        (LSTMCell(5, 6), True),
        (GRUCell(5, 6), True),
        (LSTMCell(5, 6, projection=3), True),
        (LSTMCell(5, 6, peepholes=True), False),  # rows of one parameter
        (Own(5, 5), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_kept(cell: Cell, kept: bool) -> None:
    inputs, state = torch.randn(4, 3, 5), cell.initial_state(3)
    assert recall(cell, inputs, state) is None
    keep(cell, inputs, state, trace(cell, inputs, state))
    found = recall(cell, inputs, state)
    assert (found is not None) == kept
    if found is not None:
        assert found.key == trace(cell, inputs, state).key
        assert found.graph.inputs[0] is inputs
