"""The search that asks an n-gram model natively equals enumeration of all sentences of the lexicon."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import ctc_oracles as oracle
from elman.data.alphabet import Alphabet
from elman.kernels import native_available
from elman.search.ctc_beam import CTCBeam
from elman.search.fusion import NgramFusion
from elman.search.lexicon import Lexicon
from elman.search.ngram import NgramModel
from elman.search.ngram_files import open_ngram

pytestmark = pytest.mark.skipif(not native_available(), reason="n-gram models need the native module")

SPELLINGS = {"a": [(2,)], "ab": [(2, 3), (2, 2)], "b": [(3,)], "bee": [(3,)], "ba": [(3, 2)]}
WORDS = ("<unk>", "<s>", "</s>", "a", "ab", "b", "bee")  # "ba" it does not know
Table = dict[tuple[str, ...], tuple[float, float]]


def draw_trigram(rng: np.random.Generator) -> Table:
    """Log probability and back-off weight, base 10, of some n-grams; a third of the bigrams and trigrams."""

    def numbers() -> tuple[float, float]:
        return round(float(rng.uniform(-3, -0.1)), 4), round(float(rng.uniform(-1, 0.2)), 4)

    table: Table = {(word,): numbers() for word in WORDS}
    for pair in itertools.product(WORDS, WORDS):
        if pair[0] != "</s>" and pair[1] != "<s>" and rng.random() < 0.4:
            table[pair] = numbers()
    for triple in itertools.product(WORDS, WORDS, WORDS):
        if triple[:2] in table and triple[1:] in table and rng.random() < 0.4:
            table[triple] = (numbers()[0], 0.0)
    return table


def write_arpa(table: Table, path: Path) -> NgramModel:
    lines = ["\\data\\", *(f"ngram {n}={sum(len(gram) == n for gram in table)}" for n in (1, 2, 3))]
    for order in (1, 2, 3):
        lines += ["", f"\\{order}-grams:"]
        for gram, (value, weight) in table.items():
            if len(gram) == order:
                lines.append(f"{value}\t{' '.join(gram)}" + (f"\t{weight}" if order < 3 else ""))
    path.write_text("\n".join([*lines, "", "\\end\\", ""]))
    return open_ngram(path)


def by_definition(table: Table, words: tuple[str, ...]) -> float:
    """Ln p of the words and the end, in float64 from the numbers as they are written."""

    def log_prob(gram: tuple[str, ...]) -> float:
        if gram in table:
            return table[gram][0]
        return table.get(gram[:-1], (0.0, 0.0))[1] + log_prob(gram[1:])

    line = ("<s>", *(word if word in WORDS else "<unk>" for word in words), "</s>")
    grams = (line[max(0, at - 2) : at + 1] for at in range(1, len(line)))
    return math.log(10) * math.fsum(log_prob(gram) for gram in grams)


def by_model(model: NgramModel, words: tuple[str, ...]) -> float:
    """The same as the model itself says it, word by word."""
    state, scores = model.start(), []
    for word in (*words, "</s>"):
        score, state = model.score(state, model.vocabulary[word])
        scores.append(score)
    return math.fsum(scores)


@pytest.mark.parametrize("separator", [" ", None])
def test_every_sentence_has_its_score(separator: str | None, tmp_path: Path) -> None:
    """To 1e-10 of the model's own numbers; to 1e-5 of those written, which it stores as float32."""
    rng = np.random.default_rng(11)
    alphabet = Alphabet("_ ab", separator=separator)
    lexicon = Lexicon(SPELLINGS, alphabet)
    alpha, beta = 0.8, 0.3
    for case in range(10):
        table = draw_trigram(rng)
        model = write_arpa(table, tmp_path / f"{case}.arpa")
        fusion = NgramFusion(model, alphabet, lexicon, "words")
        assert fusion.native() is not None
        logits = rng.standard_normal((2 + case % (5 if separator else 3), 4)) * 1.5
        expected = oracle.sentences(
            logits,
            SPELLINGS,
            alphabet.separator,
            lambda words, model=model: alpha * by_model(model, words) + beta * len(words),
        )
        wide, narrow = (
            CTCBeam(alphabet, beam=beam, lexicon=lexicon, model=fusion, alpha=alpha, beta=beta)
            for beam in (5000, 100)
        )
        inputs = torch.from_numpy(logits)[:, None]
        found = {t.words: t.score for t in wide.decode(inputs, best=len(expected) + 1)[0]}
        assert found == pytest.approx(expected, abs=1e-10, rel=0)
        written = {
            words: score + alpha * (by_definition(table, words) - by_model(model, words))
            for words, score in expected.items()
        }
        assert found == pytest.approx(written, abs=1e-5, rel=0)
        assert narrow.decode(inputs)[0][0].words == max(expected, key=lambda words: expected[words])
