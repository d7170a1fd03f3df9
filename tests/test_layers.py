"""elman.layers beside torch.nn: the same numbers when an import is changed; lengths and PackedSequence."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from layer_pairs import (
    BATCH,
    KINDS,
    LENGTHS,
    SIZES,
    TIME,
    Layer,
    by_lengths,
    close,
    every_kind,
    every_shape,
    find,
    inputs,
    pack_by,
    packed,
    pair,
    plainly,
    start,
)


class TestNumbers:
    """Outputs, final states and all gradients equal to 1e-12 in float64."""

    @every_kind
    @every_shape
    @pytest.mark.parametrize("given_state", [False, True])
    def test_without_lengths(self, kind: str, depth: int, both: bool, given_state: bool) -> None:
        theirs, ours = pair(kind, depth=depth, bidirectional=both)
        state = start(theirs) if given_state else None
        close(find(ours, plainly, inputs(), state), find(theirs, plainly, inputs(), state))

    @every_kind
    @every_shape
    @pytest.mark.parametrize("given_state", [False, True])
    def test_lengths_against_packed_sequences(
        self, kind: str, depth: int, both: bool, given_state: bool
    ) -> None:
        theirs, ours = pair(kind, depth=depth, bidirectional=both)
        state = start(theirs) if given_state else None
        wanted = find(theirs, packed, inputs(), state)
        close(find(ours, by_lengths(), inputs(), state), wanted)
        close(find(ours, packed, inputs(), state), wanted)
        # With lengths that are all T it is the batch without lengths.
        full = find(ours, by_lengths(torch.full((BATCH,), TIME)), inputs(), state)
        close(full, find(theirs, plainly, inputs(), state))

    @every_kind
    @pytest.mark.parametrize("mode", ["reference", "torch"])
    def test_whatever_the_kernels(self, kind: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ELMAN_KERNELS", mode)
        theirs, ours = pair(kind, depth=2, bidirectional=True)
        state = start(theirs)
        close(find(ours, plainly, inputs(), state), find(theirs, plainly, inputs(), state))
        close(find(ours, by_lengths(), inputs(), state), find(theirs, packed, inputs(), state))

    @every_kind
    @pytest.mark.parametrize("bias", [False, True])
    def test_batch_first_and_bias(self, kind: str, bias: bool) -> None:
        theirs, ours = pair(kind, depth=2, bidirectional=True, batch_first=True, bias=bias)
        state, x = start(theirs), inputs().transpose(0, 1)
        wanted = find(theirs, plainly, x, state)
        assert wanted["outputs"].shape[:2] == (BATCH, TIME)
        close(find(ours, plainly, x, state), wanted)
        wanted = find(theirs, packed, x, state)
        close(find(ours, by_lengths(), x, state), wanted)
        close(find(ours, packed, x, state), wanted)

    @every_kind
    @pytest.mark.parametrize("batch_first", [False, True])
    @pytest.mark.parametrize("given_state", [False, True])
    def test_unbatched(self, kind: str, batch_first: bool, given_state: bool) -> None:
        theirs, ours = pair(kind, depth=2, bidirectional=True, batch_first=batch_first)
        state = None
        if given_state:
            made = start(theirs, 1)
            state = made[:, 0] if isinstance(made, Tensor) else tuple(part[:, 0] for part in made)
        wanted = find(theirs, plainly, inputs()[:, 0], state)
        assert wanted["outputs"].dim() == 2
        close(find(ours, plainly, inputs()[:, 0], state), wanted)

    @every_kind
    @pytest.mark.parametrize("batch_first", [False, True])
    def test_dropout_draws_what_torch_draws(self, kind: str, batch_first: bool) -> None:
        theirs, ours = pair(kind, depth=3, bidirectional=True, dropout=0.5, batch_first=batch_first)

        def seeded(layer: Layer, x: Tensor, state: Any) -> tuple[Tensor, Any]:
            torch.manual_seed(7)
            return layer(x, state)

        wanted = find(theirs, seeded, inputs(), None)
        close(find(ours, seeded, inputs(), None), wanted)
        dry = find(ours.eval(), seeded, inputs(), None)
        assert not torch.allclose(dry["outputs"], wanted["outputs"])
        close(dry, find(theirs.eval(), seeded, inputs(), None))

    @every_kind
    @settings(max_examples=5)
    @given(data=st.data())
    def test_any_lengths(self, kind: str, data: st.DataObject) -> None:
        time = data.draw(st.integers(1, 6))
        sizes = torch.tensor(data.draw(st.lists(st.integers(1, time), min_size=1, max_size=4)))
        theirs, ours = pair(kind, depth=2, bidirectional=True)
        x, state = inputs(time, len(sizes)), start(theirs, len(sizes))
        wanted = find(theirs, pack_by(sizes), x, state)
        close(find(ours, by_lengths(sizes), x, state), wanted)
        close(find(ours, pack_by(sizes), x, state), wanted)


def distances(layer: Layer, compute: Any, x: Tensor, exact: dict[str, Tensor]) -> dict[str, float]:
    """How far each value and gradient in float32 is from the one in float64, at most."""
    found = find(layer, compute, x, None)
    assert {value.dtype for value in found.values()} == {torch.float32}
    return {name: float((value.double() - exact[name]).abs().max()) for name, value in found.items()}


@every_kind
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_in_float32_no_further_from_float64_than_twice_torchs_distance(kind: str, ragged: bool) -> None:
    """The largest distance of each value and gradient over two draws of weights and inputs.

    The floor is two roundings of the largest number: computations that differ in the order of a sum alone may
    differ by that, however near the exact number torch's happens to come.
    """
    time, batch = 40, 16
    sizes = torch.arange(batch) * 5 % time + 1
    sizes[3] = time
    mine: dict[str, float] = {}
    its: dict[str, float] = {}
    largest: dict[str, float] = {}
    for seed in range(2):
        theirs, ours = pair(kind, 8, 32, 2, torch.float32, bidirectional=True)
        exact, _ = pair(kind, 8, 32, 2, torch.float64, bidirectional=True)
        torch.manual_seed(seed)
        for parameter in theirs.parameters():
            nn.init.uniform_(parameter, -0.3, 0.3)
        ours.load_state_dict(theirs.state_dict())
        exact.load_state_dict(theirs.state_dict())
        x = inputs(time, batch, 8, seed).float()
        usual = pack_by(sizes) if ragged else plainly
        wanted = find(exact, usual, x.double(), None)
        for worst, found in (
            (its, distances(theirs, usual, x, wanted)),
            (mine, distances(ours, by_lengths(sizes) if ragged else plainly, x, wanted)),
            (largest, {name: float(value.abs().max()) for name, value in wanted.items()}),
        ):
            worst.update({name: max(worst.get(name, 0.0), value) for name, value in found.items()})
    for name, distance in mine.items():
        floor = 2 * torch.finfo(torch.float32).eps * largest[name]
        assert distance <= 2 * its[name] + floor, f"{name}: {distance:.3g}, torch {its[name]:.3g}"
    assert min(its.values()) > 0


class TestPackedSequence:
    @pytest.mark.parametrize(
        ("sizes", "sort"), [([7, 5, 5, 2, 1], True), ([7, 5, 5, 2, 1], False), (SIZES, False)]
    )
    def test_what_goes_in_packed_comes_out_packed_the_same_way(self, sizes: list[int], sort: bool) -> None:
        theirs, ours = pair("LSTM", depth=2, bidirectional=True)
        pack = pack_padded_sequence(inputs(), torch.tensor(sizes), enforce_sorted=sort)
        state = start(theirs)
        (wanted, wanted_final), (got, final) = theirs(pack, state), ours(pack, state)
        assert isinstance(got, PackedSequence)
        assert torch.allclose(got.data, wanted.data, atol=1e-12)
        assert torch.equal(got.batch_sizes, wanted.batch_sizes)
        for name in ("sorted_indices", "unsorted_indices"):
            mine, its = getattr(got, name), getattr(wanted, name)
            assert (mine is None and its is None) or torch.equal(mine, its)
        for mine, its in zip(final, wanted_final, strict=True):
            assert torch.allclose(mine, its, atol=1e-12)

    def test_equal_lengths_stay_in_the_order_they_came(self) -> None:
        """A pack may hold elements of one length in any order; ours must not put them in another."""
        theirs, ours = pair("GRU", bidirectional=True)
        x = inputs(3, 4)
        order = torch.tensor([2, 0, 3, 1])
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(4)
        data = pack_padded_sequence(x[:, order], torch.full((4,), 3)).data
        pack = PackedSequence(data, torch.full((3,), 4), order, inverse)
        (wanted, wanted_final), (got, final) = theirs(pack), ours(pack)
        assert torch.allclose(got.data, wanted.data, atol=1e-12)
        assert torch.allclose(final, wanted_final, atol=1e-12)
        assert torch.equal(got.sorted_indices, order)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_autocast_computes_as_torch_does() -> None:
    """Two layers under autocast, the second fed by the first's narrow outputs, with and without lengths."""
    for kind in KINDS:
        theirs, ours = pair(kind, depth=2, bidirectional=True, dtype=torch.float32)
        x = inputs().float()
        exact, _ = ours(x)
        ragged, _ = ours(x, lengths=LENGTHS)
        with torch.autocast("cpu", torch.bfloat16):
            wanted, _ = theirs(x)
            got, _ = ours(x)
            some, _ = ours(x, lengths=LENGTHS)
        assert torch.equal(got, wanted)
        assert float((got.float() - exact).detach().abs().max()) < 0.05
        assert float((some.float() - ragged).detach().abs().max()) < 0.05
