"""Hidden Markov models: a chain of states that is not seen, and an observation from each.

    p(x) = sum over s_1 .. s_T of start(s_1) prod_t>1 transition(s_t-1, s_t) prod_t emission(x_t | s_t)

    fit            Baum-Welch: posterior counts, then parameters from the counts, until ln p gains less than
                   `tolerance`; by labels, the same step on counts that are known; with labels at some places
                   (-1 elsewhere), Baum-Welch over the paths that agree with them
    score          ln p of all sequences
    predict        the best path (Viterbi); predict_proba: p(s_t | x)
    sample         observations and states drawn from the model

Subclasses give the emissions: hmm_discrete.py, hmm_gaussian.py. X (P, D) holds the sequences one after the
other, `lengths` (N,) says where they end; a sequence of length 0 has p = 1.
Rabiner, "A tutorial on hidden Markov models", 1989; Baum, Petrie, Soules and Weiss 1970; Bilmes 1998.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import ConfigError, DataError, ShapeError
from elman.lattice.chains import Chains, Floats, Integers, best_paths, sums
from elman.lattice.estimator import Estimator, sequences


@dataclass(frozen=True)
class Observed:
    """Checked observations: data as a family wants it (P, ...), the lengths, and labels (P,) or None."""

    data: NDArray[Any]
    lengths: Integers
    labels: Integers | None = None

    @property
    def first(self) -> Integers:
        """The row of each sequence's first observation."""
        return np.cumsum(self.lengths) - self.lengths


class HMM(Estimator):
    """What all families share. See a family for its parameters; those of all:

    states      how many there are
    iterations  of Baum-Welch, at most; per restart
    tolerance   Baum-Welch ends when ln p gains less than this per iteration
    restarts    how many times fit begins anew; the likeliest result is kept
    smoothing   added to every count of first states, transitions and symbols (a symmetric Dirichlet prior)
    seed        of the first guesses: the same seed, data and parameters give the same model
    warm_start  whether fit goes on from the parameters that the model has
    exact       float64 in logarithms throughout; otherwise float32 sums, relative error about 1e-8 in ln p

    After fit: start_ (S,), transitions_ (S, S) and the family's own; log_likelihood_, history_ (ln p before
    each iteration, and at the end), converged_, iterations_, n_features_in_. A state that no data reach
    keeps its parameters.
    """

    states: int
    iterations: int
    tolerance: float
    restarts: int
    smoothing: float
    seed: int
    warm_start: bool
    exact: bool

    start_: Floats
    transitions_: Floats
    _hides_more = False
    """Whether an observation hides more than its state, so that labels alone do not say the parameters."""

    # -- what a family gives
    # ---------------------------------------------------------------------------------------

    @abstractmethod
    def _check(self, data: ArrayLike) -> NDArray[Any]:
        """The observations as the family keeps them; raises ShapeError."""

    @abstractmethod
    def _guess(self, observed: Observed, random: np.random.Generator) -> None:
        """First parameters of the emissions."""

    @abstractmethod
    def _scores(self, data: NDArray[Any]) -> tuple[Floats, NDArray[np.int32] | None]:
        """ln p(row | state) of rows (R, S), and which row each place shows, or None where row p is place
        p.
        """

    @abstractmethod
    def _update(self, data: NDArray[Any], counts: Floats) -> None:
        """Parameters from counts (R, S): how often each state showed each row."""

    @abstractmethod
    def _draw(self, states: Integers, random: np.random.Generator) -> NDArray[Any]:
        """An observation (P, D) from each state."""

    # -- use
    # -------------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        lengths: ArrayLike | None = None,
        labels: ArrayLike | None = None,
    ) -> Self:
        """Learns from sequences, from their states where labels (P,) are given, -1 where a state is not
        known.

        y is not looked at. Raises ShapeError for data that do not fit, ConfigError for parameters out of
        range, DataError where a sequence is impossible under the labels or the first guess.
        """
        self._check_parameters()
        observed = self._observed(X, lengths, labels)
        self.n_features_in_ = self._check_width(X)
        if observed.labels is not None and (observed.labels >= 0).all() and not self._hides_more:
            if not self._continues():
                self._begin(observed, 0)
            start, steps = _labelled_steps(observed, self.states)
            self._learn(observed, start, steps, self._labelled_counts(observed))
            self._conclude([self._log_likelihood(observed)], True)
            return self
        best: tuple[float, dict[str, Any]] | None = None
        for restart in range(1 if self._continues() else self.restarts):
            if not self._continues():
                self._begin(observed, restart)
            self._climb(observed)
            if best is None or self.log_likelihood_ > best[0]:
                best = (self.log_likelihood_, {k: v for k, v in vars(self).items() if k.endswith("_")})
            if restart + 1 < self.restarts and not self._continues():
                del self.start_
        assert best is not None
        vars(self).update(best[1])
        return self

    def score(self, X: ArrayLike, y: object = None, *, lengths: ArrayLike | None = None) -> float:
        """ln p of all sequences together, natural logarithm; -inf where one is impossible."""
        self._need_fit("start_")
        return self._log_likelihood(self._observed(X, lengths, None))

    def score_samples(self, X: ArrayLike, *, lengths: ArrayLike | None = None) -> Floats:
        """ln p of each sequence, (N,)."""
        self._need_fit("start_")
        return sums(self._chains(self._observed(X, lengths, None)), exact=self.exact).log_partition

    def predict(self, X: ArrayLike, *, lengths: ArrayLike | None = None) -> Integers:
        """The states (P,) of the best path of each sequence; raises DataError for an impossible one."""
        self._need_fit("start_")
        paths, best = best_paths(self._chains(self._observed(X, lengths, None)), exact=self.exact)
        _possible(best, "predict")
        return paths

    def predict_proba(self, X: ArrayLike, *, lengths: ArrayLike | None = None) -> Floats:
        """p(state | the whole sequence) at each place, (P, S); raises DataError for an impossible
        sequence.
        """
        self._need_fit("start_")
        chains = _spread(self._chains(self._observed(X, lengths, None)))
        found = sums(chains, np.ones(len(chains.first)), exact=self.exact)
        _possible(found.log_partition, "predict_proba")
        assert found.gradient is not None
        posterior = found.gradient.rows
        return posterior / posterior.sum(1, keepdims=True)

    def sample(self, length: int = 1, *, seed: int = 0) -> tuple[NDArray[Any], Integers]:
        """One sequence of `length` observations (T, D), and the states (T,) they came from."""
        self._need_fit("start_")
        if length < 0:
            raise ShapeError(f"sample: expected a length of 0 or more, got {length}")
        random = np.random.default_rng(seed)
        lots = random.random(length)
        rising = np.cumsum(np.vstack((self.start_, self.transitions_)), 1)
        path = np.zeros(length, np.int64)
        row = rising[0]
        for t in range(length):
            path[t] = min(int(np.searchsorted(row, lots[t] * row[-1], "right")), self.states - 1)
            row = rising[path[t] + 1]
        return self._draw(path, random), path

    # -- Baum-Welch
    # ------------------------------------------------------------------------------------------------

    def _climb(self, observed: Observed) -> None:
        history: list[float] = []
        converged = False
        for _ in range(self.iterations):
            chains = self._chains(observed)
            found = sums(chains, np.ones(len(chains.first)), exact=self.exact)
            _possible(found.log_partition, "fit")
            history.append(math.fsum(found.log_partition))
            if len(history) > 1 and history[-1] - history[-2] < self.tolerance:
                converged = True
                break
            assert found.gradient is not None
            steps, start = found.gradient.transitions, found.gradient.start
            self._learn(observed, start, steps, found.gradient.rows.astype(np.float64, copy=False))
        else:
            history.append(self._log_likelihood(observed))
            converged = len(history) > 1 and history[-1] - history[-2] < self.tolerance
        self._conclude(history, converged)

    def _learn(self, observed: Observed, start: Floats, steps: Floats, counts: Floats) -> None:
        self.start_ = proportions(start + self.smoothing, self.start_)
        self.transitions_ = proportions(steps + self.smoothing, self.transitions_)
        self._update(observed.data, counts)

    def _conclude(self, history: list[float], converged: bool) -> None:
        self.history_, self.converged_ = np.array(history), converged
        self.log_likelihood_, self.iterations_ = history[-1], max(len(history) - 1, 0)
        self.n_iter_ = max(self.iterations_, 1)  # scikit-learn's name

    def _begin(self, observed: Observed, restart: int) -> None:
        random = np.random.default_rng((self.seed, restart))
        self.start_ = random.dirichlet(np.full(self.states, 10.0))
        self.transitions_ = random.dirichlet(np.full(self.states, 10.0), self.states)
        self._guess(observed, random)
        if observed.labels is not None:  # what labels say is a better guess
            self._update(observed.data, self._labelled_counts(observed))

    def _labelled_counts(self, observed: Observed) -> Floats:
        """How often each state showed each row, where its label is known."""
        rows, index = self._scores(observed.data)
        assert observed.labels is not None
        known = np.flatnonzero(observed.labels >= 0)
        counts = np.zeros(rows.shape)
        np.add.at(counts, (known if index is None else index[known], observed.labels[known]), 1.0)
        return counts

    def _continues(self) -> bool:
        return self.warm_start and hasattr(self, "start_")

    # -- scores
    # ----------------------------------------------------------------------------------------------------

    def _chains(self, observed: Observed) -> Chains:
        rows, index = self._scores(observed.data)
        with np.errstate(divide="ignore"):
            chains = Chains(
                rows, observed.first, observed.lengths, np.log(self.transitions_), np.log(self.start_),
                np.zeros(self.states), index,
            )  # fmt: skip
        if observed.labels is None:
            return chains
        spread = _spread(chains)
        known = observed.labels >= 0
        other = np.arange(self.states) != observed.labels[:, None]
        spread.rows[known[:, None] & other] = -np.inf
        return Chains(
            spread.rows, chains.first, chains.lengths, chains.transitions, chains.start, chains.end,
            None if index is None else np.arange(len(spread.rows), dtype=np.int32),
        )  # fmt: skip

    def _log_likelihood(self, observed: Observed) -> float:
        found = sums(self._chains(observed), exact=self.exact).log_partition
        return math.fsum(found) if (found > -np.inf).all() else -math.inf

    # -- checks
    # ----------------------------------------------------------------------------------------------------

    def _observed(self, X: ArrayLike, lengths: ArrayLike | None, labels: ArrayLike | None) -> Observed:
        data = self._check(X)
        if hasattr(self, "start_"):
            width = self._check_width(X)
            if hasattr(self, "n_features_in_") and width != self.n_features_in_:
                raise ShapeError(
                    f"X has {width} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                    f"features as input"
                )
        given = None if labels is None else _check_labels(labels, len(data), self.states)
        return Observed(data, sequences(lengths, len(data)), given)

    def _check_width(self, X: ArrayLike) -> int:
        return np.shape(X)[1]

    def _check_parameters(self) -> None:
        wholes = {"states": self.states, "iterations": self.iterations, "restarts": self.restarts}
        for name, value in wholes.items():
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ConfigError(f"{name}: expected an integer of at least 1, got {value!r}")
        for name, number in {"tolerance": self.tolerance, "smoothing": self.smoothing}.items():
            if not (number >= 0 and math.isfinite(number)):
                raise ConfigError(f"{name}: expected a finite number of at least 0, got {number!r}")

    def __sklearn_tags__(self) -> Any:
        known: Any = import_module("sklearn.utils")  # it is asking, so it is there
        return known.Tags(
            estimator_type=None, target_tags=known.TargetTags(required=False), input_tags=known.InputTags()
        )


def proportions(counts: Floats, before: Floats) -> Floats:
    """Counts over their sum along the last axis; as before where nothing was counted."""
    total = counts.sum(-1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), before)


def distribution(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """Probabilities of that shape (-1: any size) that add up to 1 along the last axis; raises ShapeError."""
    found = np.ascontiguousarray(values, np.float64)
    fits = found.ndim == len(shape) and all(a in (-1, b) for a, b in zip(shape, found.shape, strict=True))
    if not fits:
        raise ShapeError(f"{name}: expected shape {shape}, got {found.shape}")
    if not ((found >= 0).all() and np.allclose(found.sum(-1), 1, atol=1e-6)):
        raise ShapeError(f"{name}: expected probabilities that add up to 1 along the last axis, got {found}")
    return found / found.sum(-1, keepdims=True)


def _spread(chains: Chains) -> Chains:
    """The same chains with a row of its own at each place."""
    rows = chains.rows if chains.index is None else chains.rows[chains.index]
    return Chains(np.array(rows), chains.first, chains.lengths, chains.transitions, chains.start, chains.end)


def _labelled_steps(observed: Observed, states: int) -> tuple[Floats, Floats]:
    """First states (S,) and steps (S, S), counted by labels that are all known."""
    labels = observed.labels
    assert labels is not None
    begins = observed.first[observed.lengths > 0]
    inside = np.ones(len(labels), bool)
    inside[begins] = False
    into = np.flatnonzero(inside)
    steps = np.bincount(labels[into - 1] * states + labels[into], minlength=states * states)
    start = np.bincount(labels[begins], minlength=states)
    return start.astype(np.float64), steps.reshape(states, states).astype(np.float64)


def _check_labels(labels: ArrayLike, places: int, states: int) -> Integers:
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    found = np.asarray(labels)
    if found.shape != (places,) or found.dtype.kind not in "iu":
        raise ShapeError(f"labels: expected integers ({places},), got {found.dtype} of shape {found.shape}")
    wrong = (found < -1) | (found >= states)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ShapeError(
            f"labels: place {row} is {found[row]}, expected -1 (not known) or a state 0 to {states - 1}"
        )
    return found.astype(np.int64)


def _possible(scores: Floats, operation: str) -> None:
    if (scores == -np.inf).any():
        row = int(np.argmax(scores == -np.inf))
        raise DataError(
            f"{operation}: sequence {row} is impossible under the model: an observation, a transition or a "
            f"label has probability 0; smoothing > 0 in fit leaves nothing impossible"
        )
