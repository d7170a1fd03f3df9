"""Greedy decoding is the collapse of each frame's likeliest class."""

import numpy as np
import pytest
import torch

import ctc_oracles as oracle
from elman.data.alphabet import Alphabet
from elman.errors import DataError, ShapeError
from elman.search.ctc_greedy import ctc_greedy

ALPHABET = Alphabet("_ helo")


def test_hello_needs_a_blank_between_its_l() -> None:
    path = torch.tensor([0, 2, 2, 0, 3, 4, 4, 0, 4, 5])  # h h - e l l - l o
    logits = torch.nn.functional.one_hot(path, 6)[:, None] * 5.0
    (found,) = ctc_greedy(logits, alphabet=ALPHABET)
    assert (found.text, found.symbols) == ("hello", (2, 3, 4, 4, 5))
    assert (found.starts, found.ends) == ((1, 4, 5, 8, 9), (3, 5, 7, 9, 10))
    p = float(torch.tensor(5.0).exp() / (torch.tensor(5.0).exp() + 5))
    assert found.confidences == pytest.approx([p] * 5)
    assert found.score == pytest.approx(10 * np.log(p))


def test_random_paths_and_lengths() -> None:
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((9, 5, 6))
    lengths = [9, 0, 4, 1, 7]
    found = ctc_greedy(torch.from_numpy(logits), torch.tensor(lengths), alphabet=ALPHABET)
    for n, (length, transcript) in enumerate(zip(lengths, found, strict=True)):
        y = oracle.probabilities(logits[:length, n])
        assert transcript.symbols == oracle.collapse(y.argmax(1).tolist())
        assert transcript.score == pytest.approx(float(np.log(y.max(1)).sum()))


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(ShapeError, match="expected C = 6 classes"):
        ctc_greedy(torch.zeros(3, 1, 5), alphabet=ALPHABET)
    logits = torch.zeros(3, 2, 6)
    logits[1, 1, 3] = torch.nan
    with pytest.raises(DataError, match=r"utterance 1: frame 1: .* a NaN for class 3"):
        ctc_greedy(logits, alphabet=ALPHABET)
