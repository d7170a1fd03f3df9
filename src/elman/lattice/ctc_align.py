"""Forced alignment: which frames belong to which label of a known target.

    path = arg max over pi with B(pi) = target of prod_t y_t(pi_t)

Viterbi on CTC's lattice. A label's segment is the run of frames that the path spends in it; its confidence is
the geometric mean of y_t(label) over them.
Shapes: T frames, N batch, C classes, L target length.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elman import kernels
from elman.errors import KernelError, ShapeError
from elman.lattice import ctc_native
from elman.lattice.chain import viterbi
from elman.lattice.ctc import chain_of
from elman.lattice.ctc_batch import BLANK, Batch, check_batch, refuse_not_finite


@dataclass(frozen=True)
class Alignment:
    """One sequence's: path (T_n,) int64 the class at each frame; labels, starts, ends (L_n,) int64.

    Label i stands in frames starts[i] .. ends[i] - 1 with confidences[i] (L_n,) float64 in 0 .. 1. score: ln
    of the path's probability.
    """

    path: Tensor
    score: float
    labels: Tensor
    starts: Tensor
    ends: Tensor
    confidences: Tensor

    def times(self, seconds_per_frame: float) -> Tensor:
        """(L_n, 2) float64: start and end of each label in seconds."""
        return torch.stack((self.starts, self.ends), 1).double() * seconds_per_frame


def ctc_align(
    logits: Tensor,
    targets: Tensor,
    input_lengths: Tensor | None = None,
    target_lengths: Tensor | None = None,
) -> list[Alignment]:
    """The best alignment of each sequence: logits (T, N, C), targets (N, L).

    Raises as ctc_loss does, and ShapeError, naming the row, where logits of -inf leave the target no path.
    """
    batch = check_batch(logits, targets, input_lengths, target_lengths)
    refuse_not_finite(logits, batch)
    way, lack = kernels.mode(), ctc_native.lacks(logits)
    if way == "native" and lack:
        raise KernelError(f"ctc_align: {lack}; {kernels.VARIABLE}=auto computes it by the reference")
    with torch.no_grad():
        if way in ("auto", "native") and not lack:
            states = ctc_native.best_paths(logits, batch)
        else:
            log_probs = torch.where(batch.valid[..., None], logits.double(), 0.0).log_softmax(2)
            states = viterbi(chain_of(log_probs, batch))[0]
        return [_read(logits, batch, states, row) for row in range(logits.shape[1])]


def _read(logits: Tensor, batch: Batch, states: Tensor, row: int) -> Alignment:
    frames, length = int(batch.input_lengths[row]), int(batch.target_lengths[row])
    state = states[:frames, row].cpu().numpy()
    labels = batch.targets[row, :length].cpu().numpy()
    if frames and state[0] < 0:
        raise ShapeError(
            f"logits: row {row}: every path of its target meets a class of -inf; align another target or "
            f"allow the class"
        )
    inside = state % 2 == 1
    path = np.append(labels, BLANK)[np.where(inside, state // 2, length)]
    chosen = logits[:frames, row].double()
    log_prob = chosen.gather(1, torch.from_numpy(path).to(logits.device)[:, None])[:, 0] - chosen.logsumexp(1)
    spent = log_prob.cpu().numpy()
    at = state[inside] // 2
    counts = np.bincount(at, minlength=length)
    means = np.bincount(at, weights=spent[inside], minlength=length) / np.maximum(counts, 1)
    starts = np.searchsorted(state, 2 * np.arange(length) + 1)
    return Alignment(
        torch.from_numpy(path),
        float(spent.sum()),
        torch.from_numpy(labels.copy()),
        torch.from_numpy(starts),
        torch.from_numpy(starts + counts),
        torch.from_numpy(np.exp(means)),
    )
