"""ARPA files against a reader written from the format, another library, and damage of every kind."""

import gzip
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elman.errors import DataError
from elman.kernels import native_available
from elman.search.ngram import NgramModel
from elman.search.ngram_arpa import read_arpa, write_arpa
from ngram_oracles import BackOff
from ngram_texts import drawn, model_of

pytestmark = pytest.mark.skipif(not native_available(), reason="n-gram models need the native module")

SOUND = """\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.5
-0.75\t</s>
-0.5\ta\t-0.25
-0.5\tb\t-0.125

\\2-grams:
-0.25\t<s> a\t-0.5
-0.5\ta b\t0.25
-0.75\tb </s>

\\3-grams:
-0.125\t<s> a b

\\end\\
"""


def read(folder: Path, text: str) -> NgramModel:
    (folder / "model.arpa").write_text(text, encoding="utf-8")
    return read_arpa(folder / "model.arpa")[0]


def test_scores_follow_the_back_off_rule(tmp_path: Path) -> None:
    """Worked by hand: log10 of each word of `a b b </s>` and of an unknown word."""
    model = read(tmp_path, SOUND)
    state, found = model.start(), []
    for word in ("a", "b", "b", "</s>"):
        log_prob, state = model.score(state, model.vocabulary[word])
        found.append(log_prob / math.log(10))
    # b after `a b`: the weight of `a b`, the weight of b, and b alone.
    assert found == pytest.approx([-0.25, -0.125, 0.25 - 0.125 - 0.5, -0.75], abs=1e-6)
    log_prob, state = model.score(model.start(), model.vocabulary["nowhere"])
    assert log_prob / math.log(10) == pytest.approx(-1.5, abs=1e-6)
    assert state == 0
    assert model.sentence("a b b").log_prob == pytest.approx(sum(found) * math.log(10), abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"prune": (0, 1)}, {"entropy": 2e-3}])
def test_what_is_written_says_what_the_model_says(tmp_path: Path, options: dict[str, object]) -> None:
    """Also where an n-gram's suffix was pruned away."""
    model, _ = model_of(tmp_path, drawn(3, words=7), 4, **options)
    write_arpa(model, tmp_path / "model.arpa")
    text = (tmp_path / "model.arpa").read_text()
    oracle, back = BackOff(text), read_arpa(tmp_path / "model.arpa")[0]
    words = [word for word in model.vocabulary if word != "<s>"]
    for history in itertools.product(words, repeat=3):
        state, other = model.start(), back.start()
        for word in history:
            state = model.score(state, model.vocabulary[word])[1]
            other = back.score(other, back.vocabulary[word])[1]
        expected = [oracle.log_probability(word, ("<s>", *history)) for word in model.vocabulary]
        np.testing.assert_allclose(model.distribution(state), expected, rtol=3e-7, atol=3e-6)
        np.testing.assert_allclose(back.distribution(other), expected, rtol=3e-7, atol=3e-6)


def test_kenlm_says_the_same(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="compares with kenlm: pip install kenlm")
    for order, options in ((2, {}), (3, {}), (4, {"prune": (0, 0, 1)}), (3, {"entropy": 1e-3})):
        rows = drawn(order, sentences=120)
        model, _ = model_of(tmp_path, rows, order, **options)  # type: ignore[arg-type]
        write_arpa(model, tmp_path / "model.arpa")
        rival = kenlm.Model(str(tmp_path / "model.arpa"))
        for row in [*rows[:40], ["w1", "what", "w2"], ["w5"] * 12]:
            text = " ".join(row)
            assert model.sentence(text).log_prob == pytest.approx(
                rival.score(text) * math.log(10), rel=2e-6, abs=1e-5
            )
            state = model.start()
            for word, (log10, _, unknown) in zip([*row, "</s>"], rival.full_scores(text), strict=True):
                log_prob, state = model.score(state, model.vocabulary[word])
                assert log_prob == pytest.approx(log10 * math.log(10), abs=5e-6)
                assert unknown == (word not in model.vocabulary)


def test_gzip_comments_and_missing_unk(tmp_path: Path) -> None:
    text = "made by hand\n\n" + SOUND.replace("-1.0\t<unk>\n", "").replace("1=5", "1=4").replace("\n", "\r\n")
    (tmp_path / "model.arpa.gz").write_bytes(gzip.compress(text.encode()))
    model, remarks = read_arpa(tmp_path / "model.arpa.gz")
    assert len(remarks) == 1
    assert "<unk>" in remarks[0]
    assert model.score(0, 0)[0] == pytest.approx(-100 * math.log(10))
    assert model.counts == (5, 3, 1)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("\\data\\", "data", "no line \\data\\"),
        ("ngram 2=3", "ngram 2=x", "line 3: expected `ngram n=count`"),
        ("ngram 2=3\n", "", "line 3: the orders must follow each other"),
        ("ngram 2=3", "ngram 2=4", "has 3 2-grams, but \\data\\ tells 4"),
        ("ngram 2=3", "ngram 2=2", "line 16: more 2-grams than the 2"),
        ("ngram 3=1", "ngram 3=1\nngram 4=1", "expected \\4-grams:, got '\\end\\'"),
        ("\\2-grams:", "\\3-grams:", "line 13: expected \\2-grams:"),
        ("\\2-grams:\n", "", "line 13: "),
        ("\\end\\\n", "", "before \\end\\; it is cut off"),
        ("-0.5\ta\t", "0.5\ta\t", "line 10: the logarithm of a probability above 1: '0.5'"),
        ("-0.5\ta\t", "nan\ta\t", "line 10: expected the logarithm of a probability, got 'nan'"),
        ("-0.5\ta\t", "-0.5x\ta\t", "line 10: expected the logarithm"),
        ("a\t-0.25", "a\tinf", "line 10: an infinite back-off weight"),
        (
            "a\t-0.25",
            "a\t-0.25\t1",
            "line 10: expected a logarithm, 1 words and perhaps a weight, got 4 fields",
        ),
        ("-0.5\ta b\t0.25", "-0.5\ta", "line 15: expected a logarithm, 2 words and perhaps a weight, got 2"),
        ("-0.125\t<s> a b", "-0.125\t<s> a b\t0", "line 19: expected a logarithm, 3 words, got 5 fields"),
        ("a b\t0.25", "a c\t0.25", "line 15: the word 'c' is not among the 1-grams"),
        ("a b\t0.25", "c b\t0.25", "line 15: the word 'c' is not among the 1-grams"),
        ("a b\t0.25", "<s> a\t0.25", "line 15: this n-gram was there before, in line 14"),
        ("-0.5\tb\t", "-0.5\ta\t", "line 11: this n-gram was there before, in line 10"),
        ("<s> a b", "b a b", "line 19: the n-gram is there, but not what it begins with among the 2-grams"),
        ("</s>\n-0.5\ta", "c\n-0.5\ta", "no </s> among the 1-grams"),
    ],
)
def test_damage_is_told_by_file_and_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in SOUND
    with pytest.raises(DataError) as caught:
        read(tmp_path, SOUND.replace(old, new, 1))
    assert str(caught.value).startswith(str(tmp_path / "model.arpa"))
    assert told in str(caught.value)


PIECES = st.sampled_from(
    (
        *("\\data\\\n", "ngram 1=3\n", "ngram 2=18446744073709551615\n", "\\1-grams:\n", "\\2-grams:\n"),
        *("\\end\\\n", "-1 a\n", "-1 <s> -0.5\n", "-1 </s>\n", "-1 a </s>\n", "-1e999 b 1e-999\n"),
        *("1e400 a\n", "\t\n", "-1"),
    )
)


def model_or_error(path: Path) -> NgramModel | None:
    """The model in a file, None where it is refused as it should be."""
    try:
        return read_arpa(path)[0]
    except DataError as error:
        return None if str(path) in str(error) else pytest.fail(f"no file is named: {error}")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=60), st.lists(PIECES, max_size=14).map(lambda p: "".join(p).encode())))
def test_no_bytes_are_more_than_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.arpa").write_bytes(content)
    model_or_error(tmp_path / "model.arpa")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, len(SOUND) - 1),
    length=st.integers(0, 9),
    new=st.text("ab<s>/\\-.:=0123456789 \n", max_size=5),
)
def test_a_changed_file_is_an_error_or_a_model(tmp_path: Path, place: int, length: int, new: str) -> None:
    (tmp_path / "model.arpa").write_text(SOUND[:place] + new + SOUND[place + length :])
    model = model_or_error(tmp_path / "model.arpa")
    if model is None:
        return
    state = model.start()
    for word in range(len(model.vocabulary)):
        log_prob, state = model.score(state, word)
        assert not math.isnan(log_prob)
