"""The protocol of scikit-learn's estimators, and what they check of their input, without scikit-learn.

An estimator keeps the constructor's arguments unchanged under their own names, learns what ends in an
underscore, and tells its arguments by get_params and set_params; scikit-learn's clone, pipelines and
searches ask no more. scikit-learn itself is imported only where it asks for its tags, when it is there
already: a run-time dependency for a base class of thirty lines would be out of proportion.
"""

import inspect
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import ConfigError, ShapeError


class NotFittedError(ConfigError, ValueError, AttributeError):
    """An estimator that was used before fit."""


class NotNumbersError(ShapeError, TypeError):
    """Data with elements that are no numbers."""


class Estimator:
    """Parameters by name; no behaviour of its own."""

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments; `deep` is for estimators within estimators, of which there are
        none.
        """
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Sets arguments of the constructor; raises ConfigError for a name that it does not have."""
        for name, value in params.items():
            if name not in self._names():
                raise ConfigError(
                    f"{type(self).__name__}: no parameter {name!r}; there are {', '.join(self._names())}"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        said = [f"{n}={v!r}" for n, v in self.get_params().items() if v is not defaults[n].default]
        return f"{type(self).__name__}({', '.join(said)})"

    def _need_fit(self, attribute: str) -> None:
        if not hasattr(self, attribute):
            raise NotFittedError(f"{type(self).__name__}: this model is not fitted yet; call fit first")


def matrix(data: ArrayLike, name: str = "X") -> NDArray[np.float64]:
    """(P, D) finite float64, a copy where the type differs; torch tensors are taken as they are.

    Raises ShapeError, naming the first place, for anything else: in the words that scikit-learn's checks
    expect.
    """
    if hasattr(data, "toarray"):
        raise ShapeError(f"{name}: sparse input is not supported; give {name}.toarray()")
    if hasattr(data, "detach"):
        data = data.detach().cpu().numpy()
    given = np.asarray(data)
    if given.dtype.kind == "c":
        raise ShapeError(f"{name}: Complex data not supported, got {given.dtype}")
    try:
        found = np.ascontiguousarray(given, np.float64) if given.ndim else np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise NotNumbersError(f"{name}: expected numbers, got {given.dtype}: {error}") from error
    if found.ndim != 2:
        raise ShapeError(
            f"{name}: expected a 2D array (places, features), got shape {found.shape}. Reshape your data "
            f"with {name}.reshape(-1, 1) where it has a single feature"
        )
    if not found.shape[0]:
        raise ShapeError(f"{name}: 0 sample(s) (shape={found.shape}) while a minimum of 1 is required.")
    if not found.shape[1]:
        raise ShapeError(f"{name}: 0 feature(s) (shape={found.shape}) while a minimum of 1 is required.")
    if not np.isfinite(found).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(found))[0])
        raise ShapeError(
            f"{name}[{row}, {column}] is {found[row, column]}: expected finite numbers, not NaN or infinity"
        )
    return found


def sequences(lengths: ArrayLike | None, places: int) -> NDArray[np.int64]:
    """The lengths of the sequences that stand one after the other in `places` rows; one of all where None.

    Raises ShapeError where they are no integers from 0 up or do not add up.
    """
    if lengths is None:
        return np.array([places])
    if hasattr(lengths, "detach"):
        lengths = lengths.detach().cpu().numpy()
    found = np.asarray(lengths)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise ShapeError(f"lengths: expected integers (N,), got {found.dtype} of shape {found.shape}")
    found = found.astype(np.int64)
    if (found < 0).any():
        row = int(np.argmax(found < 0))
        raise ShapeError(f"lengths: element {row} is {found[row]}, expected 0 or more")
    if found.sum() != places:
        raise ShapeError(f"lengths: add up to {found.sum()}, expected {places}, the rows of X")
    return found
