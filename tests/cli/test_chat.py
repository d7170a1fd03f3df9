"""elman chat: lines in, lines out, with what was said kept; through a pipe."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import elman
from dialogue_runs import DULL, SETTINGS, made_dialogues, write_dialogues
from elman.predict import load
from elman.tasks.chat import ChatSettings, DialogueChat, LanguageChat, open_chat
from elman.tasks.dialogue_predictor import DialoguePredictor
from elman.tasks.language_predictor import LanguagePredictor
from elman.train import train
from small_runs import train_small, write_text

Talk = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dialogue run that has learnt next to nothing."""
    folder = tmp_path_factory.mktemp("chat")
    file = write_dialogues(folder, made_dialogues())
    few = {"train.updates": 6, "train.evaluate_every": 6, "train.save_every": 6, "data.history": 2}
    train("dialogue", [file], folder / "run", {**SETTINGS, **few})
    return folder / "run"


@pytest.fixture
def talk(command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> Talk:
    """`talk(lines, arguments ...)` is what `elman chat` makes of lines from a pipe."""

    def say(lines: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        return command("chat", *arguments)

    return say


def test_a_line_in_a_line_out_until_the_end_of_input(talk: Talk, run: Path) -> None:
    status, said, complaints = talk("The hat ?\n\n  \nThanks .", run)
    assert (status, complaints) == (0, "")
    model = load(run)
    assert isinstance(model, DialoguePredictor)
    first = model.predict(["The hat ?"])[0]["text"]
    second = model.predict([f"The hat ?\t{first}\tThanks ."])[0]["text"]
    assert said.splitlines() == [first, second], "empty lines are not answered, and the first turns count"


def test_weights_may_be_rounded(talk: Talk, run: Path) -> None:
    status, said, _ = talk("The hat ?\n", run, "--weights", "bfloat16")
    assert (status, said) == (0, f"{load(run, weights='bfloat16').predict(['The hat ?'])[0]['text']}\n")
    status, _, complaints = talk("The hat ?\n", run, "--weights", "int8")
    assert (status, complaints) == (
        2,
        "elman: weights: dialogue searches with float32 or bfloat16, got int8\n",
    )


def test_reset_forgets_and_quit_leaves(talk: Talk, run: Path) -> None:
    line = "The dog ?\n"
    once = talk(line, run, "--temperature", 1.5, "--seed", 3)[1]
    told = talk(f"{line}{line}/reset\n{line}/quit\n{line}", run, "--temperature", 1.5, "--seed", 3)[1]
    assert len(told.splitlines()) == 3
    assert told.splitlines()[0] == told.splitlines()[2] == once.strip()


def test_the_seed_and_the_temperature_can_be_changed_on_the_way(talk: Talk, run: Path) -> None:
    line = "The sky ?\n"
    drawn = talk(f"/temperature 2\n/seed 5\n{line}", run)
    assert drawn == talk(line, run, "--temperature", 2, "--seed", 5)
    others = {talk(line, run, "--temperature", 2, "--seed", seed)[1] for seed in range(6)}
    assert len(others) > 1


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("/temperature hot\n", "/temperature: expected a number, got 'hot'"),
        ("/temperature -1\n", "temperature: expected 0 (greedy) or a positive number, got -1.0"),
        ("/forget\n", "/forget: expected a line to answer, or one of /reset"),
        ("dog " * 20 + "\n", "input 1: the text has 20 words, at most 12 are read"),
        ("a ‖ b\n", "input 1: turn 1 holds ‖"),
    ],
)
def test_what_cannot_be_read_is_one_line(talk: Talk, run: Path, lines: str, told: str) -> None:
    status, said, complaints = talk(lines, run)
    assert (status, said) == (2, "")
    assert complaints.startswith(f"elman: {told}")
    assert complaints.count("\n") == 1


def test_an_interrupt_is_no_traceback(talk: Talk, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(chat: DialogueChat, text: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(DialogueChat, "say", interrupt)
    assert talk("Hello\n", run) == (130, "\n", "")


def test_what_was_said_is_as_before_after_an_error(run: Path) -> None:
    chat = open_chat(load(run))
    assert isinstance(chat, DialogueChat)
    chat.say("Thanks .")
    before = list(chat.turns)
    with pytest.raises(Exception, match="at most 12"):
        chat.say("dog " * 20)
    assert chat.turns == before
    assert before[0] == "Thanks ."


def test_a_language_model_keeps_its_state(talk: Talk, tmp_path: Path) -> None:
    """Line by line is the same text as the whole read at once."""
    train_small(write_text(tmp_path), tmp_path / "run")
    status, said, _ = talk("abc\nde\n", tmp_path / "run", "--temperature", 1, "--seed", 2)
    assert status == 0
    model = load(tmp_path / "run")
    assert isinstance(model, LanguagePredictor)
    chat = LanguageChat(model, ChatSettings(temperature=1.0, seed=2))
    answers = [chat.say("abc"), chat.say("de")]
    assert said == "".join(f"{answer}\n" for answer in answers)
    assert chat.context is not None
    text = f"abc\n{answers[0]}\nde\n{answers[1]}\n"
    whole = model.read(text[: chat.context.position])
    assert whole.position == chat.context.position
    assert (whole.logits - chat.context.logits).abs().max() < 1e-5


def test_answers_are_chosen_by_another_run(talk: Talk, run: Path, tmp_path: Path) -> None:
    file = write_dialogues(tmp_path, made_dialogues())
    few = {"train.updates": 3, "train.evaluate_every": 3, "train.save_every": 3, "data.reverse": True}
    train("dialogue", [file], tmp_path / "reverse", {**SETTINGS, **few})
    assert talk("Thanks .\n", run, "--reverse", tmp_path / "reverse", "--candidates", 3)[0] == 0
    status, _, told = talk("Thanks .\n", run, "--reverse", run)
    assert status == 2
    assert "give a run of data.reverse=true" in told
    status, _, told = talk(f"{DULL}\n", run, "--reverse", tmp_path)
    assert status == 2
    for option, told in (
        ("--reverse-weight", "no --reverse;"),
        ("--candidates", "no --reverse or --language"),
    ):
        status, _, said = talk("Thanks .\n", run, option, 3)
        assert (status, said.count("\n")) == (2, 1)
        assert f"{option}: there is {told}" in said


def test_predict_chooses_answers_in_the_same_words(
    command: Talk, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_dialogues(tmp_path, made_dialogues())
    few = {"train.updates": 3, "train.evaluate_every": 3, "train.save_every": 3}
    for name, changes in (("reverse", {"data.reverse": True}), ("language", {"data.history": 0})):
        train("dialogue", [file], tmp_path / name, {**SETTINGS, **few, **changes})
    runs = ["--reverse", tmp_path / "reverse", "--language", tmp_path / "language"]
    options = [*runs, "--reverse-weight", 2, "--language-weight", 0.1, "--candidates", 4]
    status, said, _ = command("predict", run, "Well .\tThe hat ?", *options, "--best", 3, "--json")
    model, reverse, language = (load(path) for path in (run, tmp_path / "reverse", tmp_path / "language"))
    assert isinstance(model, DialoguePredictor)
    assert isinstance(reverse, DialoguePredictor)
    assert isinstance(language, DialoguePredictor)
    weights = elman.MutualInformation(reverse=2, language=0.1)
    model.reranker = elman.Reranker(weights, reverse, language, candidates=4)
    assert status == 0
    assert json.loads(said) == model.predict(["Well .\tThe hat ?"], best=3)[0]
    monkeypatch.setattr("sys.stdin", io.StringIO("The hat ?\n"))
    assert command("chat", run, *options)[1] == command("predict", run, "The hat ?", *options)[1]
    for wrong in (["--stream"], ["--alignment", "--json"]):
        status, said, told = command("predict", run, "The hat ?", *options, *wrong)
        assert (status, said, told.count("\n")) == (2, "", 1)


def test_a_source_is_drawn_with_what_was_written(command: Talk, run: Path, tmp_path: Path) -> None:
    status, said, _ = command("plot", run, "--text", "Well .\tThe hat ?", "-o", tmp_path)
    assert status == 0
    assert said.splitlines()[-2:] == [str(tmp_path / f"alignment.{suffix}") for suffix in ("svg", "png")]
    picture = (tmp_path / "alignment.svg").read_text("utf-8")
    assert ">hat</text>" in picture
    assert ">‖</text>" in picture


def test_bytes_from_a_pipe_are_read_as_those_of_files_are(
    monkeypatch: pytest.MonkeyPatch, command: Callable[..., tuple[int, str, str]], run: Path
) -> None:
    """A byte order mark is no part of the first line, and what is not UTF-8 is one line of complaint."""

    def piped(content: bytes) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), "utf-8"))
        return command("chat", run)

    plain = piped(b"The hat ?\n")
    assert (plain[0], plain[2]) == (0, "")
    assert piped(b"\xef\xbb\xbfThe hat ?\r\n") == plain
    status, said, complaints = piped(b"The hat ?\nf\xfcnf\n")
    assert (status, said, complaints.count("\n")) == (2, plain[1], 1)
    assert "bytes that are not UTF-8" in complaints
