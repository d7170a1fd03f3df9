"""Many chains that share their transitions, as HMM and CRF have them: sums, their gradient, best paths.

    sums          ln Z of each chain, and the gradient of sum_n weight_n ln Z_n by every score: the expected
                  counts of rows, steps, first and last states that Baum-Welch and a CRF's loss need
    best_paths    the best path of each chain and its score (Viterbi 1967)

The native kernels (csrc/chain) keep float32 sums relative to a scale at each step and give a chain for which
float32 is too narrow to sums in logarithms and float64; `exact` computes all chains that way. The reference
is elman.lattice.chain in float64. A gradient of ln Z is a probability, and so never larger than its weight.

Shapes: N chains, S states, R rows of scores, P places. rows (R, S) float32 or float64, natural logarithms,
-inf where impossible; chain n at time t is at place first[n] + t * step, and place p reads row index[p], or
row p. transitions (S, S) from the row's state to the column's.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from elman import kernels
from elman.errors import KernelError, ShapeError
from elman.lattice import chain as reference

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

IMPOSSIBLE, NOT_A_SCORE = 1, 2  # as in csrc/chain/chain.h


@dataclass(frozen=True)
class Chains:
    """The scores of N chains, contiguous and of shapes that fit, which is for who makes them to see to.

    Raises ShapeError for a score of transitions, start or end that is NaN or inf; rows are looked at when
    used.
    """

    rows: NDArray[np.floating]
    first: Integers
    lengths: Integers
    transitions: Floats
    start: Floats
    end: Floats
    index: NDArray[np.int32] | None = None
    step: int = 1

    def __post_init__(self) -> None:
        for name in ("transitions", "start", "end"):
            scores = getattr(self, name)
            if not (scores < np.inf).all():
                place = np.argwhere(~(scores < np.inf))[0].tolist()
                raise ShapeError(
                    f"{name}{place}: expected a finite score or -inf, got {scores[tuple(place)]}"
                )

    def places(self, chain: int) -> Integers:
        """Where a chain's times are."""
        return self.first[chain] + self.step * np.arange(self.lengths[chain])


class Sums(NamedTuple):
    """log_partition (N,) float64, -inf where a chain has no possible path; the gradient where it was asked
    for.
    """

    log_partition: Floats
    gradient: "Gradient | None"


class Gradient(NamedTuple):
    """Of sum_n weight_n ln Z_n: rows (R, S) like the scores' own, transitions (S, S), start and end (S,)
    float64.

    An impossible chain has no part in it. Rows that no chain reads are zero.
    """

    rows: NDArray[np.floating]
    transitions: Floats
    start: Floats
    end: Floats


def sums(chains: Chains, weights: Floats | None = None, *, exact: bool = False, threads: int = 0) -> Sums:
    """ln Z of each chain, and where `weights` (N,) are given the gradient.

    threads: as many as torch uses where 0. Raises ShapeError, naming the place, for a score that is NaN or
    inf.
    """
    if not use_native():
        return _reference_sums(chains, weights)
    native = kernels.native_module()
    scores = _native_scores(chains, exact, threads)
    count, states = len(chains.first), chains.rows.shape[1]
    total, state = np.zeros(count), np.zeros(count, np.int32)
    gradient, addresses = None, (0, 0, 0, 0, 0)
    if weights is not None:
        weights = np.ascontiguousarray(weights, np.float64)
        gradient = Gradient(
            np.zeros_like(chains.rows), np.zeros((states, states)), np.zeros(states), np.zeros(states)
        )
        addresses = tuple(array.ctypes.data for array in (weights, *gradient))
    native.chain_sums(scores, total.ctypes.data, state.ctypes.data, *addresses)
    _check(chains, state)
    return Sums(total, gradient)


def best_paths(chains: Chains, *, exact: bool = False, threads: int = 0) -> tuple[Integers, Floats]:
    """The best path of each chain, by place (P,), and its score (N,), -inf and -1 where none is possible.

    In float32 two paths whose scores differ by rounding alone may change places; the score given is that of
    the path, in float64. Raises ShapeError for a score that is NaN or inf.
    """
    places = len(chains.rows) if chains.index is None else len(chains.index)
    paths = np.full(places, -1)
    if not use_native():
        return _reference_paths(chains, paths)
    native = kernels.native_module()
    count = len(chains.first)
    best, state = np.zeros(count), np.zeros(count, np.int32)
    scores = _native_scores(chains, exact, threads)
    native.chain_viterbi(scores, best.ctypes.data, state.ctypes.data, paths.ctypes.data)
    _check(chains, state)
    return paths, best


def use_native() -> bool:
    """Whether the chains are computed by the native kernels; raises KernelError where that is asked for in
    vain.
    """
    mode = kernels.mode()
    if mode == "native" and not kernels.native_available():
        raise KernelError(kernels.native_status())
    return mode in ("auto", "native") and kernels.native_available()


def _native_scores(chains: Chains, exact: bool, threads: int) -> object:
    rows, index = chains.rows, chains.index
    return kernels.native_module().ChainScores(
        rows.shape[1], len(chains.first), threads or torch.get_num_threads(), rows.ctypes.data,
        rows.dtype == np.float64, len(rows), 0 if index is None else index.ctypes.data,
        chains.first.ctypes.data, chains.lengths.ctypes.data, chains.step, chains.transitions.ctypes.data,
        chains.start.ctypes.data, chains.end.ctypes.data, exact,
        kernels.instructions(family="chain"),
    )  # fmt: skip


def _check(chains: Chains, state: NDArray[np.int32]) -> None:
    wrong = np.flatnonzero(state == NOT_A_SCORE)
    if not len(wrong):
        return
    element = int(wrong[0])
    places = chains.places(element)
    rows = chains.rows if chains.index is not None else chains.rows[places]
    bad = np.argwhere(~(rows < np.inf))
    row, column = (int(i) for i in bad[0])
    where = f"row {row}" if chains.index is not None else f"chain {element}, time {row}"
    raise ShapeError(
        f"emissions: {where}, state {column}: expected a finite score or -inf, got {rows[row, column]}"
    )


# -- the reference
# ---------------------------------------------------------------------------------------------------


def _padded(chains: Chains, rows: torch.Tensor, transitions: torch.Tensor, start: torch.Tensor,
            end: torch.Tensor) -> reference.Chain:  # fmt: skip
    time, count = int(max(chains.lengths, default=0)), len(chains.first)
    where = np.zeros((time, count), np.int64)
    for n in range(count):
        places = chains.places(n)
        where[: len(places), n] = places if chains.index is None else chains.index[places]
    emissions = rows[torch.from_numpy(where)] if len(rows) else rows.new_zeros(time, count, rows.shape[1])
    lengths = torch.from_numpy(chains.lengths)
    return reference.Chain(emissions, reference.Dense.of(transitions), start, end, lengths)


def _reference_sums(chains: Chains, weights: Floats | None) -> Sums:
    leaves = [
        torch.tensor(np.asarray(scores, np.float64), requires_grad=weights is not None)
        for scores in (chains.rows, chains.transitions, chains.start, chains.end)
    ]
    with torch.set_grad_enabled(weights is not None):
        total = reference.log_partition(_padded(chains, *leaves))
        values = total.detach().numpy()
        if weights is None:
            return Sums(values, None)
        possible = torch.from_numpy(np.where(values > -np.inf, weights, 0.0))
        whole = (torch.where(possible != 0, total, 0.0) * possible).sum()
        if not whole.requires_grad:
            return Sums(values, Gradient(*(np.zeros(leaf.shape) for leaf in leaves)))
        found = torch.autograd.grad(whole, leaves, materialize_grads=True)
    rows, *others = (gradient.numpy() for gradient in found)
    return Sums(values, Gradient(rows.astype(chains.rows.dtype), *others))


def _reference_paths(chains: Chains, paths: Integers) -> tuple[Integers, Floats]:
    leaves = [
        torch.tensor(np.asarray(scores, np.float64))
        for scores in (chains.rows, chains.transitions, chains.start, chains.end)
    ]
    best, scores = reference.viterbi(_padded(chains, *leaves))
    for n in range(len(chains.first)):
        paths[chains.places(n)] = best[: chains.lengths[n], n].numpy()
    return paths, scores.numpy()
