"""elman.padded against loops over plain Python lists."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from elman.errors import ElmanError, ShapeError
from elman.padded import Padded, check_lengths, expand_to, length_mask, reverse_by_length

CPU = torch.device("cpu")

sequences = st.lists(st.lists(st.integers(-9, 9), max_size=5), min_size=1, max_size=5)


def tensors_of(lists: list[list[int]], tail: tuple[int, ...] = ()) -> list[Tensor]:
    """One tensor (T_n, *tail) for each list; a number is repeated along the tail."""
    return [
        torch.tensor(numbers, dtype=torch.float64).reshape(len(numbers), *[1] * len(tail)).expand(-1, *tail)
        for numbers in lists
    ]


@given(lists=sequences, tail=st.sampled_from([(), (2,), (2, 3)]))
def test_of_pads_at_the_end_and_keeps_the_lengths(lists: list[list[int]], tail: tuple[int, ...]) -> None:
    padded = Padded.of(tensors_of(lists, tail), value=7)
    assert padded.lengths.tolist() == [len(numbers) for numbers in lists]
    assert padded.lengths.dtype == torch.int64
    assert padded.data.shape == (max(map(len, lists)), len(lists), *tail)
    for n, numbers in enumerate(lists):
        for t, row in enumerate(padded.data[:, n]):
            assert set(row.flatten().tolist()) == {numbers[t] if t < len(numbers) else 7}


@given(lists=sequences)
def test_mask_is_true_where_valid(lists: list[list[int]]) -> None:
    mask = Padded.of(tensors_of(lists)).mask
    assert mask.dtype == torch.bool
    for n, numbers in enumerate(lists):
        assert mask[:, n].tolist() == [t < len(numbers) for t in range(len(mask))]


@given(lists=sequences, tail=st.sampled_from([(), (2,), (2, 3)]))
def test_reverse_is_within_each_length(lists: list[list[int]], tail: tuple[int, ...]) -> None:
    padded = Padded.of(tensors_of(lists, tail), value=7)
    flipped = Padded.of(tensors_of([numbers[::-1] for numbers in lists], tail), value=7)
    assert torch.equal(padded.reverse().data, flipped.data)
    assert torch.equal(padded.reverse().lengths, padded.lengths)
    assert torch.equal(padded.reverse().reverse().data, padded.data)


def test_reverse_leaves_the_padding_and_carries_gradients() -> None:
    data = torch.tensor([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]], requires_grad=True)
    result = reverse_by_length(data, torch.tensor([2, 3]))
    assert result.tolist() == [[2.0, 6.0], [1.0, 5.0], [3.0, 4.0]]
    assert reverse_by_length(data, None).tolist() == [[3.0, 6.0], [2.0, 5.0], [1.0, 4.0]]
    (result * torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])).sum().backward()
    assert data.grad is not None
    assert data.grad.tolist() == [[2.0, 30.0], [1.0, 20.0], [3.0, 10.0]]


@given(lists=st.lists(st.lists(st.integers(-9, 9), min_size=1, max_size=5), min_size=1, max_size=5))
def test_last_is_each_ones_last_entry(lists: list[list[int]]) -> None:
    padded = Padded.of(tensors_of(lists, (2,)))
    assert padded.last().tolist() == [[numbers[-1]] * 2 for numbers in lists]


def test_an_empty_element_has_no_last_entry() -> None:
    with pytest.raises(ShapeError, match="length 0"):
        Padded(torch.zeros(2, 2), torch.tensor([2, 0])).last()


@given(lists=sequences, size=st.integers(1, 6))
def test_chunks_cut_time_and_share_out_the_lengths(lists: list[list[int]], size: int) -> None:
    padded = Padded.of(tensors_of(lists, (2,)))
    pieces = list(padded.chunks(size))
    assert len(pieces) == -(-len(padded.data) // size)
    assert all(len(piece.data) == size for piece in pieces[:-1])
    for n, numbers in enumerate(lists):
        rebuilt = [v for piece in pieces for v in piece.data[: int(piece.lengths[n]), n, 0].tolist()]
        assert rebuilt == numbers


@pytest.mark.parametrize("size", [0, -1])
def test_chunks_of_no_size_are_refused(size: int) -> None:
    with pytest.raises(ShapeError, match=f"at least 1, got {size}"):
        next(Padded(torch.zeros(2, 1), torch.tensor([2])).chunks(size))


@pytest.mark.parametrize(
    ("lengths", "told"),
    [
        (torch.tensor([1.0, 2.0]), "expected integers, got torch.float32"),
        (torch.tensor([True, False]), "expected integers, got torch.bool"),
        (torch.tensor([1]), r"expected shape \(2,\), one for each element, got \(1,\)"),
        (torch.tensor([[1, 2]]), r"got \(1, 2\)"),
        (torch.tensor(2), r"got \(\)"),
        (torch.tensor([3, 4]), "element 1 is 4, expected 0 to 3"),
        (torch.tensor([-1, 4]), "element 0 is -1, expected 0 to 3"),
    ],
)
def test_lengths_that_do_not_fit_are_told(lengths: Tensor, told: str) -> None:
    with pytest.raises(ShapeError, match=told) as caught:
        Padded(torch.zeros(3, 2, 1), lengths)
    assert isinstance(caught.value, ElmanError)


def test_sequences_that_do_not_fit_are_told() -> None:
    with pytest.raises(ShapeError, match="at least one sequence"):
        Padded.of([])
    with pytest.raises(ShapeError, match=r"sequence 1 has shape \(2, 4\), expected \(T, 3\)"):
        Padded.of([torch.zeros(5, 3), torch.zeros(2, 4)])
    with pytest.raises(ShapeError, match="sequence 0 has shape"):
        Padded.of([torch.tensor(1.0)])
    with pytest.raises(ShapeError, match=r"\(T, N, ...\), got \(3,\)"):
        Padded(torch.zeros(3), torch.tensor([1]))


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8, torch.int64])
def test_lengths_become_int64(kind: torch.dtype) -> None:
    assert Padded(torch.zeros(3, 2), torch.tensor([1, 3], dtype=kind)).lengths.dtype == torch.int64
    assert check_lengths(torch.tensor([0, 3], dtype=kind), 3, 2, CPU).tolist() == [0, 3]


def test_a_batch_of_none_and_a_time_of_none() -> None:
    none = Padded(torch.zeros(3, 0, 2), torch.zeros(0, dtype=torch.int64))
    assert none.mask.shape == (3, 0)
    assert none.reverse().data.shape == (3, 0, 2)
    brief = Padded(torch.zeros(0, 2, 2), torch.tensor([0, 0]))
    assert brief.mask.shape == (0, 2)
    assert brief.reverse().data.shape == (0, 2, 2)
    assert list(brief.chunks(2)) == []


def test_masks_take_the_shape_that_is_needed() -> None:
    mask = length_mask(torch.tensor([1, 0, 2]), 2)
    assert mask.tolist() == [[True, False, True], [False, False, True]]
    assert expand_to(mask, torch.zeros(2, 3, 4, 5)).shape == (2, 3, 1, 1)
    assert expand_to(mask, torch.zeros(2, 3)).shape == (2, 3)
