"""The likeliest symbols of a row: natively and by torch, against float64 and a stable sort."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elman import kernels
from elman.errors import KernelError
from elman.search.likeliest import largest, likeliest

SETS = kernels.native_module().search_kernels() if kernels.native_available() else []


def by_definition(logits: Tensor, keep: int, stops: list[int]) -> tuple[Tensor, Tensor]:
    """In float64; of equal symbols the first first."""
    every = logits.double().log_softmax(1)
    order = every.sort(dim=1, descending=True, stable=True)[1][:, :keep]
    values = every.gather(1, order).masked_fill(torch.isin(order, torch.tensor(stops).long()), -torch.inf)
    ends = torch.tensor(stops, dtype=torch.int64).expand(len(logits), -1)
    return torch.cat([values, every.gather(1, ends)], 1), torch.cat([order, ends], 1)


@pytest.mark.parametrize("way", [*SETS, "torch"])
@settings(max_examples=40)
@given(
    rows=st.integers(0, 7), size=st.integers(1, 300), data=st.data(), seed=st.integers(0, 999),
    ties=st.booleans(), impossible=st.booleans(), threads=st.integers(1, 3),
)  # fmt: skip
def test_it_equals_the_definition(
    way: str, rows: int, size: int, data: Any, seed: int, ties: bool, impossible: bool, threads: int
) -> None:  # fmt: skip
    keep = data.draw(st.integers(1, size))
    stops = data.draw(st.lists(st.integers(0, size - 1), unique=True, max_size=2))
    logits = 3 * torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))
    logits = logits.round() if ties else logits
    if impossible:
        logits[:, 1::3] = -torch.inf
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELMAN_KERNELS", "torch" if way == "torch" else "native")
        patch.setenv("ELMAN_INSTRUCTIONS", "" if way == "torch" else way)
        patch.setattr("elman.search.likeliest.SMALL", 1)
        torch.set_num_threads(threads)
        values, ids = likeliest(logits, keep, torch.tensor(sorted(stops), dtype=torch.int64))
        torch.set_num_threads(before)
    wanted, places = by_definition(logits, keep, sorted(stops))
    assert values.dtype == torch.float64
    if not ties and not impossible:  # torch takes any of the equal ones
        assert torch.equal(ids, places)
        assert torch.allclose(values, wanted, rtol=0, atol=2e-6)
    elif way != "torch":
        finite = wanted > -torch.inf
        assert torch.equal(ids[finite], places[finite])
        assert torch.allclose(values, wanted, rtol=0, atol=2e-6)
    assert all(len(set(row)) == keep for row in ids[:, :keep].tolist())


@pytest.mark.parametrize("way", SETS)
def test_what_is_no_number_is_not_hidden(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_INSTRUCTIONS", way)
    logits = torch.zeros(4, 40)
    logits[1, 33] = torch.nan
    logits[2] = -torch.inf
    logits[3, 5] = torch.inf
    values, _ = likeliest(logits, 3, torch.tensor([2]))
    assert bool(values[0, -1].isfinite())
    for row in (1, 2, 3):
        assert bool(values[row, -1].isnan())


@pytest.mark.parametrize(("size", "count"), [(1, 1), (63, 5), (640, 5), (700, 4), (5000, 7)])
def test_the_largest_of_a_row(size: int, count: int) -> None:
    values = torch.randn(6, size, generator=torch.Generator().manual_seed(size))
    values[3:] = (values[3:] * 2).round()  # many equal ones: the values are the same, whichever are named
    found, places = largest(values, min(count, size))
    assert torch.equal(found, values.topk(min(count, size), 1)[0])
    assert torch.equal(values.gather(1, places), found)
    assert all(len(set(row)) == len(row) for row in places.tolist())


@pytest.mark.skipif(not SETS, reason="there is no native module here")
def test_the_native_search_is_for_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", "native")
    with pytest.raises(KernelError, match=r"logits are torch\.float64"):
        likeliest(torch.zeros(1, 3, dtype=torch.float64), 1, torch.tensor([0]))
