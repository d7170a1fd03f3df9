"""Kneser-Ney estimation against fractions computed from the definition; sums; pruning; what is refused."""

import gzip
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from elman.errors import ConfigError, DataError
from elman.kernels import native_available
from elman.search.ngram import BEGIN, NgramModel
from elman.search.ngram_arpa import read_arpa, write_arpa
from elman.search.ngram_estimate import estimate
from ngram_oracles import BackOff, KneserNey, entropy_pruned
from ngram_texts import drawn, model_of, write

pytestmark = pytest.mark.skipif(not native_available(), reason="n-gram models need the native module")


def states_and_histories(model: NgramModel, words: list[str], length: int) -> dict[tuple[str, ...], int]:
    """Every history of at most `length` words, after <s> and not, and the state that it leads to."""
    found: dict[tuple[str, ...], int] = {(): 0, ("<s>",): model.start()}
    reached = dict(found)
    for _ in range(length):
        reached = {
            (*history, word): model.score(state, model.vocabulary[word])[1]
            for history, state in reached.items()
            for word in words
        }
        found |= reached
    return found


def sums(model: NgramModel, states: set[int]) -> np.ndarray:
    """The sum of the probabilities of all words but <s>, a number a state."""
    return np.array([np.exp(np.delete(model.distribution(state), BEGIN)).sum() for state in states])


CASES = [
    (1, (0,), None),
    (2, (0,), None),
    (3, (0,), None),
    (3, (0, 0, 1), None),
    (4, (0, 1, 1, 2), None),
    (5, (0,), None),
    (3, (0,), {"w0", "w1", "w2", "w5", "w77"}),
    (3, (0, 1), {"w0", "w1", "w2", "w5"}),
    (7, (0,), None),
]


@pytest.mark.parametrize(("order", "prune", "known"), CASES)
def test_probabilities_are_those_of_the_definition(
    tmp_path: Path, order: int, prune: tuple[int, ...], known: set[str] | None
) -> None:
    rows = drawn(order, sentences=90)
    vocabulary = None if known is None else sorted(known)
    model, report = model_of(tmp_path, rows, order, prune=prune, vocabulary=vocabulary)
    oracle = KneserNey(rows, order, prune, known)
    assert set(model.vocabulary) == oracle.words | {"<s>"}
    assert [n for n, found in enumerate(report.orders, 1) if found.fallback] == oracle.fallbacks
    for found, expected in zip(report.orders, oracle.discounts, strict=True):
        assert found.discounts == pytest.approx([float(d) for d in expected], rel=1e-12)
    words = sorted(oracle.words)
    for row in [["<s>", *row] for row in rows[:12]] + [["<unk>", "w1", "w2"], ["w3", "</s>", "w4"]]:
        row = [word if word in oracle.words | {"<s>"} else "<unk>" for word in row]
        state = model.start() if row[0] == "<s>" else 0
        for place in range(row[0] == "<s>", len(row) + 1):
            history = tuple(row[:place])
            for word in words:
                log_prob, _ = model.score(state, model.vocabulary[word])
                assert log_prob == pytest.approx(math.log(oracle.probability(word, history)), abs=3e-6)
            if place < len(row):
                state = model.score(state, model.vocabulary[row[place]])[1]


@pytest.mark.parametrize("options", [{}, {"prune": (0, 1, 2)}, {"entropy": 1e-3}, {"minimum_count": 12}])
def test_every_context_sums_to_one(tmp_path: Path, options: dict[str, object]) -> None:
    model, _ = model_of(tmp_path, drawn(5, words=9), 3, **options)
    words = [word for word in model.vocabulary if word not in ("<s>", "</s>")]
    states = set(states_and_histories(model, words, 2).values())
    assert len(states) > 5
    np.testing.assert_allclose(sums(model, states), 1, atol=2e-6)


def test_equal_states_mean_equal_futures(tmp_path: Path) -> None:
    """And the distribution of a state is what the words score one by one."""
    model, _ = model_of(tmp_path, drawn(6, words=6), 4, prune=(0, 0, 1))
    oracle = KneserNey(drawn(6, words=6), 4, (0, 0, 1))
    found = states_and_histories(model, sorted(oracle.words - {"</s>"}), 3)
    assert len(set(found.values())) < len(found) / 2
    for history, state in itertools.islice(found.items(), 0, None, 17):
        expected = [math.log(oracle.probability(w, history)) for w in model.vocabulary if w != "<s>"]
        np.testing.assert_allclose(np.delete(model.distribution(state), BEGIN), expected, atol=4e-6)
        scores = [model.score(state, index)[0] for index in range(len(model.vocabulary))]
        np.testing.assert_allclose(model.distribution(state), scores, rtol=1e-12)


def test_entropy_pruning_keeps_what_the_definition_keeps(tmp_path: Path) -> None:
    rows, threshold = drawn(7, sentences=50, words=7), 2e-3
    full, _ = model_of(tmp_path, rows, 3)
    pruned, _ = model_of(tmp_path, rows, 3, entropy=threshold)
    for name, model in (("full", full), ("pruned", pruned)):
        write_arpa(model, tmp_path / f"{name}.arpa")
    before = BackOff((tmp_path / "full.arpa").read_text())
    after = BackOff((tmp_path / "pruned.arpa").read_text())
    expected = entropy_pruned(before, threshold)
    assert set(after.log_probs) == expected
    assert 20 < len(expected) < 0.8 * len(before.log_probs)
    assert all(after.log_probs[gram] == before.log_probs[gram] for gram in expected)


def test_counts_sorted_on_disk_give_the_same_model(tmp_path: Path) -> None:
    """A table too small for the text, so that sorted runs are merged."""
    rows = [[f"w{i * j % 8009}" for j in range(2, 32)] for i in range(4000)]
    path = write(tmp_path / "text.txt", rows)
    results = []
    for memory in (1 << 20, 1 << 30):
        model, report = estimate([path], 3, memory=memory)
        write_arpa(model, tmp_path / "model.arpa")
        results.append((report.runs, (tmp_path / "model.arpa").read_bytes()))
    assert results[0][0] > 1
    assert results[1][0] == 0
    assert results[0][1] == results[1][1]


def test_text_in_several_files_and_packed_is_the_same_text(tmp_path: Path) -> None:
    rows = drawn(8)
    whole, _ = model_of(tmp_path, rows, 3)
    first = write(tmp_path / "first.txt", rows[:20])
    packed = tmp_path / "second.txt.gz"
    text = "".join(" ".join(row) + "\n" for row in rows[20:]).removesuffix("\n")
    packed.write_bytes(gzip.compress(text.encode()))
    parts, report = estimate([first, packed], 3)
    assert report.sentences == len(rows)
    for model, name in ((whole, "a.arpa"), (parts, "b.arpa")):
        write_arpa(model, tmp_path / name)
    assert (tmp_path / "a.arpa").read_bytes() == (tmp_path / "b.arpa").read_bytes()


def test_the_vocabulary_can_be_limited(tmp_path: Path) -> None:
    rows = [["a"] * 5, ["b"] * 3 + ["c"] * 3, ["d", "<unk>"]]
    model, report = model_of(tmp_path, rows, 2, vocabulary_size=2)
    assert list(model.vocabulary) == ["<unk>", "<s>", "</s>", "a", "b"]
    assert (report.unknown, report.words, report.vocabulary) == (5, 16, 5)
    model, _ = model_of(tmp_path, rows, 2, minimum_count=3)
    assert list(model.vocabulary)[3:] == ["a", "b", "c"]
    assert model.vocabulary["d"] == 0
    assert "d" not in model.vocabulary


def test_characters(tmp_path: Path) -> None:
    """Spaces and characters of several bytes are symbols; an empty line is a sentence."""
    lines = ["ab ba\tab", "", "äöä b", "ab ba"] * 5
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    model, report = estimate([tmp_path / "text.txt"], 3, unit="characters")
    named = [[{" ": "<space>", "\t": "<0x09>"}.get(c, c) for c in line] for line in lines]
    oracle = KneserNey(named, 3)
    assert set(model.vocabulary) == oracle.words | {"<s>"}
    assert report.sentences == 20
    expected = 0.0
    for history in (("<s>", *"ab"), ("<s>", *"ab", "<space>")):
        expected = math.log(oracle.probability(history[-1], history[:-1]))
        state = model.start()
        for symbol in history[1:-1]:
            state = model.score(state, model.vocabulary[symbol])[1]
        assert model.score(state, model.vocabulary[history[-1]])[0] == pytest.approx(expected, abs=2e-6)
    assert model.sentence("äöä b").characters == 6


def test_discounts_that_fall_back_are_told(tmp_path: Path) -> None:
    model, report = model_of(tmp_path, [["a", "b"], ["a", "c"]], 2)
    assert report.orders[1].fallback == "no n-gram has the adjusted count 3"
    assert report.orders[1].discounts == (0.5, 1.0, 1.5)
    assert any("order 2" in remark and "0.5, 1, 1.5" in remark for remark in report.remarks())
    np.testing.assert_allclose(sums(model, {0, model.start()}), 1, atol=2e-6)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a b\na <s> b\n", "line 2: the word <s>"),
        (b"a </s>", "line 1: the word </s>"),
        (b"", "no words"),
        (b"\n\n \n", "no words"),
        (b"a\nb \xff c\n", "line 2: byte 0xff"),
        (b"a b\n\xe2\x82", "line 2: byte 0xe2"),
        (b"a\0b", "line 1: a NUL byte"),
        (b"\x1f\x8b\x08\x00abc", "gzip"),
    ],
)
def test_texts_that_cannot_be_used(tmp_path: Path, text: bytes, told: str) -> None:
    (tmp_path / "text.txt").write_bytes(text)
    with pytest.raises(DataError) as caught:
        estimate([tmp_path / "text.txt"], 2)
    assert "text.txt" in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"order": 0}, "order"),
        ({"order": 8}, "order"),
        ({"prune": (1,)}, "prune"),
        ({"prune": (0, 2, 1)}, "prune"),
        ({"prune": (0, 0, 0, 0)}, "prune"),
        ({"entropy": -1.0}, "entropy"),
        ({"entropy": math.nan}, "entropy"),
        ({"unit": "bytes"}, "unit"),
        ({"memory": 5}, "memory"),
        ({"vocabulary_size": 0}, "vocabulary_size"),
        ({"vocabulary": ["a"], "minimum_count": 2}, "vocabulary"),
    ],
)
def test_settings_out_of_range(tmp_path: Path, options: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        model_of(tmp_path, [["a"]], **({"order": 3} | options))  # type: ignore[arg-type]


def test_missing_files_and_interrupts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.txt: no such file"):
        estimate([tmp_path / "nowhere.txt"])

    def stop(what: str, share: float, rate: str = "") -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        estimate([write(tmp_path / "text.txt", drawn(1))], progress=stop)


def test_a_written_model_is_the_estimated_one(tmp_path: Path) -> None:
    model, _ = model_of(tmp_path, drawn(9), 3)
    write_arpa(model, tmp_path / "model.arpa.gz")
    read, remarks = read_arpa(tmp_path / "model.arpa.gz")
    assert remarks == []
    assert list(read.vocabulary) == list(model.vocabulary)
    for state in states_and_histories(model, ["w0", "w1", "w2"], 2).items():
        np.testing.assert_allclose(read.distribution(state[1]), model.distribution(state[1]), rtol=3e-7)


def test_penn_treebank_has_the_published_perplexity(data: Callable[[str], Path]) -> None:
    """The 5-gram with Kneser-Ney smoothing of Mikolov and Zweig 2012: 141.2 on the test set."""
    folder = data("ptb")
    model, report = estimate([folder / "ptb.train.txt"], 5)
    assert report.remarks() == []
    assert len(model.vocabulary) == 10_001  # the 10,000 with </s> for <eos>, and <s>
    assert model.perplexity([folder / "ptb.test.txt"]) == pytest.approx(141.2, abs=0.05)
