"""How well texts were translated: BLEU and chrF, by sacrebleu, with the signatures that make them comparable.

    BLEU = 100 min(1, exp(1 - r / c)) (p_1 p_2 p_3 p_4)^(1/4)        chrF = 100 (1 + b^2) P R / (b^2 P + R), b = 2

p_n: the part of the translations' n-grams of words that stands in the references; c and r: words of both;
P and R: precision and recall of n-grams of up to 6 characters, averaged. Papineni et al. 2002; Popovic 2015;
tokenisation and counting: Post, "A call for clarity in reporting BLEU scores", 2018 (extra elman[translation]).
"""  # noqa: E501

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elman.errors import ConfigError, ShapeError
from elman.metrics.lengths import Bin, score_by_length


@dataclass(frozen=True)
class Score:
    """A figure from 0 to 100, and sacrebleu's signature: how it was made."""

    value: float
    signature: str


def sacrebleu() -> Any:
    """The library; raises ConfigError with the command that installs it where it is missing."""
    try:
        import sacrebleu as library  # noqa: PLC0415  an extra: imported where it is used
    except ImportError as error:
        raise ConfigError(
            'BLEU and chrF need the package sacrebleu; install it with: pip install "elman[translation]"'
        ) from error
    return library


def bleu(references: Sequence[str], hypotheses: Sequence[str], lowercase: bool = False) -> Score:
    """Of a whole corpus, tokenised as WMT's mteval-v13a does; lowercase: case is not looked at."""
    return _score(sacrebleu().metrics.BLEU(lowercase=lowercase), references, hypotheses)


def bleu_by_length(
    references: Sequence[str],
    hypotheses: Sequence[str],
    lengths: Sequence[int],
    bounds: Sequence[int],
    lowercase: bool = False,
) -> list[Bin]:
    """BLEU of the sentences in each bin of lengths, as `bleu` gives it; intervals: score_by_length."""
    metric = sacrebleu().metrics.BLEU(lowercase=lowercase, effective_order=True)
    found = [metric.sentence_score(h, [r]) for h, r in zip(hypotheses, references, strict=True)]
    statistics = [[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in found]

    def score(total: np.ndarray) -> float:
        counts = total.astype(int).tolist()
        return metric.compute_bleu(counts[:4], counts[4:8], *counts[8:], smooth_method="exp").score

    return score_by_length(lengths, statistics, score, bounds)


def bleu_interval(
    references: Sequence[str], hypotheses: Sequence[str], lowercase: bool = False
) -> tuple[float, float]:
    """Between what and what BLEU lies in 95 % of corpora drawn from these sentences (score_by_length)."""
    (whole,) = bleu_by_length(references, hypotheses, [0] * len(references), [0, 1], lowercase)
    return whole.low, whole.high


def chrf(references: Sequence[str], hypotheses: Sequence[str], lowercase: bool = False) -> Score:
    """Of a whole corpus; lowercase: case is not looked at."""
    return _score(sacrebleu().metrics.CHRF(lowercase=lowercase), references, hypotheses)


def _score(metric: Any, references: Sequence[str], hypotheses: Sequence[str]) -> Score:
    if len(references) != len(hypotheses) or not references:
        raise ShapeError(
            f"expected as many references as hypotheses, at least one; got {len(references)} and "
            f"{len(hypotheses)}"
        )
    value = metric.corpus_score(list(hypotheses), [list(references)]).score
    return Score(float(value), str(metric.get_signature()))
