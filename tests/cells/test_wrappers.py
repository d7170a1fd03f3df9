"""Stack: layers, residuals, and dropout whose masks are those of the oracle at every place."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import contract_cells
import oracles
from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell, Stack, StackState
from elman.errors import ConfigError, ShapeError
from elman.scan import scan

TIME, BATCH = 4, 3


def make(sizes: tuple[int, ...] = (2, 3, 3), **options: Any) -> Stack:
    torch.manual_seed(0)
    return Stack([GRUCell(a, b) for a, b in pairwise(sizes)], **options).double()


def inputs(size: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(TIME, BATCH, size, generator=generator, dtype=torch.float64)


def by_hand(stack: Stack, x: Tensor, steps: Tensor, seed: int) -> Tensor:
    """The docstring's equations with one scan a layer and the oracle's masks."""

    def drop(x: Tensor, place: int) -> Tensor:
        key = oracles.counter_child(seed, place)
        factors = oracles.dropout_factors(key, stack.probabilities[place], steps.numpy(), x.shape[-1])
        return x * torch.from_numpy(factors)

    for layer, cell in enumerate(stack.cells):
        outputs, _ = scan(cell, drop(x, layer), kernels="reference")
        x = x + outputs if stack.residual and x.shape == outputs.shape else outputs
    return drop(x, len(stack.cells))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("seed", [0, 99])
def test_dropout_and_residuals_are_where_the_equation_says(residual: bool, seed: int) -> None:
    stack = make(dropout=0.5, dropout_in=0.25, dropout_out=0.4, residual=residual, seed=seed)
    steps = torch.arange(TIME)[:, None].expand(TIME, BATCH)
    outputs, state = scan(stack, inputs())
    assert torch.allclose(outputs, by_hand(stack, inputs(), steps, seed), atol=1e-13)
    assert state.step.tolist() == [TIME] * BATCH
    later, _ = scan(stack, inputs(), stack.initial_state(BATCH)._replace(step=state.step))
    assert torch.allclose(later, by_hand(stack, inputs(), steps + TIME, seed), atol=1e-13)
    assert not torch.allclose(later, outputs)


@pytest.mark.parametrize(("place", "name"), [(0, "dropout_in"), (1, "dropout"), (2, "dropout_out")])
def test_each_dropout_has_its_own_place(place: int, name: str) -> None:
    options: dict[str, Any] = {name: 0.5}
    stack = make(**options)
    assert stack.probabilities == tuple(0.5 if k == place else 0 for k in range(3))
    dropped, plain = scan(stack, inputs())[0], scan(stack.eval(), inputs())[0]
    assert not torch.allclose(dropped, plain)
    assert bool((dropped == 0).any()) == (name == "dropout_out")


def test_masks_differ_between_layers_elements_and_steps() -> None:
    """A stack of identities shows its masks: every unit of every place is kept or not by itself."""

    def identity() -> Cell:
        cell = ElmanCell(8, 8, nonlinearity="identity", bias=False)
        with torch.no_grad():
            cell.weight_ih.copy_(torch.eye(8))
            cell.weight_hh.zero_()
        return cell

    def kept(**options: Any) -> Tensor:
        stack = Stack([identity(), identity(), identity()], **options)
        return scan(stack, torch.ones(40, 6, 8))[0] != 0

    first, between, last = kept(dropout_in=0.5), kept(dropout=0.5), kept(dropout_out=0.5)
    share = [float(mask.double().mean()) for mask in (first, between, last)]
    np.testing.assert_allclose(share, [0.5, 0.25, 0.5], atol=0.05)  # two masks stand between three cells
    assert not torch.equal(first, last)
    for mask in (first, last):
        assert not (mask == mask[:1]).all()
        assert not (mask == mask[:, :1]).all()
        assert not (mask == mask[..., :1]).all()


def test_a_new_seed_gives_new_masks_and_the_old_one_the_old() -> None:
    stack = make(dropout_out=0.5, seed=3)
    first, _ = scan(stack, inputs())
    stack.reseed(4)
    second, _ = scan(stack, inputs())
    stack.reseed(3)
    third, _ = scan(stack, inputs())
    assert torch.equal(first, third)
    assert not torch.equal(first == 0, second == 0)


def test_torchs_generator_is_left_alone() -> None:
    stack = make(dropout=0.5, dropout_in=0.5, dropout_out=0.5)
    before = torch.get_rng_state()
    scan(stack, inputs())
    assert torch.equal(torch.get_rng_state(), before)


def test_no_dropout_in_evaluation() -> None:
    stack, plain = make(dropout=0.5, dropout_in=0.5, dropout_out=0.5).eval(), make().eval()
    assert torch.equal(scan(stack, inputs())[0], scan(plain, inputs())[0])


def test_a_reset_does_not_rewind_the_count_of_steps() -> None:
    stack = make(dropout_out=0.5)
    resets = torch.zeros(TIME, BATCH, dtype=torch.bool)
    resets[2, 1] = True
    outputs, state = scan(stack, inputs(), resets=resets)
    assert state.step.tolist() == [TIME] * BATCH
    whole, _ = scan(stack, inputs())
    assert torch.equal(outputs == 0, whole == 0)
    assert not torch.allclose(outputs[2:, 1], whole[2:, 1])


def test_an_elements_steps_are_its_own() -> None:
    _, state = scan(make(), inputs(), lengths=torch.tensor([4, 0, 2]))
    assert state.step.tolist() == [4, 0, 2]
    _, state = scan(make(), inputs(), state, lengths=torch.tensor([1, 0, 2]))
    assert state.step.tolist() == [5, 0, 4]


def test_records_have_the_layers_number() -> None:
    stack = Stack([LSTMCell(2, 3), contract_cells.Plain(3, 3), GRUCell(3, 4)]).double()
    assert stack.records == ("0.i", "0.f", "0.g", "0.o", "0.c", "2.r", "2.z", "2.n")
    *_, recorded = scan(stack, inputs(), record=["2.z", "0.c"])
    assert list(recorded) == ["2.z", "0.c"]
    below, _, alone = scan(stack.cells[0], inputs(), record=["c"])
    middle, _ = scan(stack.cells[1], below)
    *_, above = scan(stack.cells[2], middle, record=["z"])
    assert torch.allclose(recorded["0.c"], alone["c"])
    assert torch.allclose(recorded["2.z"], above["z"])
    deeper = Stack([stack, GRUCell(4, 2)])
    assert "0.2.n" in deeper.records
    assert "1.n" in deeper.records


def test_each_cell_resets_its_parameters_in_its_own_way() -> None:
    stack = Stack([LSTMCell(2, 100, forget_bias=1.0), ElmanCell(100, 4)])
    stack.reset_parameters()
    below, above = stack.cells
    assert (below.bias_ih[100:200] == 1).all()
    assert float(below.weight_hh.detach().abs().max()) <= 0.1
    assert 0.4 < float(above.weight_ih.detach().abs().max()) <= 0.5


def test_state_and_sizes() -> None:
    stack = Stack([GRUCell(5, 3), LSTMCell(3, 4, projection=2)])
    assert (stack.input_size, stack.output_size) == (5, 2)
    state = stack.initial_state(7)
    assert isinstance(state, StackState)
    assert state.step.tolist() == [0] * 7
    assert [tuple(part.shape) for part in state.layers[1]] == [(7, 2), (7, 4)]


def test_cells_that_do_not_fit_are_told() -> None:
    with pytest.raises(ShapeError, match="at least one cell"):
        Stack([])
    with pytest.raises(ShapeError, match="cell 1 gives outputs of size 2, cell 2 takes 4"):
        Stack([GRUCell(3, 3), LSTMCell(3, 4, projection=2), GRUCell(4, 4)])


@pytest.mark.parametrize("name", ["dropout", "dropout_in", "dropout_out"])
@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5])
def test_probabilities_out_of_range_are_told(name: str, value: float) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError, match=f"{name} must be at least 0 and below 1, got {value}"):
        Stack([GRUCell(3, 3)], **options)
