"""ElmanCell: its equation, its biases, its errors."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings

import oracles
from conformance import HIDDEN, INPUT
from elman.cells import ElmanCell
from elman.cells.elman import NONLINEARITIES
from elman.errors import ConfigError
from equations import check, situations


def cell(**options: Any) -> ElmanCell:
    torch.manual_seed(0)
    return ElmanCell(INPUT, HIDDEN, **options).double()


@pytest.mark.parametrize("nonlinearity", list(NONLINEARITIES))
@settings(max_examples=10)
@given(situation=situations())
def test_equation(nonlinearity: str, situation: dict[str, Any]) -> None:
    check(cell(nonlinearity=nonlinearity), oracles.elman(nonlinearity), **situation)


@pytest.mark.parametrize("options", [{"bias": False}, {"recurrent_bias": False}])
@settings(max_examples=5)
@given(situation=situations())
def test_equation_with_fewer_biases(options: dict[str, bool], situation: dict[str, Any]) -> None:
    check(cell(**options), oracles.elman(), **situation)


def test_biases_are_there_as_asked() -> None:
    both, one, none = cell(), cell(recurrent_bias=False), cell(bias=False)
    assert list(both.state_dict()) == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    assert list(one.state_dict()) == ["weight_ih", "weight_hh", "bias_ih"]
    assert list(none.state_dict()) == ["weight_ih", "weight_hh"]
    assert both.weight_ih.shape == (HIDDEN, INPUT)
    assert both.weight_hh.shape == (HIDDEN, HIDDEN)


def test_an_unknown_nonlinearity_is_told() -> None:
    with pytest.raises(ConfigError, match="one of tanh, sigmoid, relu, identity, got 'tan'"):
        ElmanCell(1, 1, nonlinearity="tan")
