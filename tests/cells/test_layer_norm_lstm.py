"""LayerNormLSTMCell: its equations, and what normalisation promises."""

from typing import Any

import torch
from hypothesis import given, settings

import oracles
from conformance import HIDDEN, INPUT
from elman.cells import LayerNormLSTMCell
from elman.scan import scan
from equations import check, situations


def cell() -> LayerNormLSTMCell:
    torch.manual_seed(0)
    made = LayerNormLSTMCell(INPUT, HIDDEN, epsilon=1e-3).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) / 2)
    return made


@settings(max_examples=10)
@given(situation=situations())
def test_equations(situation: dict[str, Any]) -> None:
    check(cell(), oracles.layer_norm_lstm(1e-3), **situation)


def test_the_size_of_the_weights_does_not_matter() -> None:
    """Rows of both products are rescaled, so that larger weights give the same numbers but for epsilon."""
    torch.manual_seed(0)
    made = LayerNormLSTMCell(4, 6, epsilon=1e-12).double()
    inputs = torch.randn(5, 2, 4, dtype=torch.float64)
    state = made.initial_state(2)._replace(h=torch.randn(2, 6, dtype=torch.float64))
    before, _ = scan(made, inputs, state)
    with torch.no_grad():
        made.weight_ih.mul_(7)
        made.weight_hh.mul_(0.3)
    after, _ = scan(made, inputs, state)
    torch.testing.assert_close(before, after, rtol=1e-8, atol=1e-8)
