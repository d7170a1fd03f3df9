"""Beam search for batches: against everything there is, against lists, and a batch against its sources."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elman.errors import ConfigError, DivergedError, ShapeError
from elman.search.beam import Hypothesis, beam_search
from search_oracles import Path, Tiny, TinyState, Walk, beam_by_hand, score

VOCABULARY, SOURCES = 3, (2, 4, 3)

SCORING = st.fixed_dictionaries(
    {
        "alpha": st.sampled_from([0.0, 0.5, 1.0, 2.0]),
        "normalisation": st.sampled_from(["power", "gnmt"]),
        "coverage": st.sampled_from([0.0, 0.3, 2.0]),
    }
)
PREFIXES = st.lists(st.lists(st.sampled_from([1, 2]), max_size=3), min_size=3, max_size=3)


def search(model: Tiny, sources: tuple[int, ...] = (0, 1, 2), **options: Any) -> list[list[Hypothesis]]:
    logits, state = model.start(sources)
    model.rows.clear()
    lengths = model.lengths[list(sources)]
    return beam_search(
        model.step, logits, state, attention=lambda s: s.weights, source_lengths=lengths, **options
    )


def check(found: list[Hypothesis], expected: list[tuple[float, Path]]) -> None:
    assert [h.ids for h in found] == [path.ids for _, path in expected]
    for h, (value, path) in zip(found, expected, strict=True):
        assert h.score == pytest.approx(value, rel=1e-12, abs=1e-12)
        assert h.log_prob == pytest.approx(path.log_prob, rel=1e-12, abs=1e-12)
        assert h.attention is not None
        assert torch.allclose(h.attention, torch.tensor(path.looked, dtype=torch.float64), atol=1e-12)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 999),
    stop=st.sampled_from([(), (0,), (0, 2)]),
    minimum=st.integers(1, 2),
    best=st.sampled_from([1, 4, 200]),
    limits=st.lists(st.integers(2, 4), min_size=3, max_size=3),
    prefixes=st.lists(st.lists(st.just(1), max_size=2), min_size=3, max_size=3),
    scoring=SCORING,
)
def test_a_wide_beam_finds_the_best_of_all(
    seed: int,
    stop: tuple[int, ...],
    minimum: int,
    best: int,
    limits: list[int],
    prefixes: list[list[int]],
    scoring: dict[str, Any],
) -> None:
    model = Tiny(seed, VOCABULARY, SOURCES)
    found = search(
        model,
        length=torch.tensor(limits),
        best=best,
        beam=max(best, VOCABULARY**4),
        stop=stop,
        minimum=minimum,
        prefixes=prefixes,
        **scoring,
    )
    for source, hypotheses in enumerate(found):
        walk = Walk(model, source)
        paths = list(walk.all_finished(limits[source], stop, minimum, prefixes[source]))
        ranked = sorted(((score(path, **scoring), path) for path in paths), key=lambda item: -item[0])
        check(hypotheses, ranked[:best])
        assert [h.stopped for h in hypotheses] == [h.ids[-1] in stop for h in hypotheses]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 999),
    stop=st.sampled_from([(), (0,), (0, 3)]),
    minimum=st.integers(1, 4),
    beam=st.integers(1, 5),
    best=st.integers(1, 5),
    diversity=st.sampled_from([0.0, 0.7]),
    stopping=st.sampled_from(["proved", "likely"]),
    limits=st.lists(st.integers(4, 9), min_size=3, max_size=3),
    prefixes=st.none() | PREFIXES,
    scoring=SCORING,
)
def test_a_narrow_beam_keeps_what_the_definition_keeps(
    seed: int,
    stop: tuple[int, ...],
    minimum: int,
    beam: int,
    best: int,
    diversity: float,
    stopping: str,
    limits: list[int],
    prefixes: list[list[int]] | None,
    scoring: dict[str, Any],
) -> None:
    """The lists go to the limit: stopping where it is proved must not have changed anything."""
    model, best = Tiny(seed, 4, SOURCES), min(best, beam)
    rules: dict[str, Any] = {"best": best, "beam": beam, "stop": stop, "minimum": minimum}
    rules |= {"diversity": diversity, "stopping": stopping, **scoring}
    found = search(model, length=torch.tensor(limits), prefixes=prefixes, **rules)
    for source, hypotheses in enumerate(found):
        prefix = prefixes[source] if prefixes else []
        expected = beam_by_hand(Walk(model, source), length=limits[source], prefix=prefix, **rules)
        check(hypotheses, expected)
        (alone,) = search(
            model, (source,), length=limits[source], prefixes=None if prefixes is None else [prefix], **rules
        )
        assert [(h.ids, h.stopped) for h in alone] == [(h.ids, h.stopped) for h in hypotheses]


def table_step(ids: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Logits in quarters by a mixture of all symbols so far: ties everywhere, and no rounding by batch."""
    state = (state * 31 + ids + 7) % 1009
    mixed = (state[:, None] * torch.arange(3, 303) * 17) % 1013
    return (mixed % 9).float() / 4, state


def test_a_batch_finds_what_each_source_finds_ties_and_all() -> None:
    starts = torch.tensor([5, 1, 77, 400])
    options: dict[str, Any] = {"best": 3, "beam": 4, "stop": [11], "alpha": 0.7}
    limits = torch.tensor([12, 3, 30, 8])
    together = beam_search(table_step, *table_step(starts, starts), length=limits, **options)
    for source, hypotheses in enumerate(together):
        one = starts[source : source + 1]
        alone = beam_search(table_step, *table_step(one, one), length=int(limits[source]), **options)
        assert alone == [hypotheses]


def test_what_is_done_leaves_the_batch() -> None:
    """A source that stops at once, whatever the others do, is not stepped any more."""
    model = Tiny(0, 5, SOURCES)
    limits = torch.tensor([3, 6, 9])
    search(model, length=limits, beam=2)
    assert model.rows == [6, 6, 4, 4, 4, 2, 2, 2]

    def certain(ids: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        rows.append(len(ids))
        logits = torch.full((len(ids), 4), -9.0)
        logits[:, 0] = 9.0  # ends with a probability near one: no other sequence can be as good
        return logits, state

    rows: list[int] = []
    first = torch.tensor([[0.0, 9.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]])
    found = beam_search(certain, first, torch.zeros(2), length=50, beam=2, stop=[0])
    assert [h.ids for (h,) in found] == [(1, 0), (0,)]
    assert rows == [2]


@pytest.mark.parametrize(
    ("alpha", "length", "steps"), [(0.0, 50, 0), (0.5, 3, 0), (0.5, 4, 3), (1.0, 2, 1), (1.0, 50, 49)]
)
def test_it_goes_on_while_a_longer_sequence_can_win(alpha: float, length: int, steps: int) -> None:
    """(0,) ends with ln p = -0.51; (1, 1, ..) begins with -0.94, and nothing is lost after that."""

    def step(ids: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        rows.append(len(ids))
        return torch.tensor([[-torch.inf, 0.0, -torch.inf]]).expand(len(ids), -1), state

    rows: list[int] = []
    first = torch.tensor([[0.6, 0.39, 0.01]]).log()
    ((found,),) = beam_search(step, first, torch.zeros(1), length=length, beam=1, stop=[0], alpha=alpha)
    assert len(rows) == steps
    assert found.ids == ((1,) * length if steps else (0,))


def test_rows_of_the_state_follow_their_hypotheses() -> None:
    """The state of a row is the sum of its own symbols: logits by it name the symbol that must follow."""

    def step(ids: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = state * 3 + ids[:, None]
        seen.append(state[:, 0])
        return torch.stack([-(state[:, 0] % 5), state[:, 0] % 2, state[:, 0] % 7], 1).double(), state

    seen: list[Tensor] = []
    logits = torch.tensor([[0.1, 0.2, 0.3], [0.3, 0.1, 0.2]], dtype=torch.float64)
    found = beam_search(step, logits, torch.zeros(2, 1, dtype=torch.int64), length=4, best=3, beam=3)
    for source, hypotheses in enumerate(found):
        for h in hypotheses:
            total, state, expected = 0.0, torch.zeros(1, 1, dtype=torch.int64), logits[source : source + 1]
            for index in h.ids:
                total += float(expected.log_softmax(1)[0, index])
                expected, state = step(torch.tensor([index]), state)
            assert h.log_prob == pytest.approx(total, abs=1e-12)


def test_half_precision_is_normalised_in_float32() -> None:
    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(3)).bfloat16()
    ((found,),) = beam_search(lambda ids, state: (logits, state), logits, torch.zeros(1), length=1)
    assert found.log_prob == pytest.approx(float(logits.double().log_softmax(1).max()), abs=1e-6)


def test_logits_that_are_not_numbers() -> None:
    logits = torch.tensor([[0.0, 1.0], [torch.nan, 1.0]])
    with pytest.raises(DivergedError, match="logits of source 1 are not numbers"):
        beam_search(lambda ids, state: (logits[:1], state), logits, torch.zeros(2), length=1)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"length": 0}, ConfigError, "got length=0"),
        ({"length": torch.tensor([3, 0, 2])}, ConfigError, "got length=0"),
        ({"length": torch.tensor([3, 2])}, ShapeError, r"or \(3,\) of them, got \(2,\)"),
        ({"length": torch.tensor([3.0, 2.0, 2.0])}, ShapeError, "torch.float32"),
        ({"length": 3, "minimum": 4}, ConfigError, "got minimum=4, length=3"),
        ({"length": 3, "coverage": -1.0}, ConfigError, "coverage=-1.0"),
        ({"length": 3, "diversity": -1.0}, ConfigError, "diversity=-1.0"),
        ({"length": 3, "normalisation": "wu"}, ConfigError, "power or gnmt, got 'wu'"),
        ({"length": 3, "stopping": "soon"}, ConfigError, "proved or likely, got 'soon'"),
        ({"length": 3, "stop": [3]}, ConfigError, "stop: expected symbols from 0 to 2, got 3"),
        ({"length": 3, "prefixes": [[]]}, ShapeError, "prefixes: expected 3, .* got 1"),
        ({"length": 3, "prefixes": [[], [1, 7], []]}, ConfigError, "of source 1 has the symbol 7"),
        ({"length": 3, "stop": [2], "prefixes": [[2], [], []]}, ConfigError, "none that stops"),
        ({"length": 1, "prefixes": [[], [], [1, 1]]}, ConfigError, "source 2 has 2 symbols, the limit is 1"),
    ],
)
def test_what_does_not_fit(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        search(Tiny(0, VOCABULARY, SOURCES), **options)


def test_coverage_needs_an_attention() -> None:
    model = Tiny(0, VOCABULARY, SOURCES)
    logits, state = model.start((0,))

    def blind(state: TinyState) -> None:
        return None

    for attention in (None, blind):
        with pytest.raises(ConfigError, match="coverage: needs the weights of an attention"):
            beam_search(model.step, logits, state, length=2, coverage=0.2, attention=attention)
