"""Looks at a memory on the native engine against the reference in float64: values, and every gradient."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from contract_cells import Attending
from elman import kernels
from elman.attention import ATTENTIONS
from elman.cells import CELLS
from elman.cells.decoder import AttentionCell
from elman.scan import scan
from test_native_path import EPS, SETS, compare
from test_native_second import second
from test_programs import ATTENDING

pytestmark = pytest.mark.skipif(not kernels.native_available(), reason="there is no native module here")


@pytest.mark.parametrize("way", SETS)
@pytest.mark.parametrize("name", ATTENDING)
def test_it_equals_the_reference(name: str, way: str) -> None:
    compare(ATTENDING[name], 7, 4, way=way)
    compare(ATTENDING[name], 7, 4, way=way, lengths=[3, 7, 0, 1], threads=2, units=False)
    compare(ATTENDING[name], 7, 4, way=way, lengths=[3, 7, 0, 1], threads=3, units=True)


@pytest.mark.parametrize("way", SETS)
@pytest.mark.parametrize("score", ["additive", "dot", "before", "twice"])
def test_sizes_beyond_one_tile(score: str, way: str) -> None:
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(0, 13, (60,), generator=generator).tolist()
    width = 40 if score == "twice" else 50

    def make() -> Attending:
        return Attending(20, 40, batch=60, places=19, size=33, width=width, score=score)

    compare(make, 12, 60, way=way, threads=2)
    compare(make, 12, 60, way=way, threads=2, lengths=lengths)


@given(
    score=st.sampled_from(["additive", "dot", "before", "sum"]), out=st.sampled_from(["mixed", "context"]),
    hidden=st.integers(1, 40), size=st.integers(1, 40), width=st.integers(1, 40), places=st.integers(1, 20),
    time=st.integers(1, 6), data=st.data(), threads=st.integers(1, 3), units=st.booleans(),
    way=st.sampled_from(SETS or [""]),
)  # fmt: skip
def test_any_shape(
    score: str, out: str, hidden: int, size: int, width: int, places: int, time: int, data: Any, threads: int,
    units: bool, way: str,
) -> None:  # fmt: skip
    sizes = data.draw(st.lists(st.integers(0, time), min_size=1, max_size=9))
    lengths = data.draw(st.sampled_from([None, sizes]))

    def make() -> Attending:
        return Attending(
            5, hidden, batch=len(sizes), places=places, size=size, width=width, score=score, out=out
        )

    compare(make, time, len(sizes), lengths=lengths, way=way, threads=threads, units=units)


def decoder(order: str, kind: str, name: str) -> AttentionCell:
    """Two cells, with a mask between them that is the same at each step."""
    torch.manual_seed(4)
    cells = [CELLS[name](5, 7), CELLS[name](7, 7)]
    return AttentionCell(cells, ATTENTIONS[kind](7, 7), order=order, dropout=0.5)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("kind", ["additive", "dot", "general", "concat"])
@pytest.mark.parametrize("order", ["luong", "bahdanau"])
def test_decoders_that_attend(order: str, kind: str, name: str) -> None:
    """Values and the gradients of parameters, inputs and memory, against the reference in float64."""
    found = []
    for way, dtype in (("reference", torch.float64), ("native", torch.float32)):
        cell = decoder(order, kind, name).to(dtype)
        generator = torch.Generator().manual_seed(5)
        memory, inputs = (
            torch.randn(*size, generator=generator).to(dtype) for size in ((6, 4, 7), (8, 4, 5))
        )
        memory, inputs = memory.requires_grad_(), inputs.requires_grad_()
        bound = cell.bind(memory, torch.tensor([6, 1, 3, 5]))
        outputs, _ = scan(bound, inputs, lengths=torch.tensor([8, 2, 0, 5]), kernels=way)
        wanted = [memory, inputs, *cell.parameters()]
        loss = (outputs * torch.linspace(-1, 1, outputs.numel()).view(outputs.shape)).sum()
        found.append([outputs.detach(), *torch.autograd.grad(loss, wanted)])
    rough = 100 if name == "layer_norm_lstm" else 1  # dividing by a deviation makes roundings larger
    for other, one in zip(*found, strict=True):
        assert float((one - other).abs().max()) <= 40 * rough * EPS * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize("name", ATTENDING)
def test_gradients_of_gradients(name: str) -> None:
    torch.manual_seed(0)
    cell = ATTENDING[name]()
    exact = ATTENDING[name]().double()
    exact.load_state_dict({key: value.double() for key, value in cell.state_dict().items()})
    inputs, lengths = torch.randn(6, 4, 3), torch.tensor([6, 0, 3, 1])
    wanted = second(exact, inputs.double(), lengths, "reference")
    got = second(cell, inputs, lengths, "native")
    for one, other in zip(got, wanted, strict=True):
        assert float((one - other).abs().max()) <= 2e-5 * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize("name", ATTENDING)
def test_computed_again_the_numbers_are_the_same(name: str) -> None:
    torch.manual_seed(0)
    cell, inputs, lengths = ATTENDING[name](), torch.randn(11, 4, 3), torch.tensor([11, 0, 3, 9])
    found = []
    for recompute in (False, True):
        outputs, _ = scan(cell, inputs, lengths=lengths, kernels="native", recompute=recompute)
        wanted = [outputs.square().sum()], list(cell.parameters())
        gradients = torch.autograd.grad(*wanted, materialize_grads=True, allow_unused=True)
        found.append([outputs.detach(), *gradients])
    for one, other in zip(*found, strict=True):
        assert float((one - other).abs().max()) <= 40 * EPS * max(1.0, float(other.abs().max()))


def test_a_place_that_is_not_a_number_is_not_hidden() -> None:
    torch.manual_seed(0)
    cell = Attending(3, 5)
    cell.keys.data[2, 0, 1] = torch.nan
    outputs, _ = scan(cell, torch.randn(6, 4, 3), kernels="native")
    assert bool(outputs[:, 2].isnan().all())
    assert not bool(outputs[:, [0, 1, 3]].isnan().any())


def test_what_is_barred_is_not_read() -> None:
    torch.manual_seed(0)
    cell, inputs = Attending(3, 5, places=6), torch.randn(6, 4, 3)
    wanted, _ = scan(cell, inputs, kernels="native")
    last = int((cell.bias[1] == 0).sum())
    assert last < 6
    for part in (cell.keys, cell.values):
        part.data[1, last:] = torch.nan
    got, _ = scan(cell, inputs, kernels="native")
    assert torch.equal(got, wanted)


def test_bfloat16_rounds_the_products_only() -> None:
    torch.manual_seed(0)
    cell, inputs = Attending(20, 40), torch.randn(6, 4, 20)
    with torch.no_grad():
        exact, _ = scan(cell, inputs, kernels="native")
        outputs, _ = scan(cell, inputs, kernels="native", compute=torch.bfloat16)
    assert 0 < float((outputs - exact).abs().max()) < 0.1
