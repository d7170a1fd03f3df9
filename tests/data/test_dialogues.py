"""elman.data.dialogues: the three kinds of file, examples, duplicates, and what is wrong with a row."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from elman.data.dialogues import TURN, Dialogue, join_turns, read_dialogues
from elman.errors import ConfigError, DataError

DAILY = "Hello . __eou__ Hi ! How are you ? __eou__ Fine . __eou__\nWho ? __eou__ Me . __eou__\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        raw = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return path

    return make


def sides(path: Path, history: int = 1, reverse: bool = False, **options: bool) -> list[tuple[str, str]]:
    pairs = read_dialogues([path], **options).pairs(history, reverse).pairs
    return [(pair.source, pair.target) for pair in pairs]


@pytest.mark.parametrize("name", ["train.txt", "train.txt.gz"])
def test_every_turn_answers_those_before_it(write: Callable, name: str) -> None:
    path = write(name, DAILY)
    assert read_dialogues([path]).dialogues == [
        Dialogue(("Hello .", "Hi ! How are you ?", "Fine ."), str(path), 1),
        Dialogue(("Who ?", "Me ."), str(path), 2),
    ]
    assert sides(path) == [
        ("Hello .", "Hi ! How are you ?"),
        ("Hi ! How are you ?", "Fine ."),
        ("Who ?", "Me ."),
    ]
    assert sides(path, 5)[1] == (f"Hello . {TURN} Hi ! How are you ?", "Fine .")
    assert sides(path, 0) == [("", "Hi ! How are you ?"), ("", "Fine ."), ("", "Me .")]
    assert sides(path, 5, reverse=True) == [(b, a) for a, b in sides(path)]


def test_rows_of_turns_with_and_without_a_topic(write: Callable) -> None:
    path = write("talk.tsv", "ai\tWhat is AI?\tA field.\r\nfood\tHungry?\tYes.\tEat.\n")
    assert sides(path, topic=True) == [("What is AI?", "A field."), ("Hungry?", "Yes."), ("Yes.", "Eat.")]
    assert [one.topic for one in read_dialogues([path], topic=True).dialogues] == ["ai", "food"]
    assert sides(path)[:2] == [("ai", "What is AI?"), ("What is AI?", "A field.")]


def test_places_are_rows_of_the_file(write: Callable) -> None:
    pairs = read_dialogues([write("a.txt", DAILY)]).pairs()
    assert [pair.row for pair in pairs.pairs] == [1, 1, 2]
    assert pairs.pairs[2].source_place.endswith("a.txt: line 2")
    assert pairs.files[0]["size"] == len(DAILY)


def test_dialogues_that_stand_in_the_training_data_are_dropped_and_counted(write: Callable) -> None:
    """Whole dialogues are compared, after white space at the ends of turns."""
    training = read_dialogues([write("train.txt", DAILY)])
    other = (
        "Who ?  __eou__ Me .__eou__\nWho ? __eou__ Me . __eou__ I ? __eou__\nFine . __eou__ Me . __eou__\n"
    )
    left = read_dialogues([write("test.txt", other)]).without(training)
    assert [dialogue.row for dialogue in left.dialogues] == [2, 3]
    assert left.pairs().skipped == {"dialogues that stand in the training data": 1}


def test_the_last_turns_of_a_history() -> None:
    assert join_turns(["a", "b", "c"], 2) == f"b {TURN} c"
    assert join_turns(["a"], 9) == "a"
    assert join_turns(["a", "b"], 0) == ""


WRONG = [
    ("a.txt", "one __eou__ two __eou__\n\n", "line 2: the line is empty", "that are empty"),
    ("a.txt", "one __eou__\n", "line 1: a dialogue of one turn, expected at least two", "of one turn"),
    ("a.txt", "one __eou__  __eou__ two __eou__\n", "line 1: turn 2 of 3 is empty", "with an empty turn"),
    ("a.txt", "one __eou__ two\n", "line 1: the last turn does not end in __eou__", "that do not end a turn"),
    ("a.txt", f"one {TURN} __eou__ two __eou__", f"line 1: turn 1 holds {TURN}", f"with {TURN}"),
    ("a.txt", b"one __eou__ \xff __eou__\n", "line 1: byte 0xff at column 13 is not UTF-8", "not UTF-8"),
    ("a.tsv", "one two\n", "line 1: no tab, expected turn TAB turn", "without a tab"),
    ("a.tsv", "one\t\n", "line 1: turn 2 of 2 is empty", "with an empty turn"),
]


@pytest.mark.parametrize(("name", "content", "told", "reason"), WRONG)
def test_what_is_wrong_is_named_by_row_and_skipped_when_asked(
    write: Callable, name: str, content: str | bytes, told: str, reason: str
) -> None:
    path = write(name, content)
    with pytest.raises(DataError, match=rf"{name}: {told}"):
        read_dialogues([path])
    good = b"a\tb\n" if name.endswith(".tsv") else b"a __eou__ b __eou__\n"
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(good + raw)
    left = read_dialogues([path], skip=True)
    assert left.dialogues[0].turns == ("a", "b")
    assert left.skipped == {f"rows {reason}": 1}


def test_a_topic_alone_is_no_turn(write: Callable) -> None:
    with pytest.raises(DataError, match="line 1: a dialogue of one turn"):
        read_dialogues([write("a.tsv", "topic\tturn\n")], topic=True)


def test_files_without_a_dialogue(write: Callable, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.txt: no dialogue in it"):
        read_dialogues([write("a.txt", "one __eou__\n")], skip=True)
    with pytest.raises(DataError, match=r"missing.txt: no such file"):
        read_dialogues([tmp_path / "missing.txt"])
    with pytest.raises(ConfigError, match=r"expected a FILE.tsv of rows turn TAB turn"):
        read_dialogues([])
    with pytest.raises(ConfigError, match=r"history: expected 1 turns or more to foretell, got 0"):
        read_dialogues([write("b.txt", DAILY)]).pairs(0, reverse=True)


def test_dailydialog(data: Callable[[str], Path]) -> None:
    """Counts of the published split; 69 validation and 93 test dialogues also stand in train."""
    folder = data("dailydialog")
    training, valid, test = (
        read_dialogues([folder / f"dialogues_{part}.txt.gz"]) for part in ("train", "validation", "test")
    )
    assert [len(part) for part in (training, valid, test)] == [11118, 1000, 1000]
    assert len(training.pairs()) == 87171 - 11118
    assert [len(part) - len(part.without(training)) for part in (valid, test)] == [69, 93]


def test_chatterbot(data: Callable[[str], Path]) -> None:
    """One row of the corpus is a text cut into letters, empty ones among them."""
    path = data("chatterbot_corpus_en") / "conversations.tsv"
    with pytest.raises(DataError, match="line 1779: turn 3 of 88 is empty"):
        read_dialogues([path], topic=True)
    read = read_dialogues([path], topic=True, skip=True)
    assert (len(read), dict(read.skipped)) == (2025, {"rows with an empty turn": 1})
