"""Copying: the mixture summed in loops, and words that no vocabulary has."""

import math

import pytest
import torch

from elman.models.pointer import LEAST, PointerHead
from elman.models.seq2seq import Seq2Seq
from elman.padded import Padded


def test_the_mixture_is_its_sum() -> None:
    torch.manual_seed(2)
    head = PointerHead(3).double()
    logits, seen = torch.randn(2, 4, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    weights = torch.tensor([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]], dtype=torch.float64)
    ids = torch.tensor([[1, 5, 1], [4, 0, 0]])
    found = head(logits, seen, weights, ids, 2).detach()
    assert found.shape == (2, 6)
    for n in range(2):
        gate = 1 / (1 + math.exp(-float((head.gate.weight.detach()[0] @ seen[n]) + head.gate.bias.detach())))
        powers = [math.exp(float(x)) for x in logits[n]]
        for k in range(6):
            copied = sum(float(weights[n, s]) for s in range(3) if int(ids[n, s]) == k)
            written = powers[k] / sum(powers) if k < 4 else 0.0
            wanted = math.log(gate * written + (1 - gate) * copied + LEAST)
            assert float(found[n, k]) == pytest.approx(wanted, abs=1e-12)
    assert torch.allclose(found.exp().sum(1), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-8)


def model() -> Seq2Seq:
    torch.manual_seed(3)
    return Seq2Seq(8, 8, embedding=4, hidden=6, copy=True, unknown=3, shared=True).double().eval()


def test_unknown_words_are_read_as_unknown_and_can_be_copied() -> None:
    """Ids 8 and 9 are the first and second unknown word of the first source; the second one has none."""
    copying = model()
    source = Padded(torch.tensor([[5, 4], [8, 6], [9, 0], [8, 0]]), torch.tensor([4, 2]))
    inputs, lengths = torch.tensor([[0, 0], [9, 5]]), torch.tensor([2, 2])
    logits = copying(source, inputs, lengths).logits.detach().reshape(2, 2, 10)
    known = Padded(torch.tensor([[5, 4], [3, 6], [3, 0], [3, 0]]), torch.tensor([4, 2]))
    plain = copying(known, torch.tensor([[0, 0], [3, 5]]), lengths).logits.detach().reshape(2, 2, 8)
    # What is not copied is as with unknown words; their place is taken by the words themselves.
    assert torch.allclose(logits[:, :, [0, 1, 2, 4, 5, 6, 7]], plain[:, :, [0, 1, 2, 4, 5, 6, 7]])
    together = logits[:, 0, [3, 8, 9]].exp().sum(-1)
    assert torch.allclose(together, plain[:, 0, 3].exp(), atol=1e-9)
    assert bool((logits[:, 0, 8:] > math.log(1e-3)).all())
    assert bool((logits[:, 1, 8:] == -math.inf).all()), "words of another source cannot be written"


def test_a_word_that_is_copied_is_fed_back() -> None:
    copying = model()
    source = Padded(torch.tensor([[8], [9], [5]]), torch.tensor([3]))
    inputs = torch.tensor([[0], [9], [8], [5]])
    wanted = copying(source, inputs, torch.tensor([4])).logits
    step, state = copying.start(copying.encode(source))
    for t in range(4):
        logits, state = step(inputs[t], state)
        assert torch.allclose(logits[0], wanted[t], rtol=0, atol=1e-12)
