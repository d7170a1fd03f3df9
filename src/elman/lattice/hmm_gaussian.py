"""HMMs whose states show points: from one Gaussian each, or from a mixture of several.

    Gaussian   p(x | s) = N(x; mean_s, covariance_s)
    mixture    p(x | s) = sum_m weight_s,m N(x; mean_s,m, covariance_s,m)

Shapes: P places, D features, S states, M components. New parameters are posterior means and covariances, in a
mixture with the posterior of each component within its state (Rabiner 1989, eq. 52-54). Covariances are kept
from degenerating: `floor` times the data's own variance (at least 1e-12) is the least variance along any
feature, and is added to the diagonal of a full covariance.
"""

from typing import Any, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import ConfigError, ShapeError
from elman.lattice.chains import Floats, Integers
from elman.lattice.estimator import matrix
from elman.lattice.hmm import HMM, Observed, distribution, proportions

COVARIANCES = ("diagonal", "full")
LEAST_VARIANCE = 1e-12


@final
class GaussianHMM(HMM):
    """A Gaussian for each state. See elman.lattice.hmm for the other parameters.

    covariance: "diagonal" (covariances_ (S, D)) or "full" (S, D, D). floor: see above. means_ (S, D).
    """

    def __init__(
        self, states: int = 2, *, covariance: str = "diagonal", floor: float = 1e-6, iterations: int = 100,
        tolerance: float = 1e-3, restarts: int = 1, smoothing: float = 0.0, seed: int = 0,
        warm_start: bool = False, exact: bool = False,
    ) -> None:  # fmt: skip
        self.states, self.covariance, self.floor = states, covariance, floor
        self.iterations, self.tolerance, self.restarts = iterations, tolerance, restarts
        self.smoothing, self.seed, self.warm_start, self.exact = smoothing, seed, warm_start, exact

    @classmethod
    def of(
        cls,
        start: ArrayLike,
        transitions: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike,
        **parameters: Any,
    ) -> Self:
        """A model with these parameters: (S,), (S, S), (S, D), and (S, D) or (S, D, D) covariances."""
        first = distribution("start", start, (-1,))
        model = cls(len(first), **parameters)
        model.start_, model.transitions_ = first, distribution("transitions", transitions, (len(first),) * 2)
        model.means_, model.covariances_ = np.array(means, np.float64), np.array(covariances, np.float64)
        full = model.means_.shape + model.means_.shape[-1:]
        expected = full if model.covariance == "full" else model.means_.shape
        if len(model.means_) != len(first) or model.means_.ndim != 2 or model.covariances_.shape != expected:
            raise ShapeError(
                f"means, covariances: expected ({len(first)}, D) and {expected}, got {model.means_.shape} "
                f"and {model.covariances_.shape}"
            )
        log_densities(model.means_[:1], model.means_, model.covariances_)
        model.n_features_in_ = model.means_.shape[1]
        return model

    def _check(self, data: ArrayLike) -> NDArray[Any]:
        return matrix(data)

    def _guess(self, observed: Observed, random: np.random.Generator) -> None:
        _check_covariance(self.covariance, self.floor)
        self.floor_ = self.floor * observed.data.var(0) + LEAST_VARIANCE
        self.means_ = centres(observed.data, self.states, random)
        self.covariances_ = _overall(observed.data, self.states, self.covariance, self.floor_)

    def _scores(self, data: NDArray[Any]) -> tuple[Floats, NDArray[np.int32] | None]:
        return log_densities(data, self.means_, self.covariances_), None

    def _update(self, data: NDArray[Any], counts: Floats) -> None:
        self.means_, self.covariances_ = moments(
            data, counts, self.means_, self.covariances_, self._floor(data)
        )

    def _floor(self, data: Floats) -> Floats:
        return self.floor_ if hasattr(self, "floor_") else self.floor * data.var(0) + LEAST_VARIANCE

    def _draw(self, states: Integers, random: np.random.Generator) -> NDArray[Any]:
        return draw(states, self.means_, self.covariances_, random)


@final
class MixtureHMM(HMM):
    """A mixture of Gaussians for each state. See elman.lattice.hmm for the other parameters.

    components: M, of each state. covariance: "diagonal" (covariances_ (S, M, D)) or "full" (S, M, D, D).
    floor: see above. weights_ (S, M), means_ (S, M, D).
    """

    _hides_more = True  # the component

    def __init__(
        self, states: int = 2, *, components: int = 2, covariance: str = "diagonal", floor: float = 1e-6,
        iterations: int = 100, tolerance: float = 1e-3, restarts: int = 1, smoothing: float = 0.0,
        seed: int = 0, warm_start: bool = False, exact: bool = False,
    ) -> None:  # fmt: skip
        self.states, self.components, self.covariance, self.floor = states, components, covariance, floor
        self.iterations, self.tolerance, self.restarts = iterations, tolerance, restarts
        self.smoothing, self.seed, self.warm_start, self.exact = smoothing, seed, warm_start, exact

    def _check(self, data: ArrayLike) -> NDArray[Any]:
        return matrix(data)

    def _guess(self, observed: Observed, random: np.random.Generator) -> None:
        _check_covariance(self.covariance, self.floor)
        if isinstance(self.components, bool) or self.components < 1:
            raise ConfigError(f"components: expected an integer of at least 1, got {self.components!r}")
        data, count = observed.data, self.states * self.components
        self.floor_ = self.floor * data.var(0) + LEAST_VARIANCE
        # Components of one state begin near each other: its own centre, and points drawn around it.
        middle = centres(data, self.states, random)[:, None]
        spread = random.normal(size=(self.states, self.components, data.shape[1])) * np.sqrt(data.var(0))
        self.means_ = middle + 0.5 * spread * (self.components > 1)
        self.weights_ = np.full((self.states, self.components), 1 / self.components)
        covariances = _overall(data, count, self.covariance, self.floor_)
        self.covariances_ = covariances.reshape(self.states, self.components, *covariances.shape[1:])

    def _component_scores(self, data: Floats) -> Floats:
        """ln weight + ln density of each component: (P, S, M)."""
        means = self.means_.reshape(-1, data.shape[1])
        covariances = self.covariances_.reshape(len(means), *self.covariances_.shape[2:])
        with np.errstate(divide="ignore"):
            weights = np.log(self.weights_)
        return log_densities(data, means, covariances).reshape(-1, *self.weights_.shape) + weights

    def _scores(self, data: NDArray[Any]) -> tuple[Floats, NDArray[np.int32] | None]:
        return np.logaddexp.reduce(self._component_scores(data), -1), None

    def _update(self, data: NDArray[Any], counts: Floats) -> None:
        scores = self._component_scores(data)
        parts = np.exp(scores - np.logaddexp.reduce(scores, -1, keepdims=True)) * counts[:, :, None]
        self.weights_ = proportions(parts.sum(0) + self.smoothing, self.weights_)
        means = self.means_.reshape(-1, data.shape[1])
        covariances = self.covariances_.reshape(len(means), *self.covariances_.shape[2:])
        new = moments(data, parts.reshape(len(data), -1), means, covariances, self.floor_)
        self.means_, self.covariances_ = (
            new[0].reshape(self.means_.shape),
            new[1].reshape(self.covariances_.shape),
        )

    def _draw(self, states: Integers, random: np.random.Generator) -> NDArray[Any]:
        rising = np.cumsum(self.weights_, 1)[states]
        lots = random.random((len(states), 1)) * rising[:, -1:]
        which = (rising <= lots).sum(1).clip(max=self.components - 1)
        means = self.means_.reshape(-1, self.means_.shape[-1])
        covariances = self.covariances_.reshape(len(means), *self.covariances_.shape[2:])
        return draw(states * self.components + which, means, covariances, random)


def log_densities(data: Floats, means: Floats, covariances: Floats) -> Floats:
    """ln N(x_p; mean_k, covariance_k): (P, K) for covariances (K, D) or (K, D, D).

    Raises ShapeError, naming the component, for a covariance that is not positive definite.
    """
    found = np.empty((len(data), len(means)))
    for k, (mean, covariance) in enumerate(zip(means, covariances, strict=True)):
        root = _root(covariance, k)
        if covariance.ndim == 1:
            whitened, log_volume = (data - mean) / root, np.log(root).sum()
        else:
            whitened = np.linalg.solve(root, (data - mean).T).T
            log_volume = np.log(np.diagonal(root)).sum()
        found[:, k] = -0.5 * (whitened**2).sum(1) - log_volume - 0.5 * data.shape[1] * np.log(2 * np.pi)
    return found


def moments(
    data: Floats, counts: Floats, means: Floats, covariances: Floats, floor: Floats
) -> tuple[Floats, Floats]:
    """Weighted means (K, D) and covariances for weights (P, K); as before where the weights add up to
    nothing.
    """
    means, covariances = means.copy(), covariances.copy()
    for k, weights in enumerate(counts.T):
        total = weights.sum()
        if not total > 0:
            continue
        means[k] = weights @ data / total
        away = data - means[k]
        if covariances.ndim == 2:
            covariances[k] = np.maximum(weights @ away**2 / total, floor)
        else:
            covariances[k] = (away * weights[:, None]).T @ away / total + np.diag(floor)
    return means, covariances


def draw(which: Integers, means: Floats, covariances: Floats, random: np.random.Generator) -> Floats:
    """A point (P, D) from each named Gaussian."""
    noise = random.normal(size=(len(which), means.shape[1]))
    if covariances.ndim == 2:
        return means[which] + noise * np.sqrt(covariances[which])
    roots = np.array([_root(covariance, k) for k, covariance in enumerate(covariances)])
    return means[which] + np.einsum("pij,pj->pi", roots[which], noise)


def centres(data: Floats, count: int, random: np.random.Generator, rounds: int = 10) -> Floats:
    """`count` centres (K, D) of the data: k-means from points drawn by distance (Arthur and Vassilvitskii
    2007).
    """
    scale = np.sqrt(data.var(0))
    points = data / np.where(scale > 0, scale, 1)
    chosen = points[random.integers(len(points))][None]
    for _ in range(1, count):
        distance = _square_distances(points, chosen).min(1)
        total = distance.sum()
        lot = random.random() * total
        place = int(np.searchsorted(np.cumsum(distance), lot)) if total > 0 else random.integers(len(points))
        chosen = np.vstack((chosen, points[min(place, len(points) - 1)]))
    for _ in range(rounds):
        nearest = _square_distances(points, chosen).argmin(1)
        for k in range(count):
            if (nearest == k).any():
                chosen[k] = points[nearest == k].mean(0)
    return chosen * np.where(scale > 0, scale, 1)


def _square_distances(points: Floats, chosen: Floats) -> Floats:
    return np.stack([((points - centre) ** 2).sum(1) for centre in chosen], 1)


def _overall(data: Floats, count: int, covariance: str, floor: Floats) -> Floats:
    """The whole data's covariance, `count` times."""
    if covariance == "diagonal":
        return np.tile(np.maximum(data.var(0), floor), (count, 1))
    away = data - data.mean(0)
    return np.tile(away.T @ away / len(data) + np.diag(floor), (count, 1, 1))


def _root(covariance: Floats, k: int) -> Floats:
    """The square roots of variances, or a lower triangular root of a covariance."""
    if covariance.ndim == 1 and (covariance > 0).all():
        return np.sqrt(covariance)
    if covariance.ndim == 2:
        try:
            return np.asarray(np.linalg.cholesky(covariance), np.float64)
        except np.linalg.LinAlgError:
            pass
    raise ShapeError(
        f"covariance of component {k} is not positive definite: {covariance.tolist()}; a larger "
        f"floor keeps it so"
    )


def _check_covariance(covariance: str, floor: float) -> None:
    if covariance not in COVARIANCES:
        raise ConfigError(f"covariance: expected one of {', '.join(COVARIANCES)}, got {covariance!r}")
    if not (floor >= 0 and np.isfinite(floor)):
        raise ConfigError(f"floor: expected a finite number of at least 0, got {floor!r}")
