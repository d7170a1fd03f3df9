"""A neural language model in the search: one step a frame, the same scores as its own of whole texts."""

import math

import numpy as np
import pytest
import torch

import ctc_oracles as oracle
from elman.cells import GRUCell, LSTMCell
from elman.data.alphabet import Alphabet
from elman.data.codec import CharacterCodec, Codec, WordCodec
from elman.errors import ConfigError
from elman.models.language_model import LanguageModel
from elman.search.ctc_beam import CTCBeam
from elman.search.fusion import NeuralFusion
from elman.search.lexicon import Lexicon

ALPHABET = Alphabet("_ ab")
SPELLINGS = {"a": [(2,)], "ab": [(2, 3)], "b": [(3,)], "ba": [(3, 2)]}


def model(codec: Codec, cell: type, seed: int) -> LanguageModel:
    torch.manual_seed(seed)
    made = LanguageModel(len(codec), [cell(4, 4), cell(4, 4)], embedding=4)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    return made.eval()


def log_prob(language: LanguageModel, ids: list[int], start: list[int]) -> float:
    """ln p(ids | start) by one pass over the whole text."""
    tokens = torch.tensor([*start, *ids], dtype=torch.int64)[:, None]
    if not len(tokens):
        return 0.0
    with torch.no_grad():
        logits, _ = language(tokens)
        expected = torch.cat([language.prior(1), logits[:-1, 0]])
    each = expected.double().log_softmax(1)[torch.arange(len(tokens)), tokens[:, 0]]
    return float(each[len(start) :].sum())


@pytest.mark.parametrize("mode", ["native", "reference"])
def test_a_model_of_characters_scores_as_over_whole_texts(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", "auto")
    rng = np.random.default_rng(1)
    codec = CharacterCodec(["\n", " ", "a", "b"])
    for seed in range(3):
        language = model(codec, LSTMCell, seed)
        fusion = NeuralFusion(language, codec, ALPHABET, None, "symbols", start="\n", end="\n")
        logits = rng.standard_normal((4, 4)) * 1.5
        expected = {}
        for labelling, p in oracle.labellings(logits).items():
            ids = codec.encode(ALPHABET.decode(labelling) + "\n").tolist()
            expected[labelling] = math.log(p) + 0.6 * log_prob(language, ids, [0])
        monkeypatch.setenv("ELMAN_KERNELS", "auto" if mode == "native" else mode)
        decoder = CTCBeam(ALPHABET, beam=500, model=fusion, alpha=0.6)
        found = {t.symbols: t.score for t in decoder.decode(torch.from_numpy(logits)[:, None], best=500)[0]}
        assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("end", ["<eos>", None])
def test_a_model_of_words_scores_as_over_whole_texts(end: str | None) -> None:
    rng = np.random.default_rng(2)
    codec = WordCodec(["<unk>", "<eos>", "a", "ab", "b"])  # "ba" it does not know
    numbers = {"a": 2, "ab": 3, "b": 4, "ba": 0}
    lexicon = Lexicon(SPELLINGS, ALPHABET)
    for seed in range(3):
        language = model(codec, GRUCell, seed)
        fusion = NeuralFusion(language, codec, ALPHABET, lexicon, "words", end=end)
        logits = rng.standard_normal((6, 4)) * 1.5
        ends = [1] if end else []

        def scored(
            words: tuple[str, ...], language: LanguageModel = language, ends: list[int] = ends
        ) -> float:
            return 0.9 * log_prob(language, [numbers[word] for word in words] + ends, []) + 0.5 * len(words)

        expected = oracle.sentences(logits, SPELLINGS, 1, scored)
        decoder = CTCBeam(ALPHABET, beam=1000, lexicon=lexicon, model=fusion, alpha=0.9, beta=0.5)
        found = decoder.decode(torch.from_numpy(logits)[:, None], best=1000)[0]
        assert {t.words: t.score for t in found} == pytest.approx(expected, abs=1e-4)


def test_a_batch_is_its_utterances_and_a_long_one_reuses_rows() -> None:
    """Rows of the model are given back and taken again while the beam is narrow; streams say the same."""
    rng = np.random.default_rng(3)
    codec = CharacterCodec([" ", "a", "b"])
    fusion = NeuralFusion(model(codec, LSTMCell, 5), codec, ALPHABET, None, "symbols")
    lexicon = Lexicon(SPELLINGS, ALPHABET)
    words = NeuralFusion(
        model(WordCodec(list(SPELLINGS)), GRUCell, 6), WordCodec(list(SPELLINGS)), ALPHABET, lexicon, "words"
    )
    logits = torch.from_numpy(rng.standard_normal((60, 3, 4)) * 2)
    lengths = torch.tensor([60, 23, 0])
    for decoder in (
        CTCBeam(ALPHABET, beam=6, model=fusion),
        CTCBeam(ALPHABET, beam=6, model=words, lexicon=lexicon),
    ):
        together = decoder.decode(logits, lengths, best=2)
        for n, length in enumerate(lengths.tolist()):
            (alone,) = decoder.decode(logits[:length, n : n + 1], best=2)
            stream = decoder.stream(torch.float64)
            for piece in logits[:length, n].split(7):
                stream.feed(piece)
            for other in (alone, stream.finish(2)):
                assert [t.symbols for t in other] == [t.symbols for t in together[n]]
                assert [t.score for t in other] == pytest.approx([t.score for t in together[n]], abs=1e-4)


def test_symbols_that_a_model_lacks_are_told() -> None:
    codec = CharacterCodec([" ", "a"])
    with pytest.raises(ConfigError, match=r"does not know 'b', one of the symbols"):
        NeuralFusion(model(codec, LSTMCell, 0), codec, ALPHABET, None, "symbols")
    codec = CharacterCodec([" ", "a", "b"])
    with pytest.raises(ConfigError, match=r"no symbol '\.' that could end"):
        NeuralFusion(model(codec, LSTMCell, 0), codec, ALPHABET, None, "symbols", end=".")
