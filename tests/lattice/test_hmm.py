"""HMMs: Baum-Welch against enumeration with scipy's densities, published examples, scikit-learn's own
checks.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from elman.errors import ConfigError, DataError, ShapeError
from elman.lattice.estimator import NotFittedError
from elman.lattice.hmm import HMM
from elman.lattice.hmm_discrete import CategoricalHMM, MultinomialHMM
from elman.lattice.hmm_gaussian import GaussianHMM, MixtureHMM

Array = NDArray[Any]
LENGTHS = [4, 0, 3]
START, STEPS = np.array([0.7, 0.3]), np.array([[0.8, 0.2], [0.4, 0.6]])
FAIR, LOADED = np.full(6, 1 / 6), np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.5])


def casino(**parameters: Any) -> CategoricalHMM:
    """The occasionally dishonest casino (Durbin, Eddy, Krogh and Mitchison 1998, section 3.2)."""
    return CategoricalHMM.of([0.5, 0.5], [[0.95, 0.05], [0.1, 0.9]], [FAIR, LOADED], **parameters)


def posteriors(
    density: Callable[[int, int], float], labels: list[int] | None = None
) -> tuple[float, Array, Array, Array]:
    """ln p, and expected places, steps and first states of two states, from every path of LENGTHS by
    itself.
    """
    total, counts, steps, start = 0.0, np.zeros((7, 2)), np.zeros((2, 2)), np.zeros(2)
    first = 0
    for length in LENGTHS:
        weight: dict[tuple[int, ...], float] = {}
        for path in itertools.product(range(2), repeat=length):
            p = math.prod(density(first + t, s) for t, s in enumerate(path))
            p *= math.prod(STEPS[a, b] for a, b in itertools.pairwise(path)) * (START[path[0]] if path else 1)
            known = labels is None or all(labels[first + t] in (-1, s) for t, s in enumerate(path))
            weight[path] = p * known
        whole = sum(weight.values())
        total += math.log(whole)
        for path, p in weight.items():
            for t, s in enumerate(path):
                counts[first + t, s] += p / whole
                if t:
                    steps[path[t - 1], s] += p / whole
            if path:
                start[path[0]] += p / whole
        first += length
    return total, counts, steps, start


def rows_of(counts: Array) -> Array:
    return counts / counts.sum(-1, keepdims=True)


def begun(model: HMM) -> Any:
    model.start_, model.transitions_ = START.copy(), STEPS.copy()
    return model.set_params(warm_start=True, iterations=1, exact=True)


def check_step(model: Any, data: Array, density: Callable[[int, int], float]) -> Array:
    """One iteration's ln p, transitions and first states; the expected counts for the rest."""
    total, counts, steps, start = posteriors(density)
    assert model.score(data, lengths=LENGTHS) == pytest.approx(total, rel=1e-12)
    np.testing.assert_allclose(model.predict_proba(data, lengths=LENGTHS), counts, atol=1e-12)
    model.fit(data, lengths=LENGTHS)
    assert model.history_[0] == pytest.approx(total, rel=1e-12)
    assert model.history_[1] > model.history_[0]
    np.testing.assert_allclose(model.transitions_, rows_of(steps), rtol=1e-10)
    np.testing.assert_allclose(model.start_, rows_of(start), rtol=1e-10)
    return counts


def test_a_step_of_categorical_emissions_equals_enumeration() -> None:
    data, table = np.array([0, 2, 1, 2, 2, 0, 1]), np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    model = begun(CategoricalHMM.of(START, STEPS, table))
    counts = check_step(model, data, lambda t, s: table[s, data[t]])
    expected = np.stack([counts[data == symbol].sum(0) for symbol in range(3)], 1)
    np.testing.assert_allclose(model.probabilities_, rows_of(expected), rtol=1e-10)


def test_a_step_of_multinomial_emissions_equals_enumeration() -> None:
    data, table = (
        np.random.default_rng(1).integers(0, 4, (7, 3)),
        np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]),
    )
    model = begun(MultinomialHMM(2))
    model.probabilities_ = table.copy()
    counts = check_step(model, data, lambda t, s: stats.multinomial.pmf(data[t], data[t].sum(), table[s]))
    np.testing.assert_allclose(model.probabilities_, rows_of(counts.T @ data), rtol=1e-10)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_step_of_gaussian_emissions_equals_enumeration(covariance: str) -> None:
    data, means = np.random.default_rng(2).normal(size=(7, 2)), np.array([[0.0, 0.5], [1.0, -1.0]])
    full = np.array([[[1.0, 0.3], [0.3, 0.5]], [[0.7, -0.2], [-0.2, 1.5]]])
    if covariance == "diagonal":
        full = full * np.eye(2)
    given = np.diagonal(full, axis1=1, axis2=2) if covariance == "diagonal" else full
    model = begun(GaussianHMM.of(START, STEPS, means, given, covariance=covariance, floor=0.0))
    density = [stats.multivariate_normal(means[s], full[s]) for s in range(2)]
    counts = check_step(model, data, lambda t, s: float(density[s].pdf(data[t])))
    for s in range(2):
        wanted = np.cov(data.T, aweights=counts[:, s], ddof=0)
        got = np.diag(model.covariances_[s]) if covariance == "diagonal" else model.covariances_[s]
        np.testing.assert_allclose(model.means_[s], np.average(data, 0, counts[:, s]), rtol=1e-10)
        np.testing.assert_allclose(
            got, wanted * np.eye(2) if covariance == "diagonal" else wanted, atol=1e-10
        )


def test_a_step_of_mixture_emissions_equals_enumeration() -> None:
    data, random = np.random.default_rng(3).normal(size=(7, 2)), np.random.default_rng(4)
    model = begun(MixtureHMM(2, components=2))
    weights, means = np.array([[0.6, 0.4], [0.2, 0.8]]), random.normal(size=(2, 2, 2))
    model.weights_, model.means_, model.floor_ = weights.copy(), means.copy(), np.zeros(2)
    model.covariances_ = np.full((2, 2, 2), 0.8)
    parts = np.array([
        [[weights[s, m] * stats.multivariate_normal(means[s, m], 0.8 * np.eye(2)).pdf(x) for m in range(2)]
         for s in range(2)] for x in data
    ])  # fmt: skip
    counts = check_step(model, data, lambda t, s: float(parts[t, s].sum()))
    shares = parts / parts.sum(2, keepdims=True) * counts[:, :, None]
    np.testing.assert_allclose(model.weights_, rows_of(shares.sum(0)), rtol=1e-10)
    np.testing.assert_allclose(model.means_[1, 0], np.average(data, 0, shares[:, 1, 0]), rtol=1e-10)


def test_labels_at_some_places_restrict_the_paths() -> None:
    data, table = np.array([0, 2, 1, 2, 2, 0, 1]), np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    labels = [-1, 1, -1, 0, -1, -1, 1]
    total, counts, steps, _ = posteriors(lambda t, s: table[s, data[t]], labels)
    model = begun(CategoricalHMM.of(START, STEPS, table))
    model.fit(data, lengths=LENGTHS, labels=labels)
    assert model.history_[0] == pytest.approx(total, rel=1e-12)
    np.testing.assert_allclose(model.transitions_, rows_of(steps), rtol=1e-10)
    expected = np.stack([counts[data == symbol].sum(0) for symbol in range(3)], 1)
    np.testing.assert_allclose(model.probabilities_, rows_of(expected), rtol=1e-10)


def test_labels_everywhere_are_counted() -> None:
    data, labels = np.array([0, 1, 1, 0, 1, 2, 0]), np.array([0, 0, 1, 1, 0, 1, 1])
    model = CategoricalHMM(2, smoothing=1.0).fit(data, lengths=LENGTHS, labels=labels)
    np.testing.assert_allclose(
        model.start_, [3 / 4, 1 / 4]
    )  # two sequences, both begin in 0, and 1 for each state
    np.testing.assert_allclose(model.transitions_, [[2 / 5, 3 / 5], [1 / 4, 3 / 4]])
    np.testing.assert_allclose(model.probabilities_, [[2 / 6, 3 / 6, 1 / 6], [3 / 7, 2 / 7, 2 / 7]])


def test_the_umbrella_world() -> None:
    """Russell and Norvig, "Artificial Intelligence", 3rd edition, section 15.2: smoothed and likeliest
    weather.
    """
    model = CategoricalHMM.of(
        [0.5, 0.5], [[0.7, 0.3], [0.3, 0.7]], [[0.1, 0.9], [0.8, 0.2]]
    )  # symbol 1: umbrella
    assert model.predict_proba([1, 1])[0, 0] == pytest.approx(0.883, abs=5e-4)
    assert model.predict_proba([1])[0, 0] == pytest.approx(0.818, abs=5e-4)
    assert model.predict([1, 1, 0, 1, 1]).tolist() == [0, 0, 1, 0, 0]


def test_the_dishonest_casino() -> None:
    """Durbin et al. 1998, sections 3.2 and 3.3: the dice are told apart, and learned from 30,000 rolls."""
    rolls, dice = casino().sample(100_000, seed=1)
    assert (casino().predict(rolls) == dice).mean() > 0.75
    learned = CategoricalHMM(2, iterations=500, seed=1, tolerance=0.01).fit(rolls[:30_000])
    order = np.argsort(learned.probabilities_[:, 5])
    np.testing.assert_allclose(learned.probabilities_[order], [FAIR, LOADED], atol=0.03)
    np.testing.assert_allclose(learned.transitions_[order][:, order], [[0.95, 0.05], [0.1, 0.9]], atol=0.03)
    assert learned.score(rolls[:30_000]) > casino().score(rolls[:30_000])


@pytest.mark.parametrize("model", [GaussianHMM(3), GaussianHMM(3, covariance="full"), MixtureHMM(2)])
def test_likelihood_never_falls_and_the_seed_repeats(model: Any) -> None:
    source = GaussianHMM.of([1, 0], STEPS, [[0, 0], [3, 1]], [[1, 1], [0.5, 2]])
    data, _ = source.sample(500, seed=2)
    first = model.set_params(exact=True, iterations=30).fit(data, lengths=[200, 0, 300])
    assert (np.diff(first.history_) > -1e-8).all()
    again = type(model)(**model.get_params()).fit(data, lengths=[200, 0, 300])
    np.testing.assert_array_equal(first.means_, again.means_)
    single = type(model)(**model.get_params()).set_params(exact=False).fit(data, lengths=[200, 0, 300])
    np.testing.assert_allclose(single.log_likelihood_, first.log_likelihood_, rtol=1e-6)


def test_restarts_keep_the_likeliest() -> None:
    rolls, _ = casino().sample(500, seed=3)
    each = [CategoricalHMM(3, seed=5, restarts=n).fit(rolls).log_likelihood_ for n in (1, 2, 4)]
    assert each == sorted(each)
    assert each[2] > each[0]


def test_tensors_and_the_reference_path(monkeypatch: pytest.MonkeyPatch) -> None:
    rolls, _ = casino().sample(40, seed=4)
    native = casino().predict_proba(rolls, lengths=[25, 15])
    monkeypatch.setenv("ELMAN_KERNELS", "reference")
    there = casino().predict_proba(torch.from_numpy(rolls), lengths=torch.tensor([25, 15]))
    np.testing.assert_allclose(there, native, atol=1e-6)
    assert casino().predict(rolls).shape == (40,)


def test_a_state_that_nothing_reaches_and_points_that_coincide() -> None:
    model = CategoricalHMM.of([1, 0], np.eye(2), [[0.5, 0.5], [0.3, 0.7]], warm_start=True)
    model.fit([0, 1, 1, 0])
    np.testing.assert_array_equal(model.transitions_, np.eye(2))
    np.testing.assert_allclose(model.probabilities_[1], [0.3, 0.7])
    for covariance in ("diagonal", "full"):
        same = GaussianHMM(3, covariance=covariance).fit(np.ones((20, 2)))
        assert np.isfinite(same.score(np.ones((5, 2))))
        assert np.isfinite(same.predict_proba(np.ones((5, 2)))).all()


def test_the_impossible_is_told() -> None:
    model = CategoricalHMM.of([1, 0], np.eye(2), [[1.0, 0.0], [0.0, 1.0]])
    assert model.score([0, 1, 0, 0], lengths=[2, 2]) == -math.inf
    assert model.score_samples([0, 1, 0, 0], lengths=[2, 2]).tolist() == [-math.inf, 0.0]
    for call in (model.predict, model.predict_proba, model.set_params(warm_start=True).fit):
        with pytest.raises(DataError, match="sequence 1 is impossible"):
            call([0, 0, 0, 1], lengths=[2, 2])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: casino().score([0, 6]), "row 1 is 6, expected a symbol, an integer 0 to 5"),
        (lambda: casino().score([0.5]), "row 0 is 0.5, expected a symbol"),
        (lambda: casino().score([0, 1], lengths=[1, 2]), "lengths: add up to 3, expected 2"),
        (lambda: casino().score([0, 1], lengths=[3, -1]), "lengths: element 1 is -1"),
        (lambda: casino().score([0, 1], lengths=[1.0, 1.0]), "lengths: expected integers"),
        (lambda: GaussianHMM(2).fit([[1.0], [np.nan]]), "NaN or infinity"),
        (lambda: GaussianHMM(2).fit([[1.0], [np.inf]]), "NaN or infinity"),
        (lambda: GaussianHMM(2).fit(np.zeros((0, 2))), "0 sample"),
        (lambda: MultinomialHMM(2).fit([[1, -1]]), "Negative values"),
        (lambda: GaussianHMM(2).fit([[1.0], [2.0]], labels=[0, 2]), "place 1 is 2, expected -1"),
        (lambda: GaussianHMM(2).fit([[1.0], [2.0]]).score([[1.0, 2.0]]), "X has 2 features, but GaussianHMM"),
        (lambda: CategoricalHMM.of([0.5, 0.6], np.eye(2), np.eye(2)), "start: expected probabilities"),
        (lambda: GaussianHMM.of([1], [[1]], [[0.0]], [[0.0]]), "component 0 is not positive definite"),
    ],
)
def test_data_that_do_not_fit_are_told(call: Callable[[], object], told: str) -> None:
    with pytest.raises(ShapeError) as caught:
        call()
    assert told in str(caught.value)


def test_parameters_out_of_range_are_told() -> None:
    for wrong in (
        {"states": 0},
        {"iterations": 1.5},
        {"tolerance": math.nan},
        {"smoothing": -1},
        {"restarts": 0},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            GaussianHMM().set_params(**wrong).fit([[1.0], [2.0]])
    with pytest.raises(ConfigError, match="no parameter 'n_states'"):
        GaussianHMM().set_params(n_states=3)
    with pytest.raises(NotFittedError, match="call fit first"):
        GaussianHMM().predict([[1.0]])


ORDER = "what a row means depends on the rows before it: a sequence is not a bag of samples"
EXPECTED = {
    "check_methods_sample_order_invariance": ORDER,
    "check_methods_subset_invariance": ORDER,
    "check_estimators_unfitted": "elman's own NotFittedError: scikit-learn is not imported",
}


@pytest.mark.parametrize(
    "model", [GaussianHMM(), GaussianHMM(covariance="full"), MixtureHMM(), MultinomialHMM()], ids=repr
)
@pytest.mark.filterwarnings("ignore")  # scikit-learn warns that the class has no base of its own
def test_scikit_learns_checks(model: HMM) -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks", reason="needs scikit-learn")
    done = checks.check_estimator(
        model.set_params(iterations=5), expected_failed_checks=EXPECTED, on_skip=None, on_fail=None
    )
    failed = {one["check_name"]: one["exception"] for one in done if one["status"] == "failed"}
    assert failed == {}
    assert sum(one["status"] == "passed" for one in done) >= 35


def test_scikit_learn_clones_and_searches() -> None:
    base = pytest.importorskip("sklearn.base", reason="needs scikit-learn")
    selection = pytest.importorskip("sklearn.model_selection", reason="needs scikit-learn")
    model = CategoricalHMM(3, seed=7)
    assert base.clone(model).get_params() == model.get_params()
    rolls, _ = casino().sample(300, seed=1)
    search = selection.GridSearchCV(CategoricalHMM(symbols=6, iterations=3), {"states": [1, 2]}, cv=2).fit(
        rolls
    )
    assert search.best_params_["states"] in (1, 2)
