"""HMMs whose states show symbols, or counts of symbols.

    categorical   p(x | s) = b(s, x)                                     x in 0 .. V - 1
    multinomial   p(x | s) = n! / prod_v x_v!  prod_v b(s, v)^x_v        x (V,) counts, n = sum_v x_v

Shapes: P places, S states, V symbols; probabilities_ (S, V). New parameters are the expected counts of
symbols by state over their sum (Rabiner 1989, eq. 40c).
"""

import math
from typing import Any, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import ConfigError, ShapeError
from elman.lattice.chains import Floats, Integers
from elman.lattice.estimator import matrix
from elman.lattice.hmm import HMM, Observed, distribution, proportions


@final
class CategoricalHMM(HMM):
    """One symbol at a time: X (P, 1) or (P,) integers from 0. See elman.lattice.hmm for the other parameters.

    symbols: V; None takes the largest in the data plus one.
    """

    def __init__(
        self, states: int = 2, *, symbols: int | None = None, iterations: int = 100, tolerance: float = 1e-3,
        restarts: int = 1, smoothing: float = 0.0, seed: int = 0, warm_start: bool = False,
        exact: bool = False,
    ) -> None:  # fmt: skip
        self.states, self.symbols, self.iterations, self.tolerance = states, symbols, iterations, tolerance
        self.restarts, self.smoothing, self.seed = restarts, smoothing, seed
        self.warm_start, self.exact = warm_start, exact

    @classmethod
    def of(
        cls, start: ArrayLike, transitions: ArrayLike, probabilities: ArrayLike, **parameters: Any
    ) -> Self:
        """A model with these probabilities: (S,), (S, S) and (S, V); raises ShapeError where they are
        none.
        """
        first = distribution("start", start, (-1,))
        model = cls(len(first), **parameters)
        model.start_ = first
        model.transitions_ = distribution("transitions", transitions, (len(first),) * 2)
        model.probabilities_ = distribution("probabilities", probabilities, (len(first), -1))
        model.n_features_in_ = 1
        return model

    def _check(self, data: ArrayLike) -> NDArray[np.int32]:
        found = matrix(data if np.ndim(data) != 1 else np.reshape(data, (-1, 1)))
        if found.shape[1] != 1:
            raise ShapeError(f"X: expected one symbol a row, (P, 1) or (P,), got {found.shape}")
        symbols = self.probabilities_.shape[1] if hasattr(self, "probabilities_") else self.symbols
        wrong = (found != np.floor(found)) | (found < 0) | (found >= (symbols or 2**31 - 1))
        if wrong.any():
            row = int(np.argmax(wrong))
            limit = f"0 to {symbols - 1}" if symbols else "from 0 up"
            raise ShapeError(f"X: row {row} is {found[row, 0]:g}, expected a symbol, an integer {limit}")
        return found[:, 0].astype(np.int32)

    def _check_width(self, X: ArrayLike) -> int:
        return 1

    def _guess(self, observed: Observed, random: np.random.Generator) -> None:
        symbols = self.symbols or int(observed.data.max()) + 1
        self.probabilities_ = random.dirichlet(np.full(symbols, 10.0), self.states)

    def _scores(self, data: NDArray[Any]) -> tuple[Floats, NDArray[np.int32] | None]:
        with np.errstate(divide="ignore"):
            return np.ascontiguousarray(np.log(self.probabilities_.T)), data

    def _update(self, data: NDArray[Any], counts: Floats) -> None:
        if len(counts) != self.probabilities_.shape[1]:  # a row for each place, where some have labels
            rows = counts
            counts = np.zeros((self.probabilities_.shape[1], self.states))
            np.add.at(counts, data, rows)
        self.probabilities_ = proportions(counts.T + self.smoothing, self.probabilities_)

    def _draw(self, states: Integers, random: np.random.Generator) -> NDArray[Any]:
        rising = np.cumsum(self.probabilities_, 1)
        lots = random.random(len(states)) * rising[states, -1]
        return (rising[states] <= lots[:, None]).sum(1).clip(max=rising.shape[1] - 1)[:, None]


@final
class MultinomialHMM(HMM):
    """Counts of V symbols at a time: X (P, V), 0 or more. See elman.lattice.hmm for the other parameters.

    trials: how many symbols `sample` draws at a place; None takes the mean of the data that it was fitted to.
    """

    def __init__(
        self, states: int = 2, *, trials: int | None = None, iterations: int = 100, tolerance: float = 1e-3,
        restarts: int = 1, smoothing: float = 0.0, seed: int = 0, warm_start: bool = False,
        exact: bool = False,
    ) -> None:  # fmt: skip
        self.states, self.trials, self.iterations, self.tolerance = states, trials, iterations, tolerance
        self.restarts, self.smoothing, self.seed = restarts, smoothing, seed
        self.warm_start, self.exact = warm_start, exact

    def _check(self, data: ArrayLike) -> NDArray[Any]:
        found = matrix(data)
        if (found < 0).any():
            row, column = (int(i) for i in np.argwhere(found < 0)[0])
            raise ShapeError(
                f"X[{row}, {column}] is {found[row, column]:g}: Negative values in data passed to "
                f"MultinomialHMM, expected counts"
            )
        return found

    def _guess(self, observed: Observed, random: np.random.Generator) -> None:
        self.probabilities_ = random.dirichlet(np.full(observed.data.shape[1], 10.0), self.states)
        self.trials_ = max(1, round(float(observed.data.sum(1).mean())))

    def _scores(self, data: NDArray[Any]) -> tuple[Floats, NDArray[np.int32] | None]:
        with np.errstate(divide="ignore"):
            logs = np.log(self.probabilities_.T)
        # 0 ln 0 is 0: what is impossible counts only where it was seen.
        scores = data @ np.where(logs == -np.inf, 0.0, logs)
        scores[(data > 0).astype(np.float64) @ (logs == -np.inf) > 0] = -np.inf
        return scores + _log_ways(data)[:, None], None

    def _update(self, data: NDArray[Any], counts: Floats) -> None:
        self.probabilities_ = proportions(counts.T @ data + self.smoothing, self.probabilities_)

    def _draw(self, states: Integers, random: np.random.Generator) -> NDArray[Any]:
        trials = self.trials or self.trials_
        if trials < 1:
            raise ConfigError(f"trials: expected at least 1, got {trials}")
        return random.multinomial(trials, self.probabilities_[states]).reshape(len(states), -1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags


def _log_ways(counts: Floats) -> Floats:
    """ln n! / prod x!, by the gamma function where counts are fractions."""
    values, place = np.unique(counts, return_inverse=True)
    factorials = np.array([math.lgamma(value + 1) for value in values])[place].reshape(counts.shape)
    return np.array([math.lgamma(total + 1) for total in counts.sum(1)]) - factorials.sum(1)
