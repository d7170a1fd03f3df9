"""elman.cells.base: states, and what a cell has without writing it."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from elman.cells import CELLS, Cell, Combinator, ElmanCell, detach, map_state, where_state
from elman.errors import ShapeError
from elman.scan import scan


class Pair(NamedTuple):
    a: Tensor
    b: tuple[Tensor, Tensor]


def pair(value: int) -> Pair:
    return Pair(value * torch.ones(2, 3), (value * torch.ones(2), value * torch.ones(2, 1, 2)))


def test_map_state_keeps_the_structure() -> None:
    total = map_state(lambda x, y: x + y, pair(1), pair(10))
    assert type(total) is Pair
    assert type(total.b) is tuple
    assert [part.unique().tolist() for part in (total.a, *total.b)] == [[11.0]] * 3
    assert torch.equal(map_state(torch.neg, torch.ones(2)), -torch.ones(2))


def test_map_state_refuses_states_of_other_structure() -> None:
    with pytest.raises(ValueError, match="zip"):
        map_state(torch.add, pair(1), (torch.ones(2, 3),))


def test_where_state_chooses_by_element() -> None:
    mixed = where_state(torch.tensor([True, False]), pair(1), pair(2))
    for part in (mixed.a, *mixed.b):
        assert part[0].unique().tolist() == [1.0]
        assert part[1].unique().tolist() == [2.0]


def test_detach_keeps_the_numbers_and_cuts_the_history() -> None:
    start = map_state(lambda part: part.requires_grad_(), pair(1))
    moved = map_state(lambda part: part * 2, start)
    cut = detach(moved)
    assert type(cut) is Pair
    for before, after in zip((moved.a, *moved.b), (cut.a, *cut.b), strict=True):
        assert before.requires_grad
        assert not after.requires_grad
        assert torch.equal(before, after)


class Leaky(Cell):
    """The example of Cell's docstring."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.randn(hidden_size, input_size) / input_size**0.5)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.zeros(batch_size, self.hidden_size)

    def prepare(self, inputs: Tensor) -> Tensor:
        return inputs @ self.weight_ih.T

    def step(
        self, x: Tensor, state: Tensor, record: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        h = 0.9 * state + 0.1 * torch.tanh(x)
        return h, h


def test_the_cell_of_the_documentation_runs() -> None:
    cell = Leaky(2, 3)
    assert "class Leaky(Cell):" in str(Cell.__doc__)
    inputs = torch.randn(4, 2, 2)
    outputs, state = scan(cell, inputs, lengths=torch.tensor([4, 1]))
    h = torch.zeros(3)
    for t in range(4):
        h = 0.9 * h + 0.1 * torch.tanh(cell.weight_ih @ inputs[t, 0])
        assert torch.allclose(outputs[t, 0], h, atol=1e-6)
    assert torch.allclose(state[0], h, atol=1e-6)
    assert torch.allclose(state[1], 0.1 * torch.tanh(cell.weight_ih @ inputs[0, 1]), atol=1e-6)


def test_a_cell_without_step_or_state_is_none() -> None:
    class Half(Cell):
        def initial_state(self, batch_size: int) -> Tensor:
            return self.zeros(batch_size, 1)

    for kind in (Half, Cell, Combinator):
        with pytest.raises(TypeError, match="abstract"):
            kind(1, 1)  # pyrefly: ignore[bad-instantiation]


@pytest.mark.parametrize("name", list(CELLS))
@pytest.mark.parametrize(("sizes", "wrong"), [((0, 3), "input_size"), ((3, 0), "hidden_size")])
def test_sizes_below_one_are_told(name: str, sizes: tuple[int, int], wrong: str) -> None:
    with pytest.raises(ShapeError, match=f"{CELLS[name].__name__}: {wrong} must be at least 1, got 0"):
        CELLS[name](*sizes)


@pytest.mark.parametrize("name", list(CELLS))
def test_parameters_start_uniform_within_one_over_root_h(name: str) -> None:
    torch.manual_seed(0)
    cell = CELLS[name](20, 64)
    normalised = name == "layer_norm_lstm"  # its gains and biases start at one and zero
    for key, parameter in cell.named_parameters():
        if normalised and not key.startswith("weight"):
            assert parameter.unique().tolist() == [float(key.startswith("gain"))]
            continue
        assert 0.115 < float(parameter.detach().abs().max()) <= 0.125
        assert abs(float(parameter.detach().mean())) < 5 * 0.125 / 3**0.5 / parameter.numel() ** 0.5


def test_the_same_seed_gives_the_same_parameters_and_reset_draws_new_ones() -> None:
    torch.manual_seed(1)
    one = ElmanCell(3, 4)
    torch.manual_seed(1)
    two = ElmanCell(3, 4)
    assert torch.equal(one.weight_hh, two.weight_hh)
    two.reset_parameters()
    assert not torch.equal(one.weight_hh, two.weight_hh)


def test_zeros_have_the_type_of_the_parameters() -> None:
    assert ElmanCell(1, 2).double().zeros(3, 4).dtype == torch.float64
    assert ElmanCell(1, 2).half().initial_state(3).h.dtype == torch.float16
    assert ElmanCell(1, 2).to("meta").zeros(3, 4).device.type == "meta"
