"""elman.lattice.chains: against enumeration, and the kernels of each instruction set against the
reference.
"""

import math
import threading

import numpy as np
import pytest

from elman import kernels
from elman.errors import KernelError, ShapeError
from elman.lattice.chains import Chains, Sums, best_paths, sums
from lattice_oracles import chain_paths, log_sum

needs_native = pytest.mark.skipif(not kernels.native_available(), reason=kernels.native_status())


def chains(
    seed: int, states: int, lengths: list[int], *, indexed: bool = False, sparse: bool = False,
    dtype: type = np.float64, scale: float = 2.0,
) -> Chains:  # fmt: skip
    """Random ones; ragged and interleaved as a (T, N, S) tensor has them, or one after the other with an
    index.
    """
    random = np.random.default_rng(seed)
    transitions = random.normal(size=(states, states)) * scale
    if sparse:
        transitions[random.random((states, states)) < 0.4] = -np.inf
        np.fill_diagonal(transitions, 0.0)
    start, end = random.normal(size=(2, states))
    count, time = len(lengths), max(lengths)
    ends = np.array(lengths)
    if indexed:
        rows, index = random.normal(size=(6, states)) * scale, random.integers(0, 6, sum(lengths))
        first = np.cumsum(ends) - ends
        return Chains(rows.astype(dtype), first, ends, transitions, start, end, index.astype(np.int32))
    rows = (random.normal(size=(time * count, states)) * scale).astype(dtype)
    return Chains(rows, np.arange(count), ends, transitions, start, end, step=count)


def paths_of(given: Chains, n: int) -> dict[tuple[int, ...], float]:
    """The score of every path of a chain."""
    places = given.places(n)
    rows = np.asarray(given.rows[places if given.index is None else given.index[places]], float)
    steps = np.broadcast_to(given.transitions, (max(len(places) - 1, 0), *given.transitions.shape))
    return {path: score for score, path in chain_paths(rows, steps, given.start, given.end)}


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("states", [1, 2, 3])
def test_sums_gradients_and_best_paths_equal_enumeration(
    monkeypatch: pytest.MonkeyPatch, mode: str, states: int, sparse: bool
) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", mode)
    for seed in range(4):
        lengths = [7, 0, 1, 4]
        given = chains(seed, states, lengths, sparse=sparse)
        weights = np.array([1.0, 2.0, -0.5, 3.0])
        found = sums(given, weights, exact=True)
        paths, best = best_paths(given, exact=True)
        assert found.gradient is not None
        rows = np.zeros((7, 4, states))
        steps, first, last = np.zeros((states, states)), np.zeros(states), np.zeros(states)
        for n in range(len(lengths)):
            every = paths_of(given, n)
            total = log_sum(list(every.values()))
            assert math.isclose(found.log_partition[n], total, rel_tol=1e-12, abs_tol=1e-12)
            assert math.isclose(best[n], max(every.values()), rel_tol=1e-12, abs_tol=1e-12)
            assert tuple(paths[given.places(n)]) == max(every, key=lambda path: every[path])
            for path, score in every.items():
                share = weights[n] * math.exp(score - total)
                for t, s in enumerate(path):
                    rows[t, n, s] += share
                    if t:
                        steps[path[t - 1], s] += share
                if path:
                    first[path[0]] += share
                    last[path[-1]] += share
        expected = (rows.reshape(28, states), steps, first, last)
        for got, wanted in zip(found.gradient, expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-10)


@needs_native
@pytest.mark.parametrize("states", [3, 16, 17, 65])  # whole vectors, parts of one, more than a panel
@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_every_version_of_the_kernels_equals_the_reference(
    monkeypatch: pytest.MonkeyPatch, states: int, indexed: bool, sparse: bool
) -> None:
    weights = np.array([1.0, -2.0, 1.0, 0.5])
    for dtype in (np.float32, np.float64):
        given = chains(states, states, [70, 3, 0, 64], indexed=indexed, sparse=sparse, dtype=dtype)
        monkeypatch.setenv("ELMAN_KERNELS", "reference")
        wanted, (_, wanted_best) = sums(given, weights), best_paths(given)
        monkeypatch.delenv("ELMAN_KERNELS")
        assert wanted.gradient is not None
        read = np.concatenate([given.places(n) for n in range(4)])
        for instructions in kernels.native_module().chain_kernels():
            monkeypatch.setenv("ELMAN_INSTRUCTIONS", instructions)
            for exact, tolerance in ((False, 3e-6), (True, 1e-6 if dtype == np.float32 else 1e-10)):
                found, alone = sums(given, weights, exact=exact), sums(given, exact=exact)
                assert found.gradient is not None
                for total in (found.log_partition, alone.log_partition):
                    np.testing.assert_allclose(total, wanted.log_partition, rtol=tolerance)
                for got, want in zip(found.gradient, wanted.gradient, strict=True):
                    np.testing.assert_allclose(got, want, rtol=tolerance, atol=10 * tolerance)
                paths, best = best_paths(given, exact=exact)
                np.testing.assert_allclose(best, wanted_best, rtol=1e-6)
                assert set(np.flatnonzero(paths >= 0)) == set(read)


@needs_native
@pytest.mark.parametrize("states", [3, 20, 300])
def test_a_long_chain_in_halves_equals_the_whole(monkeypatch: pytest.MonkeyPatch, states: int) -> None:
    for indexed in (False, True):
        for sparse in (False, True):
            given = chains(states, states, [1500], indexed=indexed, sparse=sparse)
            whole, half = sums(given, threads=1), sums(given, threads=2)
            np.testing.assert_allclose(half.log_partition, whole.log_partition, rtol=1e-7)
            np.testing.assert_allclose(half.log_partition, sums(given, exact=True).log_partition, rtol=1e-6)
            np.testing.assert_allclose(
                best_paths(given, threads=2)[1], best_paths(given, exact=True)[1], rtol=1e-7
            )


@needs_native
def test_what_float32_would_lose_is_not_lost() -> None:
    """Two chains of states that never meet: the one far behind at half time is far ahead at the end."""
    rows = np.zeros((400, 4))
    rows[:200, 2:], rows[200:, :2] = -30.0, -31.0
    apart = np.full((4, 4), -np.inf)
    apart[:2, :2] = apart[2:, 2:] = np.log(0.5)
    even = np.zeros(4)
    given = Chains(rows, np.array([0]), np.array([400]), apart, even, even)
    # Each of two worlds has 2^400 paths of 0.5^399: start, then 200 steps at -30 or -31.
    expected = np.logaddexp(-200 * 31.0, -200 * 30.0) + math.log(2.0)
    for threads in (1, 2):
        np.testing.assert_allclose(sums(given, threads=threads).log_partition, [expected], rtol=1e-12)
    found = sums(given, np.ones(1))
    assert found.gradient is not None
    np.testing.assert_allclose(found.gradient.rows, np.tile([0.0, 0.0, 0.5, 0.5], (400, 1)), atol=1e-12)


@needs_native
def test_scores_far_apart_and_long_chains_keep_their_digits() -> None:
    given = chains(5, 8, [20000], scale=60.0)
    exact, fast = sums(given, exact=True), sums(given)
    np.testing.assert_allclose(fast.log_partition, exact.log_partition, rtol=1e-7)


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_an_impossible_chain_is_minus_infinity_and_has_no_gradient(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", mode)
    given = chains(0, 3, [4, 4])
    given.rows[2 * 2] = -np.inf  # chain 0, time 2
    found = sums(given, np.ones(2))
    assert found.log_partition[0] == -np.inf
    assert np.isfinite(found.log_partition[1])
    assert found.gradient is not None
    assert all(np.isfinite(part).all() for part in found.gradient)
    np.testing.assert_allclose(found.gradient.start.sum(), 1.0, rtol=1e-6)
    paths, best = best_paths(given)
    assert best[0] == -np.inf
    assert (paths[given.places(0)] == -1).all()
    assert (paths[given.places(1)] >= 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_score_is_named(bad: float) -> None:
    given = chains(0, 3, [4, 4])
    given.rows[2 * 2 + 1, 1] = bad
    for call in (lambda: sums(given), lambda: best_paths(given), lambda: sums(given, np.ones(2), exact=True)):
        with pytest.raises(ShapeError, match="chain 1, time 2, state 1: expected a finite score"):
            call()
    transitions = np.zeros((2, 2))
    transitions[1, 0] = bad
    with pytest.raises(ShapeError, match=r"transitions\[1, 0\]: expected a finite score"):
        Chains(np.zeros((3, 2)), np.array([0]), np.array([3]), transitions, np.zeros(2), np.zeros(2))


@needs_native
def test_threads_and_callers_do_not_disturb_each_other() -> None:
    given = chains(3, 20, [50, 80, 7, 0, 33] * 5)
    wanted = sums(given, np.ones(25), threads=1)
    results: list[Sums] = []
    workers = [
        threading.Thread(target=lambda: results.append(sums(given, np.ones(25), threads=2))) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 4
    for found in results:
        np.testing.assert_array_equal(found.log_partition, wanted.log_partition)
        assert found.gradient is not None
        assert wanted.gradient is not None
        np.testing.assert_allclose(found.gradient.transitions, wanted.gradient.transitions, rtol=1e-6)


def test_native_where_there_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", "native")
    monkeypatch.setattr(kernels, "_native", None)
    with pytest.raises(KernelError):
        sums(chains(0, 2, [3]))
