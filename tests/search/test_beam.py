"""Beam search against every sequence there is, and against a beam kept by hand."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from elman.cells import State
from elman.errors import ConfigError
from elman.models.language_model import LanguageModel
from elman.search.beam import Hypothesis, beam_search
from language_oracles import OneByOne, finished_texts, small

VOCABULARY = 3


def search(model: LanguageModel, **options: Any) -> list[Hypothesis]:
    with torch.no_grad():
        (found,) = beam_search(model.step, model.prior(1), model.initial_state(1), **options)
    return found


def scored(model: LanguageModel, texts: Sequence[tuple[int, ...]], alpha: float) -> list[tuple[float, float]]:
    """Score and log probability of each text."""
    by_hand = OneByOne(model)
    sums = [by_hand.log_prob(ids) for ids in texts]
    return [(total / len(ids) ** alpha, total) for ids, total in zip(texts, sums, strict=True)]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("stop", [(), (0,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_wide_beam_finds_the_best_of_all(seed: int, stop: tuple[int, ...], alpha: float) -> None:
    model = small(VOCABULARY, "lstm", layers=2, seed=seed)
    texts = list(finished_texts(VOCABULARY, 4, stop))
    ranked = sorted(
        zip(scored(model, texts, alpha), texts, strict=True), key=lambda item: (-item[0][0], item[1])
    )
    for best in (1, 3, len(texts)):
        found = search(model, length=4, best=best, beam=VOCABULARY**4, stop=stop, alpha=alpha)
        assert [h.ids for h in found] == [ids for _, ids in ranked[:best]]
        for h, ((score, log_prob), ids) in zip(found, ranked, strict=False):
            assert abs(h.score - score) < 1e-12
            assert abs(h.log_prob - log_prob) < 1e-12
            assert h.stopped == (ids[-1] in stop)


def kept_by_hand(
    model: LanguageModel, length: int, best: int, beam: int, stop: tuple[int, ...]
) -> list[tuple[float, tuple[int, ...]]]:
    """The definition: of each length the `beam` best unfinished sequences; all that finish, in order."""
    by_hand = OneByOne(model)
    finished: list[tuple[float, tuple[int, ...]]] = []
    unfinished: list[tuple[int, ...]] = [()]
    for size in range(1, length + 1):
        longer: list[tuple[int, ...]] = [(*ids, index) for ids in unfinished for index in range(VOCABULARY)]
        values = {ids: by_hand.log_prob(ids) for ids in longer}
        ended = [ids for ids in longer if ids[-1] in stop or size == length]
        finished += [(values[ids], ids) for ids in ended]
        unfinished = sorted(set(longer) - set(ended), key=lambda ids: -values[ids])[:beam]
    return sorted(finished, key=lambda item: -item[0])[:best]


@pytest.mark.parametrize("stop", [(), (1,)])
@pytest.mark.parametrize(("best", "beam"), [(1, 1), (1, 2), (3, 3), (2, 5)])
def test_a_narrow_beam_keeps_what_the_definition_keeps(best: int, beam: int, stop: tuple[int, ...]) -> None:
    missed = 0
    for seed in range(6):
        model = small(VOCABULARY, seed=seed)
        found = search(model, length=5, best=best, beam=beam, stop=stop)
        expected = kept_by_hand(model, 5, best, beam, stop)
        assert [h.ids for h in found] == [ids for _, ids in expected]
        everything = search(model, length=5, best=best, beam=VOCABULARY**5, stop=stop)
        missed += [h.ids for h in everything] != [h.ids for h in found]
    if beam == 1 and not stop:
        assert missed  # so the comparison was not of beams that are wide enough for anything


def test_a_beam_of_one_is_greedy() -> None:
    model = small(5, seed=3)
    ids: list[int] = []
    logits, state = model.prior(1), model.initial_state(1)
    with torch.no_grad():
        for _ in range(8):
            ids.append(int(logits.argmax()))
            logits, state = model.step(torch.tensor(ids[-1:]), state)
    (found,) = search(model, length=8, beam=1)
    assert found.ids == tuple(ids)


@pytest.mark.parametrize(("best", "width"), [(1, 8), (2, 8), (3, 12), (5, 20)])
def test_the_beam_where_nothing_is_said(best: int, width: int) -> None:
    model = small(7, seed=1)
    rows = []

    def step(ids: Tensor, state: State) -> tuple[Tensor, State]:
        rows.append(len(ids))
        return model.step(ids, state)

    with torch.no_grad():
        (found,) = beam_search(step, model.prior(1), model.initial_state(1), length=4, best=best)
    assert rows == [7, width, width]
    assert found == search(model, length=4, best=best, beam=width)


def test_fewer_sequences_than_were_asked_for() -> None:
    found = search(small(2), length=2, best=50)
    assert sorted(h.ids for h in found) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [h.log_prob for h in found] == sorted((h.log_prob for h in found), reverse=True)


def test_it_goes_on_from_a_context() -> None:
    model = small(VOCABULARY, seed=2)
    with torch.no_grad():
        logits, state = model(torch.tensor([[2], [0]]))
        ((found,),) = beam_search(model.step, logits[-1], state, length=3, beam=27)
    by_hand = OneByOne(model)
    whole = {ids: by_hand.log_prob((2, 0, *ids)) for ids in finished_texts(VOCABULARY, 3, ())}
    best = max(whole, key=lambda ids: whole[ids])
    assert found.ids == best
    assert abs(found.log_prob - (whole[best] - by_hand.log_prob((2, 0)))) < 1e-12


@pytest.mark.parametrize(
    "options",
    [
        {"length": 0},
        {"length": 3, "best": 0},
        {"length": 3, "best": 4, "beam": 3},
        {"length": 3, "alpha": -0.5},
    ],
)
def test_sizes_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"beam search: expected length and best of at least 1.* got length="
    ):
        search(small(), **options)
