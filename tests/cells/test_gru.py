"""GRUCell: its four published forms, its biases, its errors."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings

import oracles
from conformance import HIDDEN, INPUT
from elman.cells import GRUCell
from elman.cells.gru import RESETS, UPDATES
from elman.errors import ConfigError
from elman.scan import scan
from equations import check, situations


def cell(**options: Any) -> GRUCell:
    torch.manual_seed(0)
    return GRUCell(INPUT, HIDDEN, **options).double()


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("reset", RESETS)
@settings(max_examples=10)
@given(situation=situations())
def test_equations(reset: str, update: str, situation: dict[str, Any]) -> None:
    check(cell(reset=reset, update=update), oracles.gru(reset, update), **situation)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("options", [{"bias": False}, {"recurrent_bias": False}])
@settings(max_examples=5)
@given(situation=situations())
def test_equations_with_fewer_biases(reset: str, options: dict[str, bool], situation: dict[str, Any]) -> None:
    check(cell(reset=reset, **options), oracles.gru(reset), **situation)


def test_the_defaults_are_those_of_torch() -> None:
    ours, theirs = cell(), torch.nn.GRUCell(INPUT, HIDDEN).double()
    theirs.load_state_dict(ours.state_dict())
    inputs = torch.randn(1, 2, INPUT, dtype=torch.float64)
    h = torch.randn(2, HIDDEN, dtype=torch.float64)
    outputs, _ = scan(ours, inputs, type(ours.initial_state(1))(h), kernels="reference")
    assert torch.allclose(outputs[0], theirs(inputs[0], h), atol=1e-14)


def test_what_z_does_is_as_its_word_says() -> None:
    """With z driven to one, "keep" stays where it is and "write" forgets where it was."""
    for update in UPDATES:
        driven = cell(update=update)
        with torch.no_grad():
            assert driven.bias_ih is not None
            driven.bias_ih[HIDDEN : 2 * HIDDEN] = 100
        h = torch.full((1, HIDDEN), 0.9, dtype=torch.float64)
        _, state, recorded = scan(
            driven, torch.ones(1, 1, INPUT).double(), type(driven.initial_state(1))(h), record=["n"]
        )
        assert torch.allclose(state.h, h if update == "keep" else recorded["n"][0])
        assert not torch.allclose(h, recorded["n"][0])


def test_gates_stand_in_torchs_order() -> None:
    assert cell().weight_ih.shape == (3 * HIDDEN, INPUT)
    assert cell().weight_hh.shape == (3 * HIDDEN, HIDDEN)
    assert list(cell().state_dict()) == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"reset": "never"}, "reset must be one of after, before, got 'never'"),
        ({"update": "hold"}, "update must be one of keep, write, got 'hold'"),
    ],
)
def test_other_words_are_told(options: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        cell(**options)
