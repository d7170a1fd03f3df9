"""Every example once in an epoch, in batches of the promised size, and nothing but (seed, update) decides."""

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elman.data.buckets import Buckets
from elman.errors import DataError

LENGTHS = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60)), min_size=1, max_size=80)


def buckets(lengths: list[tuple[int, int]], tokens: int, seed: int = 0, noise: float = 2.0) -> Buckets:
    primary, secondary = torch.tensor(lengths).unbind(1)
    return Buckets(primary, secondary, tokens, seed=seed, noise=noise)


class TestBuckets:
    @given(LENGTHS, st.integers(1, 2000), st.integers(0, 9), st.floats(0, 20))
    def test_every_example_once_in_an_epoch_and_no_batch_empty_or_too_large(
        self, lengths: list[tuple[int, int]], tokens: int, epoch: int, noise: float
    ) -> None:
        made = buckets(lengths, tokens, noise=noise)
        batches = [made.read(epoch * made.updates + place).tolist() for place in range(made.updates)]
        assert sorted(chain.from_iterable(batches)) == list(range(len(lengths)))
        assert all(batches)
        sizes = [sum(lengths[row]) for row in range(len(lengths))]
        largest = max(sizes)
        share = sum(sizes) / made.updates
        assert all(share - largest < sum(sizes[row] for row in batch) < share + largest for batch in batches)
        assert share <= max(tokens, 2 * largest)

    @given(LENGTHS, st.permutations(range(12)))
    def test_a_batch_is_a_function_of_seed_and_update(
        self, lengths: list[tuple[int, int]], updates: list[int]
    ) -> None:
        straight, mixed = buckets(lengths, 100, seed=3), buckets(lengths, 100, seed=3)
        wanted = {update: straight.read(update).tolist() for update in range(12)}
        assert {update: mixed.read(update).tolist() for update in updates} == wanted

    def test_epochs_and_seeds_differ(self) -> None:
        lengths = [(1 + n % 7, 1 + n % 5) for n in range(200)]
        made = buckets(lengths, 100, seed=1)
        first = [made.read(update).tolist() for update in range(made.updates)]
        second = [made.read(made.updates + update).tolist() for update in range(made.updates)]
        other = [buckets(lengths, 100, seed=2).read(update).tolist() for update in range(made.updates)]
        assert first != second
        assert sorted(map(sorted, first)) != sorted(map(sorted, second))  # other batches, not another order
        assert first != other

    def test_without_noise_batches_hold_what_is_alike(self) -> None:
        lengths = [(1 + n % 30, 1 + n * 7 % 30) for n in range(900)]
        for batch in buckets(lengths, 300, noise=0.0).plan(0):
            first = [lengths[row][0] for row in batch.tolist()]
            assert max(first) - min(first) <= 1

    def test_little_padding_with_the_noise_of_the_default(self) -> None:
        lengths = [(3 + n * n % 30, 3 + n * 7 % 30) for n in range(3000)]
        padded = sum(
            len(batch) * (max(lengths[row][0] for row in batch) + max(lengths[row][1] for row in batch))
            for batch in (batch.tolist() for batch in buckets(lengths, 600).plan(0))
        )
        assert sum(map(sum, lengths)) / padded > 0.85

    def test_none_is_refused(self) -> None:
        with pytest.raises(DataError, match="at least one example"):
            Buckets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), 10)
