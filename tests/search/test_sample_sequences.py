"""Whole sequences drawn for batches: their distribution, and that nothing depends on the batch."""

from collections import Counter
from typing import Any

import pytest
import torch

import oracles
from elman.errors import ConfigError, ShapeError
from elman.search.hypothesis import Hypothesis
from elman.search.sampling import Sampling, sample_sequences
from language_oracles import fits
from search_oracles import Tiny, Walk

SOURCES = (2, 4, 3)


def drawn(model: Tiny, sources: tuple[int, ...] = (0, 1, 2), **options: Any) -> list[list[Hypothesis]]:
    logits, state = model.start(sources)
    model.rows.clear()
    options = {
        "sampling": Sampling(),
        "sources": torch.tensor(sources),
        "source_lengths": model.lengths[list(sources)],
        "attention": lambda state: state.weights,
        **options,
    }
    return sample_sequences(model.step, logits, state, **options)


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(0.6), Sampling(1.5, 2), Sampling(top_p=0.8)], ids=str
)
def test_sequences_come_as_often_as_they_are_likely(sampling: Sampling) -> None:
    model = Tiny(3, 3, SOURCES)
    for source, found in enumerate(
        drawn(model, length=torch.tensor([2, 3, 2]), samples=1500, sampling=sampling, stop=[0], seed=5)
    ):
        walk, counted = Walk(model, source), Counter(h.ids for h in found)
        p = {}
        for path in walk.all_finished([2, 3, 2][source], [0]):
            p[path.ids] = 1.0
            for time, index in enumerate(path.ids):
                log_probs = torch.tensor([walk.after(path.ids[:time])[0]])
                p[path.ids] *= float(sampling.probabilities(log_probs)[0, index])
        likely = [ids for ids in p if p[ids] > 0]
        assert set(counted) <= set(likely)
        counts = torch.tensor([counted[ids] for ids in likely])
        assert len(likely) == 1 or fits(counts, torch.tensor([p[ids] for ids in likely])) > 1e-3


def test_what_is_told_of_a_sequence() -> None:
    model = Tiny(1, 4, SOURCES)
    together = drawn(model, length=torch.tensor([5, 9, 3]), samples=4, stop=[0, 2], seed=8)
    assert sum(model.rows) < 12 * 8  # those that have ended are not stepped
    for source, found in enumerate(together):
        assert len(found) == 4
        walk, limit = Walk(model, source), (5, 9, 3)[source]
        for h in found:
            steps = [walk.after(h.ids[:time]) for time in range(len(h.ids))]
            assert h.log_prob == pytest.approx(
                sum(log_probs[index] for (log_probs, _), index in zip(steps, h.ids, strict=True)), abs=1e-12
            )
            assert h.stopped == (h.ids[-1] in (0, 2))
            assert h.stopped or len(h.ids) == limit
            assert not any(index in (0, 2) for index in h.ids[:-1])
            assert h.attention is not None
            looked = torch.tensor([weights for _, weights in steps], dtype=torch.float64)
            assert torch.allclose(h.attention, looked, atol=1e-12)
        (alone,) = drawn(model, (source,), length=limit, samples=4, stop=[0, 2], seed=8)
        assert [h.ids for h in alone] == [h.ids for h in found]
        (fewer,) = drawn(model, (source,), length=limit, samples=2, stop=[0, 2], seed=8)
        assert fewer == alone[:2]


def test_draws_are_those_of_the_counter() -> None:
    model = Tiny(2, 5, SOURCES)
    walk = Walk(model, 1)
    for number, h in enumerate(drawn(model, (1,), length=6, samples=3, seed=123456789012)[0]):
        for time, index in enumerate(h.ids):
            uniform = oracles.counter_uniform(123456789012, time, 1, number)
            cumulative = torch.tensor(walk.after(h.ids[:time])[0], dtype=torch.float64).exp().cumsum(0)
            assert int((cumulative <= uniform).sum()) == index


def test_greedy_follows_the_likeliest() -> None:
    model = Tiny(4, 5, SOURCES)
    (found,) = drawn(model, (2,), length=7, sampling=Sampling(0))
    walk = Walk(model, 2)
    for time, index in enumerate(found[0].ids):
        log_probs = walk.after(found[0].ids[:time])[0]
        assert index == log_probs.index(max(log_probs))


def test_sizes_out_of_range() -> None:
    model = Tiny(0, 3, SOURCES)
    wrong: list[dict[str, Any]] = [{"length": 0}, {"length": 3, "samples": 0}]
    for options in wrong:
        with pytest.raises(ConfigError, match="expected samples and length of at least 1"):
            drawn(model, **options)
    with pytest.raises(ShapeError, match=r"got \(2,\)"):
        drawn(model, length=torch.tensor([1, 2]))
