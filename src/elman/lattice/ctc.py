"""Connectionist temporal classification: the probability of a label sequence of unknown timing.

    p(l | x) = sum over all paths pi with B(pi) = l of prod_t y_t(pi_t)        y_t = softmax(logits_t)

B, the collapse map, merges repeats and then drops blanks (class 0): B(h h e - l l - l o) = h e l l o. The
paths of a target of L labels are those of a chain with 2 L + 1 states, blank l_1 blank l_2 .. l_L blank:
stay, go one on, or go two on from a label to the next one unless the two are equal.

    alpha_t(s) = y_t(s) sum of alpha_t-1 over the ways into s                  up to and with frame t
    beta_t(s)  = y_t(s) sum of beta_t+1 over the ways out of s                 from frame t on, with it
    p(l | x)   = sum_s alpha_t(s) beta_t(s) / y_t(s)                           at every t
    d(-ln p) / d logits_t(c) = y_t(c) - sum_{s: label c} alpha_t(s) beta_t(s) / (y_t(s) p)

Shapes: T frames, N batch, C classes with the blank, L target length, S = 2 L + 1. logits (T, N, C),
targets (N, L) int64 in 1 .. C - 1, input_lengths and target_lengths (N,).
Graves, Fernandez, Gomez and Schmidhuber, "Connectionist temporal classification", 2006.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from elman import kernels
from elman.errors import ConfigError, KernelError, ShapeError
from elman.lattice import ctc_native
from elman.lattice.chain import Banded, Chain, alphas, log_partition
from elman.lattice.ctc_batch import BLANK, Batch, check_batch, refuse_not_finite

Reduction = Literal["none", "sum", "mean"]


def ctc_loss(
    logits: Tensor,
    targets: Tensor,
    input_lengths: Tensor | None = None,
    target_lengths: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-ln p(targets | logits) in nats: (N,) for reduction "none", else a number.

    logits are not normalised; the log-softmax is part of the loss. "mean" is the mean over sequences
    (torch.nn.functional.ctc_loss divides each sequence's loss by its target length first). Lengths are T and
    L where None. With label_smoothing e the loss of a sequence is

        (1 - e) (-ln p) + e sum_t KL(uniform || y_t)

    A logit of -inf rules a class out; a target that is thereby impossible has the loss inf and a gradient of
    zero. Gradients of gradients are computed by the reference.

    Raises ShapeError, naming the row, for targets outside 1 .. C - 1, lengths out of range, and a target that
    does not fit its frames (see `check_targets`); DivergedError, naming row and frame, for logits that are
    NaN or inf, or -inf in all classes.
    """
    if reduction not in ("none", "sum", "mean"):
        raise ConfigError(f"reduction: expected 'none', 'sum' or 'mean', got {reduction!r}")
    if not 0 <= label_smoothing < 1:
        raise ConfigError(f"label_smoothing: expected a number of 0 to below 1, got {label_smoothing!r}")
    batch = check_batch(logits, targets, input_lengths, target_lengths)
    if reduction == "mean" and not logits.shape[1]:
        raise ShapeError("logits: no sequence to take the mean over; expected N of at least 1")
    way = kernels.mode()
    lack = ctc_native.lacks(logits)
    if way == "native" and lack:
        raise KernelError(f"ctc_loss: {lack}; {kernels.VARIABLE}=auto computes it by the reference")
    if way in ("auto", "native") and not lack:
        return ctc_native.Loss.apply(logits, batch, reduction, label_smoothing, _reference)
    refuse_not_finite(logits, batch)
    return _reference(logits, batch, reduction, label_smoothing)


def _reference(logits: Tensor, batch: Batch, reduction: str, smoothing: float) -> Tensor:
    """The definition, in float64, as a chain; differentiable any number of times."""
    log_probs = _log_probs(logits, batch)
    loss = -log_partition(chain_of(log_probs, batch))
    if smoothing:
        uniform = -torch.tensor(float(logits.shape[2])).double().log()
        divergence = torch.where(batch.valid, uniform - log_probs.mean(2), 0.0).sum(0)
        loss = (1 - smoothing) * loss + smoothing * divergence
    loss = loss.to(logits.dtype)
    return {"none": lambda: loss, "sum": loss.sum, "mean": loss.mean}[reduction]()


def _log_probs(logits: Tensor, batch: Batch) -> Tensor:
    """float64 (T, N, C), zero past an element's end, where nothing may reach a gradient."""
    return torch.where(batch.valid[..., None], logits.double(), 0.0).log_softmax(2)


def chain_of(log_probs: Tensor, batch: Batch) -> Chain:
    """The chain whose paths are CTC's: emissions (T, N, 2 L + 1), Banded transitions of three ways."""
    labels = extended(batch.targets, batch.target_lengths)
    count, states = labels.shape
    emissions = log_probs.gather(2, labels.expand(len(log_probs), count, states))
    ways = log_probs.new_zeros(count, states, 3)
    skips = torch.zeros(count, states, dtype=torch.bool, device=labels.device)
    skips[:, 3::2] = labels[:, 3::2] != labels[:, 1:-2:2]
    ways[..., 2] = torch.where(skips, 0.0, -torch.inf)
    place = torch.arange(states, device=labels.device)
    last = 2 * batch.target_lengths[:, None]
    begins = torch.where(place < 2, 0.0, -torch.inf).to(log_probs)
    ends = torch.where((place == last) | (place == last - 1), 0.0, -torch.inf).to(log_probs)
    return Chain(emissions, Banded(ways), begins, ends, batch.input_lengths)


def extended(targets: Tensor, target_lengths: Tensor) -> Tensor:
    """(N, L) labels -> (N, 2 L + 1): a blank before, between and after them, and past each target's end."""
    labels = targets.new_full((len(targets), 2 * targets.shape[1] + 1), BLANK)
    inside = torch.arange(targets.shape[1], device=targets.device) < target_lengths[:, None]
    labels[:, 1::2] = torch.where(inside, targets, BLANK)
    return labels


def collapse(path: Sequence[int]) -> tuple[int, ...]:
    """B: repeats merged, then blanks dropped."""
    return tuple(int(label) for label, _ in groupby(path) if label != BLANK)


def alignments(target: Sequence[int], frames: int) -> Iterator[tuple[int, ...]]:
    """Every path of so many frames that collapses to the target, by their order as tuples.

    There are C(T + L - repeats, 2 L) of them for T frames; meant for short words.
    Raises ShapeError for a blank or a negative label in the target.
    """
    target = tuple(target)
    if any(label <= BLANK for label in target):
        raise ShapeError(f"target: expected labels of at least 1, got {target}; {BLANK} is the blank")
    labels = (BLANK, *(label for one in target for label in (one, BLANK)))

    def reachable(state: int) -> list[int]:
        skip = state + 2
        ways = [state, state + 1]
        if state % 2 and skip < len(labels) and labels[skip] != labels[state]:
            ways.append(skip)
        return [way for way in ways if way < len(labels)]

    def rest(state: int, left: int) -> Iterator[tuple[int, ...]]:
        if not left:
            if state >= len(labels) - 2:
                yield (labels[state],)
            return
        # Different states of one label are different paths here, so no path comes twice.
        for way in sorted(reachable(state), key=lambda way: labels[way]):
            for path in rest(way, left - 1):
                yield (labels[state], *path)

    if frames == 0:
        yield from [()] if not target else []
        return
    yield from rest(0, frames - 1)
    if target:
        yield from rest(1, frames - 1)


@dataclass(frozen=True)
class Tables:
    """The lattice of one sequence, all float64 natural logarithms: alpha, beta and emissions (T, S).

    labels (S,): the class of each state. posterior (T, S): p(state s at frame t | target), not a logarithm.
    log_prob: ln p(target | logits).
    """

    labels: Tensor
    emissions: Tensor
    alpha: Tensor
    beta: Tensor
    posterior: Tensor
    log_prob: float

    def log_prob_by_frame(self) -> Tensor:
        """ln sum_s alpha_t(s) beta_t(s) / y_t(s), (T,): ln p(target | logits) at every t."""
        return _joint(self.alpha, self.beta, self.emissions).logsumexp(1)


def _joint(alpha: Tensor, beta: Tensor, emissions: Tensor) -> Tensor:
    possible = (alpha > -torch.inf) & (beta > -torch.inf)
    return torch.where(possible, alpha + beta - emissions, -torch.inf)


def ctc_tables(logits: Tensor, target: Tensor) -> Tables:
    """alpha, beta and posteriors of logits (T, C) and a target (L,), for looking at and for pictures.

    Raises as ctc_loss does, and ShapeError for T = 0, where there is nothing to look at.
    """
    if logits.dim() != 2 or target.dim() != 1 or not len(logits):
        raise ShapeError(
            f"ctc_tables: expected logits (T, C) with T of at least 1 and a target (L,), got "
            f"{tuple(logits.shape)} and {tuple(target.shape)}; of a batch take one, as in logits[:, 0]"
        )
    with torch.no_grad():
        batch = check_batch(logits[:, None], target[None])
        refuse_not_finite(logits[:, None], batch)
        log_probs = _log_probs(logits[:, None], batch)
        chain = chain_of(log_probs, batch)
        alpha = alphas(chain)[:, 0]
        total = float(log_partition(chain))
        # CTC read backwards is CTC of the target read backwards.
        backwards = check_batch(logits[:, None], target.flip(0)[None])
        beta = alphas(chain_of(log_probs.flip(0), backwards))[:, 0].flip(0, 1)
        emissions = chain.emissions[:, 0]
        joint = _joint(alpha, beta, emissions)
        posterior = (joint - total).exp() if total > -torch.inf else torch.zeros_like(joint)
    labels = extended(batch.targets, batch.target_lengths)[0]
    return Tables(labels, emissions, alpha, beta, posterior, total)
