"""The parameters of elman.layers: torch's names, values and order, and whose values compute."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from elman import layers
from layer_pairs import HIDDEN, INPUT, KINDS, LENGTHS, Layer, every_kind, every_shape, inputs


class TestParameters:
    @every_kind
    @every_shape
    @pytest.mark.parametrize("bias", [False, True])
    def test_the_same_seed_gives_the_same_weights(
        self, kind: str, depth: int, both: bool, bias: bool
    ) -> None:
        """Equal values under equal names in equal order, and the generator left where torch leaves it."""
        theirs, ours, own = KINDS[kind]
        torch.manual_seed(3)
        wanted = theirs(INPUT, HIDDEN, depth, bias=bias, bidirectional=both, **own)
        after = torch.get_rng_state()
        torch.manual_seed(3)
        got = ours(INPUT, HIDDEN, depth, bias=bias, bidirectional=both, **own)
        assert torch.equal(torch.get_rng_state(), after)
        assert list(got.state_dict()) == list(wanted.state_dict())
        for name, value in wanted.state_dict().items():
            assert torch.equal(got.state_dict()[name], value), name
        assert [p.shape for p in got.parameters()] == [p.shape for p in wanted.parameters()]

    @every_kind
    @every_shape
    @pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
    def test_state_dicts_go_both_ways(self, kind: str, depth: int, both: bool) -> None:
        theirs, ours, own = KINDS[kind]
        torch.manual_seed(4)
        mine = ours(INPUT, HIDDEN, depth, bidirectional=both, **own)
        its = theirs(INPUT, HIDDEN, depth, bidirectional=both, **own)
        its.load_state_dict(mine.state_dict(), strict=True)
        x = inputs().float()
        assert torch.allclose(mine(x)[0], its(x)[0], atol=1e-6)
        nn.init.normal_(next(its.parameters()))
        mine.load_state_dict(its.state_dict(), strict=True)
        assert torch.allclose(mine(x)[0], its(x)[0], atol=1e-6)

    def test_arguments_by_position_are_torchs(self) -> None:
        wide: dict[str, Any] = {"dtype": torch.float64}
        cases: list[tuple[Any, Any, tuple[Any, ...]]] = [
            (layers.RNN, nn.RNN, (3, 4, 2, "relu", False, True, 0.0, True)),
            (layers.LSTM, nn.LSTM, (3, 4, 2, False, True, 0.0, True, 2)),
            (layers.GRU, nn.GRU, (3, 4, 2, False, True, 0.0, True)),
        ]
        for ours, theirs, arguments in cases:
            torch.manual_seed(0)
            mine = ours(*arguments, **wide)
            torch.manual_seed(0)
            its = theirs(*arguments, **wide)
            assert list(mine.state_dict()) == list(its.state_dict())
            assert torch.allclose(mine(inputs())[0], its(inputs())[0], atol=1e-12)
            for name in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional"):
                assert getattr(mine, name) == getattr(its, name)

    def test_device_and_type(self) -> None:
        assert {p.dtype for p in layers.GRU(3, 4, dtype=torch.float64).parameters()} == {torch.float64}
        assert {p.device.type for p in layers.GRU(3, 4, device="meta").parameters()} == {"meta"}
        moved = layers.LSTM(3, 4, 2, bidirectional=True).double()
        assert moved(inputs())[0].dtype == torch.float64
        assert moved.float()(inputs().float())[1][1].dtype == torch.float32


class TestWhoseParametersAreUsed:
    """Whatever puts other values in the place of a parameter is what computes, then and only then."""

    def layer(self) -> Layer:
        torch.manual_seed(0)
        return layers.LSTM(INPUT, HIDDEN, 2, bidirectional=True, dtype=torch.float64)

    @pytest.mark.parametrize("sizes", [None, LENGTHS])
    def test_functional_call(self, sizes: Tensor | None) -> None:
        layer = self.layer()
        before, _ = layer(inputs(), lengths=sizes)
        doubled = {name: (2 * p).detach().requires_grad_() for name, p in layer.named_parameters()}
        replaced = {name: p * 1 for name, p in doubled.items()}
        got, _ = torch.func.functional_call(layer, replaced, (inputs(),), {"lengths": sizes})
        wanted_layer = copy.deepcopy(layer)  # of a layer that has just held tensors which are no leaves
        wanted_layer.load_state_dict({name: p.detach() for name, p in doubled.items()})
        wanted, _ = wanted_layer(inputs(), lengths=sizes)
        assert torch.equal(got, wanted)
        slopes = torch.autograd.grad(got.sum(), list(doubled.values()))
        for slope, other in zip(
            slopes, torch.autograd.grad(wanted.sum(), list(wanted_layer.parameters())), strict=True
        ):
            assert torch.allclose(slope, other, atol=1e-12)
        assert torch.equal(layer(inputs(), lengths=sizes)[0], before)

    @pytest.mark.parametrize("sizes", [None, LENGTHS])
    def test_parametrization(self, sizes: Tensor | None) -> None:
        layer = self.layer()
        torch.nn.utils.parametrizations.weight_norm(layer, "weight_hh_l1_reverse")
        scale = layer.parametrizations["weight_hh_l1_reverse"].original0
        before, _ = layer(inputs(), lengths=sizes)
        with torch.no_grad():
            scale.mul_(2)
        plain = self.layer()
        assert torch.allclose(plain(inputs(), lengths=sizes)[0], before, atol=1e-12)
        with torch.no_grad():
            plain.weight_hh_l1_reverse.mul_(2)
        after, _ = layer(inputs(), lengths=sizes)
        assert torch.allclose(plain(inputs(), lengths=sizes)[0], after, atol=1e-12)
        assert not torch.allclose(before, after)
        after.sum().backward()
        assert scale.grad is not None
        assert scale.grad.all()
        assert torch.equal(copy.deepcopy(layer)(inputs(), lengths=sizes)[0], after)

    @pytest.mark.parametrize("sizes", [None, LENGTHS])
    def test_deepcopy_is_apart(self, sizes: Tensor | None) -> None:
        layer = self.layer()
        twin = copy.deepcopy(layer)
        before, _ = layer(inputs(), lengths=sizes)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
        assert torch.equal(layer(inputs(), lengths=sizes)[0], before)
        assert not twin(inputs(), lengths=sizes)[0].any()

    @pytest.mark.parametrize("sizes", [None, LENGTHS])
    def test_a_parameter_shared_by_two_layers_learns_from_both(self, sizes: Tensor | None) -> None:
        one, two = self.layer(), self.layer()
        two.weight_hh_l0 = one.weight_hh_l0
        both = nn.ModuleList([one, two])
        assert len(list(both.parameters())) == 2 * len(list(one.parameters())) - 1
        optimizer = torch.optim.SGD(both.parameters(), lr=0.1)
        (one(inputs(), lengths=sizes)[0].sum() + two(inputs(), lengths=sizes)[0].sum()).backward()
        alone = self.layer()
        alone(inputs(), lengths=sizes)[0].sum().backward()
        assert one.weight_hh_l0.grad is not None
        assert torch.allclose(one.weight_hh_l0.grad, 2 * alone.weight_hh_l0.grad)
        before, _ = two(inputs(), lengths=sizes)
        optimizer.step()
        assert torch.equal(one.weight_hh_l0, two.weight_hh_l0)
        assert torch.allclose(one.weight_hh_l0, alone.weight_hh_l0 - 0.2 * alone.weight_hh_l0.grad)
        assert not torch.allclose(two(inputs(), lengths=sizes)[0], before)

    def test_parameters_loaded_by_assignment_or_set_anew(self) -> None:
        layer, other = self.layer(), self.layer()
        nn.init.normal_(other.weight_ih_l0)
        before, _ = layer(inputs())
        layer.load_state_dict(other.state_dict(), assign=True)
        assert not torch.equal(layer(inputs())[0], before)
        assert torch.equal(layer(inputs())[0], other(inputs())[0])
        layer.bias_hh_l1 = nn.Parameter(torch.zeros(4 * HIDDEN, dtype=torch.float64))
        with torch.no_grad():
            other.bias_hh_l1.zero_()
        assert torch.equal(layer(inputs())[0], other(inputs())[0])

    def test_frozen_parameters_get_no_gradient(self) -> None:
        layer = self.layer()
        layer.weight_ih_l0.requires_grad_(False)
        layer(inputs(), lengths=LENGTHS)[0].sum().backward()
        assert layer.weight_ih_l0.grad is None
        assert layer.weight_hh_l0.grad is not None

    def test_nothing_is_registered_twice(self) -> None:
        layer = self.layer()
        assert list(layer.children()) == []
        assert len({id(p) for p in layer.parameters()}) == len(layer.state_dict()) == 16
