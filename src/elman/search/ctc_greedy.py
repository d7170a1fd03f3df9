"""Greedy (best path) decoding of CTC outputs: the likeliest class of each frame, repeats and blanks out.

    pi_t = argmax_c y_t(c)      symbols = B(pi), B the collapse map      score = sum_t ln y_t(pi_t)

That is the likeliest alignment, which need not be the likeliest labelling (Graves et al. 2006, section 3.2);
elman.search.ctc_beam looks for that. Ties go to the lower class.
Shapes: T time, N batch, C classes. logits (T, N, C); log probabilities are logits too.
"""

import torch
from torch import Tensor

from elman.data.alphabet import BLANK, Alphabet
from elman.search.ctc_inputs import check_inputs
from elman.search.transcript import Transcript


def ctc_greedy(logits: Tensor, lengths: Tensor | None = None, *, alphabet: Alphabet) -> list[Transcript]:
    """The best path of each utterance. logits (T, N, C), lengths (N,).

    Raises ShapeError for other shapes and lengths, DataError for a NaN, +inf, or a frame of nothing but -inf.
    """
    logits, frames = check_inputs(logits, lengths, alphabet)
    log_probs, path = logits.log_softmax(2).max(2)
    return [_collapse(path[:length, n], log_probs[:length, n], alphabet) for n, length in enumerate(frames)]


def _collapse(path: Tensor, log_probs: Tensor, alphabet: Alphabet) -> Transcript:
    """One transcript from the class (T,) of each frame and its log probability."""
    classes, counts = torch.unique_consecutive(path, return_counts=True)
    ends = counts.cumsum(0)
    runs = zip(classes.tolist(), (ends - counts).tolist(), ends.tolist(), strict=True)
    kept = [run for run in runs if run[0] != BLANK]
    symbols = tuple(label for label, _, _ in kept)
    return Transcript(
        alphabet.decode(symbols),
        symbols,
        float(log_probs.double().sum()),
        starts=tuple(start for _, start, _ in kept),
        ends=tuple(end for _, _, end in kept),
        confidences=tuple(float(log_probs[start:end].max().exp()) for _, start, end in kept),
    )
