"""LSTMCell: its equations with peepholes and projection, its forget bias, its errors."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings

import oracles
from conformance import HIDDEN, INPUT
from elman.cells import LSTMCell, LSTMState
from elman.errors import ConfigError, ShapeError
from elman.scan import scan
from equations import check, situations

FORGET = slice(HIDDEN, 2 * HIDDEN)


def cell(**options: Any) -> LSTMCell:
    torch.manual_seed(0)
    return LSTMCell(INPUT, HIDDEN, **options).double()


@pytest.mark.parametrize("peepholes", [False, True])
@pytest.mark.parametrize("projection", [0, 2])
@settings(max_examples=10)
@given(situation=situations())
def test_equations(peepholes: bool, projection: int, situation: dict[str, Any]) -> None:
    check(cell(peepholes=peepholes, projection=projection), oracles.lstm(), **situation)


@pytest.mark.parametrize("options", [{"bias": False}, {"recurrent_bias": False}])
@settings(max_examples=5)
@given(situation=situations())
def test_equations_with_fewer_biases(options: dict[str, bool], situation: dict[str, Any]) -> None:
    check(cell(**options), oracles.lstm(), **situation)


def test_one_step_is_that_of_torch() -> None:
    ours, theirs = cell(), torch.nn.LSTMCell(INPUT, HIDDEN).double()
    theirs.load_state_dict(ours.state_dict())
    inputs = torch.randn(1, 2, INPUT, dtype=torch.float64)
    h, c = torch.randn(2, 2, HIDDEN, dtype=torch.float64)
    _, state = scan(ours, inputs, LSTMState(h, c), kernels="reference")
    wanted_h, wanted_c = theirs(inputs[0], (h, c))
    assert torch.allclose(state.h, wanted_h, atol=1e-14)
    assert torch.allclose(state.c, wanted_c, atol=1e-14)


def test_each_peephole_moves_its_own_gate_and_o_sees_the_new_memory() -> None:
    """One row of `peephole` at a time: only its gate may change, and o's does at the first step already."""
    inputs = torch.ones(1, 1, INPUT, dtype=torch.float64)
    for row, gate in enumerate("ifo"):
        with_peepholes = cell(peepholes=True)
        assert with_peepholes.peephole is not None
        seen = []
        for value in (0.0, 2.0):
            with torch.no_grad():
                with_peepholes.peephole.zero_()
                with_peepholes.peephole[row] = value
            state = LSTMState(torch.zeros(1, HIDDEN).double(), torch.ones(1, HIDDEN).double())
            seen.append(scan(with_peepholes, inputs, state, record=["i", "f", "g", "o"])[2])
        changed = {name for name in "ifgo" if not torch.equal(seen[0][name], seen[1][name])}
        # i and f change c', but o looks at c' only through its own row, which is zero for them.
        assert changed == {gate}
    fresh = cell(peepholes=True)
    assert fresh.peephole is not None
    with torch.no_grad():
        fresh.peephole.fill_(3.0)
    _, _, recorded = scan(fresh, inputs, record=["o", "i", "c"])
    plain = scan(cell(), inputs, record=["o", "i"])[2]
    assert torch.equal(recorded["i"], plain["i"])  # the first step has no old memory
    assert not torch.equal(recorded["o"], plain["o"])


def test_forget_bias_is_where_the_forget_gate_starts() -> None:
    plain, biased = cell(), cell(forget_bias=1.5)
    assert biased.bias_ih is not None
    assert biased.bias_hh is not None
    assert plain.bias_ih is not None
    assert (biased.bias_ih[FORGET] + biased.bias_hh[FORGET] == 1.5).all()
    assert torch.equal(biased.weight_ih, plain.weight_ih)
    for rows in (slice(0, HIDDEN), slice(2 * HIDDEN, None)):
        assert torch.equal(biased.bias_ih[rows], plain.bias_ih[rows])
    alone = cell(forget_bias=0.0, recurrent_bias=False)
    assert alone.bias_ih is not None
    assert not alone.bias_ih[FORGET].any()
    biased.reset_parameters()
    assert (biased.bias_ih[FORGET] + biased.bias_hh[FORGET] == 1.5).all()


def test_parameters_have_torchs_names_and_order() -> None:
    everything = cell(peepholes=True, projection=2)
    shapes = {name: tuple(value.shape) for name, value in everything.state_dict().items()}
    assert shapes == {
        "weight_ih": (4 * HIDDEN, INPUT),
        "weight_hh": (4 * HIDDEN, 2),
        "bias_ih": (4 * HIDDEN,),
        "bias_hh": (4 * HIDDEN,),
        "weight_hr": (2, HIDDEN),
        "peephole": (3, HIDDEN),
    }
    assert list(shapes)[:5] == ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
    assert everything.output_size == 2


@pytest.mark.parametrize("projection", [-1, HIDDEN, HIDDEN + 1])
def test_a_projection_that_is_not_smaller_is_told(projection: int) -> None:
    with pytest.raises(ShapeError, match=rf"0 \(none\) to {HIDDEN - 1}, got {projection}"):
        cell(projection=projection)


def test_a_forget_bias_without_biases_is_told() -> None:
    with pytest.raises(ConfigError, match="forget_bias needs bias=True"):
        cell(forget_bias=1.0, bias=False)
