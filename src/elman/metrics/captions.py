"""How good captions are, beside several that people wrote: BLEU-1 to 4, CIDEr and CIDEr-D.

    g_k(s) = count of n-gram k in s, over n-grams of s * ln(I / max(1, images whose references have k))
    CIDEr_n = mean over references of cos(g(candidate), g(reference))        CIDEr = 10 mean_n CIDEr_n
    CIDEr-D_n as CIDEr_n, with min(g(candidate), g(reference)) in the product, counts in place of shares,
    and exp(-(length difference)^2 / (2 sigma^2)) as a factor, sigma = 6

n = 1 .. 4; I the number of images. Vedantam, Zitnick and Parikh, "CIDEr: consensus-based image description
evaluation", 2015. BLEU (Papineni et al. 2002) is sacrebleu's, over all candidates at once, without smoothing.

Captions are compared as lower-case words without punctuation. METEOR is left out: what its authors publish is
a Java program with tables of synonyms and paraphrases, which no library that is kept up brings along; others
of that name give other numbers.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from elman import counter
from elman.errors import DataError
from elman.metrics.translation import sacrebleu

LONGEST = 4
SIGMA = 6.0
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")

Gram = tuple[str, ...]


@dataclass(frozen=True)
class CaptionScores:
    """Figures over a set of images. signature: how sacrebleu counted."""

    bleu: tuple[float, float, float, float]
    cider: float
    cider_d: float
    signature: str


def words(text: str) -> list[str]:
    """The words of a caption as the metrics compare them: lower case, no punctuation."""
    return WORD.findall(text.lower())


def caption_scores(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> CaptionScores:
    """BLEU-1 to 4 (0 to 100), CIDEr and CIDEr-D of a candidate for each image beside its references.

    Raises DataError where the two do not go together, an image has no reference, or there is no image.
    """
    check_captions(references, candidates)
    bleu, signature = caption_bleu(references, candidates)
    plain, clipped = cider(references, candidates), cider_d(references, candidates)
    return CaptionScores(bleu, sum(plain) / len(plain), sum(clipped) / len(clipped), signature)


def caption_bleu(
    references: Sequence[Sequence[str]], candidates: Sequence[str]
) -> tuple[tuple[float, float, float, float], str]:
    """BLEU-1 to 4 and the signature of the last; images may have different numbers of references.

    Raises ConfigError where sacrebleu is not installed.
    """
    library = sacrebleu()
    check_captions(references, candidates)
    told = [" ".join(words(text)) for text in candidates]
    most = max(len(group) for group in references)
    # A reference that an image does not have is repeated from those it has: no count changes by that.
    streams = [[" ".join(words(group[place % len(group)])) for group in references] for place in range(most)]
    found: list[float] = []
    signature = ""
    for longest in range(1, LONGEST + 1):
        metric = library.metrics.BLEU(max_ngram_order=longest, tokenize="none", smooth_method="none")
        found.append(metric.corpus_score(told, streams).score)
        signature = str(metric.get_signature())
    return (found[0], found[1], found[2], found[3]), signature


def cider(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> list[float]:
    """CIDEr of each image's candidate; the weights of n-grams are from all references given."""
    return _consensus(references, candidates, _cosine)


def cider_d(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> list[float]:
    """CIDEr-D of each image's candidate, which neither repeated words nor length can raise."""
    return _consensus(references, candidates, _clipped)


def bootstrap(
    differences: Callable[[list[int]], float],
    count: int,
    *,
    draws: int = 1000,
    seed: int = 1,
    level: float = 0.95,
) -> tuple[float, float]:
    """The interval that holds `level` of a figure over `count` images drawn anew with replacement.

    differences(rows) -> the figure over the images `rows`. Efron 1979, the percentile interval.
    """
    index = torch.arange(count)
    found = sorted(
        differences(
            (counter.uniform(seed, torch.tensor(draw), index) * count).long().clamp(max=count - 1).tolist()
        )
        for draw in range(draws)
    )
    cut = (1 - level) / 2
    return found[math.floor(cut * (draws - 1))], found[math.ceil((1 - cut) * (draws - 1))]


def check_captions(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> None:
    """Raises DataError unless there is a candidate for each of one or more images with references."""
    if not candidates or len(candidates) != len(references):
        raise DataError(
            f"captions: {len(candidates)} candidates for {len(references)} images; expected one for each of "
            f"at least one"
        )
    for row, group in enumerate(references, 1):
        if not group or isinstance(group, str):
            raise DataError(f"captions: image {row} has no reference; expected a list of one or more")


@dataclass(frozen=True)
class _Grams:
    """A caption's n-grams: for each n their counts, as weights; its length in words."""

    counts: tuple[Counter[Gram], ...]
    length: int


def _grams(text: str) -> _Grams:
    told = words(text)
    counts = tuple(
        Counter(tuple(told[place : place + n]) for place in range(len(told) - n + 1))
        for n in range(1, LONGEST + 1)
    )
    return _Grams(counts, len(told))


def _consensus(
    references: Sequence[Sequence[str]],
    candidates: Sequence[str],
    compare: Callable[[_Grams, _Grams, Callable[[Gram], float]], float],
) -> list[float]:
    """10 times the mean over references of what `compare` says, for each image."""
    check_captions(references, candidates)
    told = [[_grams(text) for text in group] for group in references]
    images: Counter[Gram] = Counter()
    for group in told:
        images.update({gram for reference in group for counts in reference.counts for gram in counts})
    whole = math.log(len(told))

    def rarity(gram: Gram) -> float:
        return whole - math.log(max(1, images[gram]))

    return [
        10 * sum(compare(_grams(text), reference, rarity) for reference in group) / len(group)
        for text, group in zip(candidates, told, strict=True)
    ]


def _cosine(candidate: _Grams, reference: _Grams, rarity: Callable[[Gram], float]) -> float:
    """Mean over n of the cosine; the length of a vector drops out, and with it shares against counts."""
    return _compare(candidate, reference, rarity, clipped=False)


def _clipped(candidate: _Grams, reference: _Grams, rarity: Callable[[Gram], float]) -> float:
    """Mean over n of the cosine with clipped counts, times the penalty for another length."""
    difference = candidate.length - reference.length
    penalty = math.exp(-(difference**2) / (2 * SIGMA**2))
    return penalty * _compare(candidate, reference, rarity, clipped=True)


def _compare(
    candidate: _Grams, reference: _Grams, rarity: Callable[[Gram], float], *, clipped: bool
) -> float:
    total = 0.0
    for ours, theirs in zip(candidate.counts, reference.counts, strict=True):
        product = sum(
            (min(ours[gram], count) if clipped else ours[gram]) * count * rarity(gram) ** 2
            for gram, count in theirs.items()
            if gram in ours
        )
        lengths = [
            math.sqrt(sum((count * rarity(gram)) ** 2 for gram, count in counts.items()))
            for counts in (ours, theirs)
        ]
        if product:
            total += product / (lengths[0] * lengths[1])
    return total / LONGEST
