"""Tuning finds the weights with which a bigram mends what the network got wrong."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from elman.data.alphabet import Alphabet
from elman.data.logits import CachedLogits
from elman.errors import ConfigError, DataError
from elman.metrics.error_rate import error_rate
from elman.search.ctc_beam import CTCBeam
from elman.search.tuning import tune


def rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    return error_rate(references, hypotheses).rate


def test_the_least_rate_of_all_that_was_tried_is_found() -> None:
    """The network says 'a b' for 'a', not quite sure: beta far below 0 mends it, and then spoils the rest."""
    alphabet = Alphabet("_ ab")
    rng = np.random.default_rng(1)
    texts, utterances = ["a", "b a", "b", "a b a"], []
    for text in texts:
        said = text.replace("a", "a b") if text == "a" else text
        path = [c for symbol in alphabet.encode(said) for c in (symbol, 0)]
        sure = torch.nn.functional.one_hot(torch.tensor(path), 4) * 9.0
        if text == "a":  # the space and b are just likelier than blanks
            sure[2], sure[4] = torch.tensor([8.0, 9, 0, 0]), torch.tensor([8.0, 0, 0, 9])
        utterances.append(sure + torch.from_numpy(rng.standard_normal(sure.shape) * 0.1).float())
    cached = CachedLogits(utterances, alphabet, references=tuple(texts))
    seen = []
    trials = tune(
        lambda alpha, beta: CTCBeam(alphabet, beta=beta),
        cached,
        rate=rate,
        betas=(-12, 4),
        report=seen.append,
    )
    assert sorted(trials, key=lambda t: t.rate) == trials
    assert len(seen) == len(trials) == len({(t.alpha, t.beta) for t in trials})
    assert trials[0].rate == 0
    assert -9 < trials[0].beta < -1
    at_zero = next(t for t in trials if t.beta == 0)
    assert at_zero.rate == pytest.approx(1 / 7)


def test_what_cannot_be_tuned_is_told() -> None:
    cached = CachedLogits([torch.zeros(2, 2)], Alphabet("_a"))
    with pytest.raises(DataError, match="no references"):
        tune(lambda alpha, beta: CTCBeam(cached.alphabet), cached, rate=rate)
    cached = CachedLogits([torch.zeros(2, 2)], Alphabet("_a"), references=("a",))
    with pytest.raises(ConfigError, match="from least to greatest"):
        tune(lambda alpha, beta: CTCBeam(cached.alphabet), cached, rate=rate, betas=(1, 0))
