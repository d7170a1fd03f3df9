"""Caption metrics: CIDEr by its formula written out, BLEU by hand, and their limits."""

import itertools
import math

import pytest

from elman.errors import DataError
from elman.metrics.captions import bootstrap, caption_bleu, caption_scores, cider, cider_d, words

REFERENCES = [
    ["A dog runs on the grass .", "a brown dog is running", "The dog runs, fast!"],
    ["Two children play in the water", "kids play in water", "two kids are in the water near a dog"],
    ["a man on a bike", "a cyclist rides his bike on a road", "a man rides"],
]
CANDIDATES = ["a dog runs on grass", "two kids play in the the the water", "a dog and a man"]


def test_words() -> None:
    assert words("The man's T-shirt is RED , 2 stripes .") == [
        "the",
        "man's",
        "t-shirt",
        "is",
        "red",
        "2",
        "stripes",
    ]


def cider_by_formula(candidate: str, group: list[str], corpus: list[list[str]], clipped: bool) -> float:
    """Vectors over every n-gram there is, as the paper writes them."""
    whole = 0.0
    for n in range(1, 5):

        def grams(text: str, n: int = n) -> list[tuple[str, ...]]:
            told = words(text)
            return list(zip(*(told[k:] for k in range(n)), strict=False))

        every = sorted({g for text in [candidate, *itertools.chain(*corpus)] for g in grams(text)})
        inverse = []
        for gram in every:
            images = sum(any(gram in grams(reference) for reference in references) for references in corpus)
            inverse.append(math.log(len(corpus) / max(1, images)))

        def vector(text: str, every: list = every, inverse: list = inverse) -> list[float]:
            told = grams(text)
            share = 1 if clipped else max(len(told), 1)
            return [told.count(gram) / share * weight for gram, weight in zip(every, inverse, strict=True)]

        ours = vector(candidate)
        total = 0.0
        for reference in group:
            theirs = vector(reference)
            first = [min(a, b) for a, b in zip(ours, theirs, strict=True)] if clipped else ours
            product = sum(a * b for a, b in zip(first, theirs, strict=True))
            sizes = math.sqrt(sum(a * a for a in ours)) * math.sqrt(sum(b * b for b in theirs))
            value = product / sizes if sizes else 0.0
            if clipped:
                value *= math.exp(-((len(words(candidate)) - len(words(reference))) ** 2) / 72)
            total += value
        whole += total / len(group)
    return 10 * whole / 4


@pytest.mark.parametrize("clipped", [False, True])
def test_cider_by_its_formula(clipped: bool) -> None:
    found = (cider_d if clipped else cider)(REFERENCES, CANDIDATES)
    expected = [
        cider_by_formula(candidate, group, REFERENCES, clipped)
        for candidate, group in zip(CANDIDATES, REFERENCES, strict=True)
    ]
    assert found == pytest.approx(expected, abs=1e-9)
    assert min(found) > 0


def test_limits_of_cider() -> None:
    same = [
        [text]
        for text in ("a red ball in the tall grass", "two old men sit by a river", "snow falls on it all")
    ]
    told = [group[0] for group in same]
    assert cider(same, told) == pytest.approx([10, 10, 10])
    assert cider_d(same, told) == pytest.approx([10, 10, 10])
    assert cider(same, ["nothing of this", "", "x"]) == [0, 0, 0]
    repeated = cider_d([["a red ball"], ["a man"]], ["red red red red", "a man"])[0]
    assert repeated < cider([["a red ball"], ["a man"]], ["red red red red", "a man"])[0]


def test_bleu_by_hand() -> None:
    pytest.importorskip("sacrebleu", reason="needs the extra: pip install 'elman[translation]'")
    # Clipped unigrams: the 2, cat 1 of "the the cat": 3 of 3; bigrams: "the cat" 1 of 2. Closest length 3.
    bleu, signature = caption_bleu([["The cat .", "the dog the"]], ["the the cat"])
    assert bleu[0] == pytest.approx(100)
    assert bleu[1] == pytest.approx(100 * math.sqrt(0.5))
    assert "nrefs:2" in signature
    # Five words beside one of six and one of nine: brevity exp(1 - 6 / 5).
    bleu, _ = caption_bleu([["a b c d e f", "a b c d e f g h i"]], ["a b c d e"])
    assert bleu == pytest.approx([100 * math.exp(-0.2)] * 4)


def test_images_may_have_different_numbers_of_references() -> None:
    pytest.importorskip("sacrebleu", reason="needs the extra: pip install 'elman[translation]'")
    uneven = [REFERENCES[0], REFERENCES[1][:1], REFERENCES[2][:2]]
    padded = [uneven[0], uneven[1] * 3, [*uneven[2], uneven[2][0]]]
    assert caption_bleu(uneven, CANDIDATES)[0] == caption_bleu(padded, CANDIDATES)[0]
    scores = caption_scores(REFERENCES, CANDIDATES)
    assert scores.cider_d == pytest.approx(sum(cider_d(REFERENCES, CANDIDATES)) / 3)


@pytest.mark.parametrize(
    ("references", "candidates", "told"),
    [
        ([], [], "0 candidates for 0 images"),
        ([["a"]], ["a", "b"], "2 candidates for 1 images"),
        ([["a"], []], ["a", "b"], "image 2 has no reference"),
    ],
)
def test_what_does_not_go_together(references: list[list[str]], candidates: list[str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        cider(references, candidates)


def test_the_interval_of_a_mean() -> None:
    """Beside the normal one, for the mean of many numbers."""
    values = [((7919 * k) % 1000) / 1000 for k in range(400)]
    low, high = bootstrap(lambda rows: sum(values[row] for row in rows) / len(rows), len(values), draws=1000)
    mean = sum(values) / 400
    spread = 1.96 * math.sqrt(sum((v - mean) ** 2 for v in values) / 400 / 400)
    assert low == pytest.approx(mean - spread, abs=0.005)
    assert high == pytest.approx(mean + spread, abs=0.005)
