"""The beam search equals enumeration over all labelings and sentences; native and reference are the same."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ctc_oracles as oracle
from elman.data.alphabet import Alphabet
from elman.errors import ConfigError, DataError, ShapeError
from elman.kernels import native_module
from elman.search.ctc_beam import CTCBeam
from elman.search.fusion import NgramFusion
from elman.search.lexicon import Lexicon
from elman.search.transcript import Transcript

ABC = Alphabet("_ abc"[:4])  # blank, separator, a, b


@pytest.fixture(params=["native", "reference"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ELMAN_KERNELS", request.param)
    return request.param


def draw(rng: np.random.Generator, time: int, classes: int) -> np.ndarray:
    return rng.standard_normal((time, classes)) * 1.5


def one(logits: np.ndarray, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(logits)[:, None].to(dtype)


def bigram(rng: np.random.Generator, words: tuple[str, ...]) -> oracle.Bigram:
    vocabulary = ("<s>", "</s>", *words)
    return oracle.Bigram(vocabulary, rng.dirichlet(np.ones(len(vocabulary)), len(vocabulary)))


def test_a_wide_beam_gives_every_labelling_its_probability(kernels: str) -> None:
    rng = np.random.default_rng(1)
    for time, classes in [(1, 1), (1, 4), (3, 4), (5, 3), (7, 2), (7, 3)]:
        logits = draw(rng, time, classes)
        expected = oracle.labellings(logits)
        decoder = CTCBeam(Alphabet("_abc"[:classes]), beam=1000)
        found = decoder.decode(one(logits), best=1000)[0]
        assert len(found) == len(expected)
        assert {t.symbols: t.score for t in found} == pytest.approx(
            {labelling: math.log(p) for labelling, p in expected.items()}, abs=1e-10
        )
        assert [t.score for t in found] == sorted((t.score for t in found), reverse=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_beam_100_finds_the_best_of_all_in_200_of_200(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(2)
    decoder = CTCBeam(Alphabet("_abc"), beam=100)
    for _ in range(200):
        logits = draw(rng, 6, 4).astype(np.float32).astype(np.float64)
        expected = oracle.labellings(logits)
        found = decoder.decode(one(logits, dtype))[0][0]
        assert found.symbols == max(expected, key=lambda labelling: expected[labelling])
        # A little of the sum is lost with the alignments whose beginnings were pruned; nothing can be gained.
        assert -1e-2 < found.score - math.log(expected[found.symbols]) < 1e-6


@pytest.mark.parametrize("separator", [" ", None])
def test_with_lexicon_and_bigram_it_finds_the_best_of_all_sentences(
    separator: str | None, kernels: str
) -> None:
    rng = np.random.default_rng(3)
    alphabet = Alphabet("_ ab", separator=separator)
    space = (1,) if separator is None else ()
    # Several spellings of a word, one spelling of several words, a word that begins another.
    spellings = {
        "a": [(2,)], "ab": [(2, 3), (2, 2, *space)], "aa": [(2, 2)], "b": [(3,), (3, 3)], "bee": [(3,)],
    }  # fmt: skip
    alpha, beta = 0.7, 0.4
    for case in range(200 if kernels == "native" else 12):
        model = bigram(rng, tuple(spellings))
        # Without a separator a prefix has many ways to be cut into words, each a hypothesis of its own.
        logits = draw(rng, 1 + case % (6 if separator else 4), 4)
        lexicon = Lexicon(spellings, alphabet)
        fusion = NgramFusion(model, alphabet, lexicon, "words")
        narrow, wide = (
            CTCBeam(alphabet, beam=beam, lexicon=lexicon, alpha=alpha, beta=beta, model=fusion)
            for beam in (100, 2000)
        )
        expected = oracle.sentences(
            logits,
            spellings,
            alphabet.separator,
            lambda words, model=model: alpha * model.text(words) + beta * len(words),
        )
        best = max(expected, key=lambda words: expected[words])
        assert narrow.decode(one(logits))[0][0].words == best
        found = {t.words: t.score for t in wide.decode(one(logits), best=len(expected) + 1)[0]}
        assert found == pytest.approx(expected, abs=1e-5)  # the rows of a model in Python are float32


@pytest.mark.parametrize("separator", [" ", None])
def test_symbol_models_hotwords_and_word_counts_equal_enumeration(
    separator: str | None, kernels: str
) -> None:
    rng = np.random.default_rng(4)
    alphabet = Alphabet("_ ab", separator=separator)
    hotwords = {"ab": 1.3, "b": -0.4, "aba": 2.0} | ({"a b": 0.9} if separator else {"ba": 0.3})
    alpha, beta = 0.6, 0.8
    for case in range(24 if kernels == "native" else 4):
        model = bigram(rng, alphabet.symbols[1:])
        logits = draw(rng, 2 + case % 4, 4)
        decoder = CTCBeam(
            alphabet, beam=2000, model=NgramFusion(model, alphabet, None, "symbols"), alpha=alpha, beta=beta,
            hotwords=hotwords,
        )  # fmt: skip
        expected = {}
        for labelling, p in oracle.labellings(logits).items():
            text = alphabet.decode(labelling)
            units = [alphabet.symbols[c] for c in labelling]
            bonus = sum(weight * occurrences(phrase, text, separator) for phrase, weight in hotwords.items())
            words = len(text.split()) if separator else len(text)
            expected[labelling] = math.log(p) + alpha * model.text(units) + beta * words + bonus
        found = {t.symbols: t.score for t in decoder.decode(one(logits), best=2000)[0]}
        assert found == pytest.approx(expected, abs=1e-5)


def occurrences(phrase: str, text: str, separator: str | None) -> int:
    """How often a phrase stands in a text, as whole words where there is a separator; overlaps count."""
    if separator is not None:
        phrase, text = f"{separator}{phrase}{separator}", f"{separator}{text}{separator}"
    return sum(text.startswith(phrase, at) for at in range(len(text)))


def configurations(rng: np.random.Generator) -> list[CTCBeam]:
    """Narrow decoders of each kind, made anew."""
    alphabet = Alphabet("_ abc")
    words = ["a", "ab", "abc", "b", "ca", "cab", "c"]
    lexicon = Lexicon.of(words, alphabet)
    of_words = NgramFusion(bigram(rng, tuple(words)), alphabet, lexicon, "words")
    of_symbols = NgramFusion(bigram(rng, alphabet.symbols[1:]), alphabet, None, "symbols")
    hotwords = {"ab": 1.0, "c": 0.5}
    return [
        CTCBeam(alphabet, beam=1),
        CTCBeam(alphabet, beam=7, symbols=2, probability=0.05),
        CTCBeam(alphabet, beam=6, hotwords=hotwords, beta=0.3),
        CTCBeam(alphabet, beam=6, model=of_symbols, symbols=3),
        CTCBeam(alphabet, beam=5, lexicon=lexicon, beta=-0.5),
        CTCBeam(alphabet, beam=9, lexicon=lexicon, model=of_words, hotwords=hotwords, beta=1.0),
        CTCBeam(alphabet, beam=8, lexicon=lexicon, model=of_symbols),
    ]


def same(first: list[Transcript], second: list[Transcript]) -> None:
    assert [(t.symbols, t.words, t.starts, t.ends) for t in first] == [
        (t.symbols, t.words, t.starts, t.ends) for t in second
    ]
    assert [t.score for t in first] == pytest.approx([t.score for t in second], abs=1e-5)
    for a, b in zip(first, second, strict=True):
        assert a.confidences == pytest.approx(b.confidences, abs=1e-6)


def test_narrow_native_beams_are_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    for decoder in configurations(rng):
        logits = torch.from_numpy(rng.standard_normal((25, 3, 5)) * 2)
        lengths = torch.tensor([25, 0, 11])
        both = []
        for mode in ("native", "reference"):
            monkeypatch.setenv("ELMAN_KERNELS", mode)
            both.append(decoder.decode(logits, lengths, best=4))
        for native, reference in zip(*both, strict=True):
            assert native
            same(native, reference)


@given(data=st.data())
def test_pieces_never_change_the_result(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    decoder = data.draw(st.sampled_from(configurations(rng)))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    logits = torch.from_numpy(rng.standard_normal((data.draw(st.integers(0, 30)), 5)) * 3).to(dtype)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(logits)), max_size=6)))
    stream = decoder.stream(dtype)
    for start, end in itertools.pairwise([0, *cuts, len(logits)]):
        stream.feed(logits[start:end])
        stream.partial(2)  # looking changes nothing
    assert stream.finish(3) == decoder.decode(logits[:, None], best=3)[0]


def test_partial_hypotheses_grow_into_the_result() -> None:
    decoder = CTCBeam(ABC, beam=10)
    stream = decoder.stream()
    assert stream.partial()[0].text == ""
    seen = []
    for c in (2, 0, 3, 0, 1, 2):
        stream.feed(torch.eye(4)[c][None] * 12)
        seen.append(stream.partial()[0].text)
    assert seen == ["a", "a", "ab", "ab", "ab ", "ab a"]
    assert stream.finish()[0].text == "ab a"
    with pytest.raises(ConfigError, match="finished"):
        stream.feed(torch.zeros(1, 4))


def test_times_are_those_of_the_best_alignment() -> None:
    rng = np.random.default_rng(6)
    decoder = CTCBeam(Alphabet("_abc"), beam=1000)
    for _ in range(30):
        logits = draw(rng, 6, 4)
        y = oracle.probabilities(logits)
        for found in decoder.decode(one(logits), best=3)[0]:
            path = oracle.best_alignment(logits, found.symbols)
            spans = []
            start = 0
            for symbol, run in itertools.groupby(path):
                size = len(list(run))
                if symbol:
                    spans.append((start, start + size, y[start : start + size, symbol].max()))
                start += size
            starts, ends, peaks = zip(*spans, strict=True) if spans else ((), (), ())
            assert (found.starts, found.ends) == (starts, ends)
            assert found.confidences == pytest.approx(peaks, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_lose_neither_hypotheses_nor_scores(dtype: torch.dtype) -> None:
    """Blank and all that the lexicon allows is e^-2000 in each frame; products would be zero."""
    alphabet = Alphabet("_ abc")
    lexicon = Lexicon.of(["ab", "b"], alphabet)
    logits = torch.full((6, 1, 5), -2000.0, dtype=dtype)
    logits[:, :, 4] = 0  # c, of which no word is made
    logits[0, 0, 2] = logits[3, 0, 3] = -1990
    found = CTCBeam(alphabet, lexicon=lexicon, beam=50, beta=0.0).decode(logits)[0][0]
    assert found.text == "ab"
    assert -2000 * 6 + 20 < found.score < -2000 * 6 + 20 + math.log(5**6)


def test_a_long_stream_keeps_the_memory_of_its_text_and_its_result() -> None:
    """The tree is swept several times on the way; nothing of the result is lost."""
    rng = np.random.default_rng(7)
    alphabet = Alphabet("_ abcdefgh")
    text = torch.from_numpy(np.where(rng.random(6000) < 0.7, 0, rng.integers(1, 10, 6000)))
    logits = torch.nn.functional.one_hot(text, 10) * 6.0 + torch.from_numpy(rng.standard_normal((6000, 10)))
    for beam in (4, 100):
        found = CTCBeam(alphabet, beam=beam).decode(logits.float()[:, None])[0][0]
        assert found.symbols == oracle.collapse(logits.argmax(1).tolist())
        assert list(found.starts) == sorted(set(found.starts))


def test_instruction_sets_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    logits = torch.from_numpy(rng.standard_normal((60, 2, 5)).astype(np.float32) * 2)
    sets = native_module().search_kernels()
    assert "baseline" in sets
    for decoder in configurations(rng):
        results = []
        for name in sets:
            monkeypatch.setenv("ELMAN_INSTRUCTIONS", name)
            results.append([found for each in decoder.decode(logits, best=3) for found in each])
        for result in results[1:]:
            same(results[0], result)


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(9)
    logits = torch.from_numpy(rng.standard_normal((40, 7, 5)))
    alphabet = Alphabet("_ abc")
    first, second = (CTCBeam(alphabet, beam=20, threads=threads).decode(logits, best=2) for threads in (1, 3))
    assert first == second


@pytest.mark.parametrize(
    ("value", "told"),
    [(math.nan, "a NaN for class 2"), (math.inf, r"\+inf for class 2"), (-math.inf, "-inf for every class")],
)
def test_numbers_that_are_none_are_told(value: float, told: str, kernels: str) -> None:
    logits = torch.zeros(5, 2, 4)
    logits[3, 1, 2] = value
    if value == -math.inf:
        logits[3, 1] = value
    decoder = CTCBeam(ABC, beam=4)
    with pytest.raises(DataError, match=f"utterance 1: frame 3: .*{told}"):
        decoder.decode(logits)
    assert decoder.decode(logits, torch.tensor([5, 3]))  # past the end nothing is looked at
    stream = decoder.stream()
    stream.feed(logits[:2, 1])
    with pytest.raises(DataError, match=f"stream: frame 3: .*{told}"):
        stream.feed(logits[2:, 1])
    stream.feed(logits[2:3, 1])
    assert stream.frames == 3


def test_inputs_of_no_size_have_documented_values(kernels: str) -> None:
    decoder = CTCBeam(ABC, beam=4)
    assert decoder.decode(torch.zeros(5, 0, 4)) == []
    for found in (decoder.decode(torch.zeros(0, 1, 4), best=3)[0], decoder.stream().finish(3)):
        assert [(t.symbols, t.score, t.text) for t in found] == [((), 0.0, "")]
    blank = CTCBeam(Alphabet(["_"]), beam=4)
    assert [t.symbols for t in blank.decode(torch.zeros(3, 1, 1), best=3)[0]] == [()]
    # A lexicon may allow nothing at all: blank and both beginnings of words are impossible.
    lexicon = Lexicon.of(["ab"], ABC)
    logits = torch.full((4, 1, 4), -math.inf)
    logits[:, :, 1] = 0
    assert CTCBeam(ABC, lexicon=lexicon).decode(logits) == [[]]
    # Half of a word is no sentence; nothing is.
    logits = torch.full((4, 1, 4), -math.inf)
    logits[:, :, (0, 2)] = 0
    found = CTCBeam(ABC, lexicon=lexicon).decode(logits, best=5)[0]
    assert [t.words for t in found] == [()]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"beam": 0}, "beam: expected 1 to"),
        ({"beam": 1 << 30}, "beam: expected 1 to"),
        ({"alpha": -1.0}, "alpha of at least 0"),
        ({"alpha": math.nan}, "alpha of at least 0"),
        ({"beta": math.inf}, "finite beta"),
        ({"symbols": 0}, "symbols: expected at least 1"),
        ({"probability": 1.0}, "probability: expected 0 or more"),
        ({"threads": 0}, "threads: expected at least 1"),
        ({"hotwords": {" ": 1.0}}, "expected a phrase and a finite bonus"),
        ({"hotwords": {"a": math.nan}}, "expected a phrase and a finite bonus"),
    ],
)
def test_settings_out_of_range_are_told(options: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        CTCBeam(ABC, **options)


def test_what_does_not_fit_is_told() -> None:
    decoder = CTCBeam(ABC)
    for logits, told in [
        (torch.zeros(3, 4), r"expected \(T, N, C\)"),
        (torch.zeros(3, 1, 5), "expected C = 4 classes"),
        (torch.zeros(3, 1, 4, dtype=torch.int64), "floating type"),
    ]:
        with pytest.raises(ShapeError, match=told):
            decoder.decode(logits)
    with pytest.raises(ShapeError, match="lengths: element 0 is 4"):
        decoder.decode(torch.zeros(3, 1, 4), torch.tensor([4]))
    with pytest.raises(ConfigError, match="best: expected at least 1"):
        decoder.decode(torch.zeros(3, 1, 4), best=0)
    with pytest.raises(ShapeError, match=r"stream: expected frames \(T, 4\)"):
        decoder.stream().feed(torch.zeros(3, 5))
    with pytest.raises(DataError, match=r"hotword 'ax': column 2: 'x': none of"):
        CTCBeam(ABC, hotwords={"ax": 1.0})
    with pytest.raises(ConfigError, match="needs a lexicon"):
        NgramFusion(bigram(np.random.default_rng(0), ("a",)), ABC, None, "words")
    with pytest.raises(ConfigError, match=r"does not know 'b', one of the words .* no <unk>"):
        NgramFusion(bigram(np.random.default_rng(0), ("a",)), ABC, Lexicon.of(["a", "b"], ABC), "words")
    with pytest.raises(ConfigError, match="another alphabet"):
        CTCBeam(ABC, lexicon=Lexicon.of(["a"], Alphabet("_a")))


def test_half_precision_and_strided_logits_are_read() -> None:
    logits = torch.randn(12, 4, 2, generator=torch.Generator().manual_seed(1)).half().transpose(1, 2)
    decoder = CTCBeam(ABC, beam=5)
    assert decoder.decode(logits) == decoder.decode(logits.float().contiguous())
