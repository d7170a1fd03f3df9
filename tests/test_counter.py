"""elman.counter against Python integers, fixed values, and the statistics of uniform numbers.

Nothing here is random: the numbers are functions of their places, so that a bound once met is always met.
"""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

import oracles
from elman import counter, kernels

keys = st.integers(-(2**63), 2**64 - 1)
SETS = kernels.native_module().scan_kernels() if kernels.native_available() else []
coordinate = st.integers(-(2**31), 2**32 - 1)


def unsigned(bits: torch.Tensor) -> list[int]:
    return [value & 0xFFFFFFFF for value in bits.flatten().tolist()]


@pytest.mark.parametrize(("x", "mixed"), [(0, 0), (1, 0x688990C0), (2, 0xD1132181), (0xFFFFFFFF, 0x6768824A)])
def test_the_oracle_itself_is_as_it_was(x: int, mixed: int) -> None:
    assert oracles.mix(x) == mixed


@pytest.mark.parametrize(
    ("key", "place", "wanted"),
    [
        (1, (2, 3), 0x8B4AFA38),
        (-1, (5,), 0x0DF545F0),
        (1 << 40, (7, -1), 0x605DA9D4),
        (12345678901234567890, (1, 2, 3), 0x2982AE68),
    ],
)
def test_bits_are_fixed_for_ever(key: int, place: tuple[int, ...], wanted: int) -> None:
    """A run that is resumed with a later version of elman must see the numbers it would have seen."""
    assert unsigned(counter.bits(key, *(torch.tensor(value) for value in place))) == [wanted]


@given(key=keys, place=st.lists(coordinate, max_size=4))
def test_bits_are_those_of_python_integers(key: int, place: list[int]) -> None:
    got = counter.bits(key, *(torch.tensor(value) for value in place))
    assert got.dtype == torch.int32
    assert unsigned(got) == [oracles.counter_bits(key, *place)]


@given(key=keys, place=st.lists(coordinate, min_size=1, max_size=3))
def test_uniform_is_the_upper_24_bits(key: int, place: list[int]) -> None:
    got = counter.uniform(key, *(torch.tensor(value) for value in place))
    assert got.dtype == torch.float32
    assert float(got) == oracles.counter_uniform(key, *place)


@given(key=st.integers(0, 2**64 - 1), index=st.integers(0, 2**32 - 1))
def test_children_are_those_of_python_integers(key: int, index: int) -> None:
    got = counter.child(key, index)
    assert got == oracles.counter_child(key, index)
    assert 0 <= got < 2**64


def test_children_differ_and_draw_independent_numbers() -> None:
    family = [counter.child(key, index) for key in range(30) for index in range(30)]
    assert len(set(family)) == len(family)
    places = torch.arange(1 << 14)
    draws = torch.stack([counter.uniform(key, places) for key in family[:40]])
    across = np.corrcoef(draws.numpy()) - np.eye(40)
    assert np.abs(across).max() < 5 / 2**7  # five standard deviations of a correlation over 2^14 pairs


def test_coordinates_broadcast_and_a_place_has_its_number_wherever_it_is_asked() -> None:
    rows, columns = torch.arange(6)[:, None], torch.arange(5)
    whole = counter.bits(9, rows, columns)
    assert whole.shape == (6, 5)
    assert torch.equal(whole[2:4, 1:], counter.bits(9, rows[2:4], columns[1:]))
    assert int(whole[3, 4]) == int(counter.bits(9, torch.tensor(3), torch.tensor(4)))
    assert not torch.equal(whole[:5, :5], whole[:5, :5].T)
    assert counter.bits(9, rows[:0], columns).shape == (0, 5)


def test_uniform_fills_the_unit_interval_evenly() -> None:
    draws = counter.uniform(
        2024, torch.arange(64)[:, None, None], torch.arange(128)[:, None], torch.arange(64)
    )
    assert float(draws.min()) >= 0
    assert float(draws.max()) < 1
    values = draws.double().flatten().numpy()
    counts = np.bincount((values * 256).astype(int), minlength=256)
    statistic = ((counts - len(values) / 256) ** 2 / (len(values) / 256)).sum()
    assert chi2.cdf(statistic, 255) < 0.999
    assert chi2.sf(statistic, 255) < 0.999  # too even would be wrong as well
    assert abs(values.mean() - 0.5) < 4 / np.sqrt(12 * len(values))
    assert abs(values.var() - 1 / 12) < 1e-3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_on_each_axis_are_independent(axis: int) -> None:
    grid = counter.uniform(7, torch.arange(32)[:, None, None], torch.arange(64)[:, None], torch.arange(64))
    values = grid.double().numpy()
    for distance in (1, 2, 3, 8):
        left = np.take(values, range(values.shape[axis] - distance), axis).ravel()
        right = np.take(values, range(distance, values.shape[axis]), axis).ravel()
        assert abs(np.corrcoef(left, right)[0, 1]) < 5 / np.sqrt(len(left))


@pytest.mark.parametrize("shift", [0, 8, 16, 24])
def test_every_bit_is_as_often_one_as_zero(shift: int) -> None:
    words = counter.bits(5, torch.arange(256)[:, None], torch.arange(256)).numpy().view(np.uint32)
    for bit in range(shift, shift + 8):
        assert abs(((words >> bit) & 1).mean() - 0.5) < 5 * 0.5 / 256


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_dropout_is_that_of_the_loops(probability: float) -> None:
    steps = torch.tensor([[0, 4, 1000], [1, 5, 1001], [2, 6, 1002]])
    values = torch.randn(3, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3
    factors = oracles.dropout_factors(17, probability, steps.numpy(), 4)
    got = counter.dropout(values, probability, 17, steps)
    assert torch.allclose(got, values * torch.from_numpy(factors), rtol=1e-15, atol=0)
    one = counter.dropout(values[1], probability, 17, steps[1])
    assert torch.equal(one, got[1])


@pytest.mark.parametrize("probability", [0.05, 0.3, 0.8])
def test_dropout_drops_as_often_as_asked_and_keeps_the_mean(probability: float) -> None:
    steps = torch.arange(100)[:, None].expand(100, 20)
    kept = counter.dropout(torch.ones(100, 20, 50, dtype=torch.float64), probability, 3, steps)
    deviation = np.sqrt(probability * (1 - probability) / kept.numel())
    assert abs(float((kept == 0).double().mean()) - probability) < 4 * deviation
    assert set(kept.unique().tolist()) == {0.0, 1 / (1 - probability)}
    for axis in range(3):
        assert float(kept.mean(axis).std()) > 0, "the mask must depend on step, element and unit"


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dropout_keeps_the_type_and_passes_gradients_through_what_it_keeps(kind: torch.dtype) -> None:
    values = torch.ones(5, 4, 6, dtype=kind, requires_grad=True)
    got = counter.dropout(values, 0.5, 1, torch.arange(5)[:, None].expand(5, 4))
    assert got.dtype == kind
    got.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, got.detach())
    assert 0 < int((got == 0).sum()) < got.numel()


@pytest.mark.skipif(not kernels.native_available(), reason="there is no native module here")
@settings(max_examples=40)
@given(
    shape=st.lists(st.integers(0, 40), min_size=2, max_size=4), key=keys, probability=st.floats(0.001, 0.999),
    threads=st.integers(1, 3), way=st.sampled_from(SETS or [""]), data=st.data(),
)  # fmt: skip
def test_the_native_dropout_has_the_same_bits(
    shape: list[int], key: int, probability: float, threads: int, way: str, data: Any
) -> None:
    generator = torch.Generator().manual_seed(sum(shape))
    values = torch.randn(shape, generator=generator)
    values[values > 2] = torch.inf
    values[values < -2] = torch.nan
    steps = torch.randint(-(2**40), 2**40, shape[:-1], generator=generator)
    if data.draw(st.booleans()):  # strides, and a step for many
        values, steps = values.transpose(-1, -2).contiguous().transpose(-1, -2), steps[..., :1]
    results = {}
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counter, "SMALL", 0)  # threads also where there is little to do
        patch.setenv("ELMAN_INSTRUCTIONS", way)
        try:
            torch.set_num_threads(threads)
            for mode in ("torch", "native"):
                patch.setenv("ELMAN_KERNELS", mode)
                given = values.clone().requires_grad_()
                got = counter.dropout(given, probability, key, steps)
                got.backward(values.flip(0))
                assert given.grad is not None
                results[mode] = got.detach(), given.grad
        finally:
            torch.set_num_threads(before)
    for wanted, got in zip(results["torch"], results["native"], strict=True):
        assert torch.equal(wanted.view(torch.int32), got.view(torch.int32))


@pytest.mark.skipif(not kernels.native_available(), reason="there is no native module here")
def test_second_derivatives_and_transforms_pass_through_dropout() -> None:
    steps = torch.arange(3)[:, None].expand(3, 2)
    x = torch.randn(3, 2, 5, requires_grad=True)

    def total(x: torch.Tensor) -> torch.Tensor:
        return counter.dropout(counter.dropout(x, 0.5, 1, steps) ** 3, 0.5, 2, steps).sum()

    (first,) = torch.autograd.grad(total(x), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    kept = counter.dropout(torch.ones(3, 2, 5), 0.5, 1, steps)
    factor = counter.dropout(kept**3, 0.5, 2, steps)
    torch.testing.assert_close(second, 6 * x.detach() * factor)
    torch.testing.assert_close(torch.func.grad(total)(x.detach()), first.detach())


def test_no_dropout_is_no_work() -> None:
    values = torch.randn(2, 3)
    assert counter.dropout(values, 0.0, 1, torch.zeros(2, dtype=torch.int64)) is values
