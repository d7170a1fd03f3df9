"""Dialogue: what is read, its figures, and answers chosen by mutual information."""

import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch.nn.functional import cross_entropy

from dialogue_runs import (
    COLOURS,
    DULL,
    SETTINGS,
    THINGS,
    begun,
    fresh,
    made_dialogues,
    question,
    write_dialogues,
)
from elman.data.dialogues import TURN
from elman.errors import ConfigError, DataError
from elman.metrics.diversity import distinct
from elman.padded import Padded
from elman.predict import evaluate, load
from elman.search.reranking import MutualInformation
from elman.tasks.config import make_config
from elman.tasks.dialogue import DialogueTask
from elman.tasks.dialogue_predictor import DialoguePredictor, Reranker
from elman.tasks.sequence_data import teaching
from elman.train import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three runs on the same dialogues: answers, what they answer, and answers alone."""
    folder = tmp_path_factory.mktemp("dialogue")
    file = write_dialogues(folder, made_dialogues())
    settings: dict[str, dict[str, Any]] = {
        "forward": {"data.history": 1},
        "reverse": {"data.reverse": True},
        "language": {"data.history": 0},
    }
    for name, changes in settings.items():
        train("dialogue", [file], folder / name, {**SETTINGS, **changes})
    return {name: folder / name for name in settings}


def loaded(run: Path) -> DialoguePredictor:
    model = load(run)
    assert isinstance(model, DialoguePredictor)
    return model


class TestReading:
    def test_a_history_is_one_source(self, tmp_path: Path) -> None:
        task = begun([write_dialogues(tmp_path, [["a b", "c", "d"]])], data__history=2)
        training = task.data()[0]
        codec = task.codecs.source
        assert codec is task.target
        assert [codec.decode(ids.tolist()) for ids in training.sources] == ["a b", f"a b {TURN} c"]
        assert TURN in codec.symbols

    def test_known_dialogues_are_dropped_from_other_files_and_counted(self, tmp_path: Path) -> None:
        rows = made_dialogues()
        file = write_dialogues(tmp_path, rows)
        other = write_dialogues(tmp_path, [rows[0], ["new", "one"]], "other.txt")
        task = begun([file], data__valid_files=(other,))
        assert task.data()[1].texts == ["one"]
        assert "1 for validation (left out: 1 dialogues that stand in the training data)" in task.described()
        assert task.read([other]).texts == ["one"]
        assert len(begun([file], data__drop_known=False).read([other])) == 3
        again = DialogueTask.restore(task.config, task.codec_json(), task.files, "codec.json")
        assert again.data()[1].texts == ["one"]

    def test_generic_answers_are_kept_with_the_codec(self, tmp_path: Path) -> None:
        """The dull answer goes with five questions, thanks with five, a colour with one."""
        task = begun([write_dialogues(tmp_path, made_dialogues())], data__history=2)
        assert set(task.generic) == {"i dont know", "thanks"}
        again = DialogueTask.restore(task.config, task.codec_json(), task.files, "codec.json")
        assert again.generic == task.generic

    @pytest.mark.parametrize("content", [{}, [], {"generic": [1]}, {"generic": "a"}])
    def test_a_damaged_codec_is_named(self, tmp_path: Path, content: Any) -> None:
        task = begun([write_dialogues(tmp_path, made_dialogues())])
        with pytest.raises(DataError, match=r"^codec\.json: "):
            DialogueTask.restore(task.config, content, task.files, "codec.json")

    def test_nothing_to_write_is_told(self) -> None:
        with pytest.raises(
            ConfigError, match=r"data\.reverse: there is nothing to write with data\.history=0"
        ):
            make_config(DialogueTask, {"data.reverse": True, "data.history": 0})


class TestFigures:
    def test_diversity_stands_beside_that_of_the_file(self, tmp_path: Path) -> None:
        task = begun([write_dialogues(tmp_path, made_dialogues())])
        references, answers = ["a b", "Thanks ."], ["I don't know", "a b a", "... !"]
        figures = task.measure(references, answers)
        assert figures["distinct_1"] == distinct([answer.split() for answer in answers], 1) == 7 / 8
        assert figures["generic"] == 2 / 3, "an answer without a word is generic"
        assert figures["reference_generic"] == 1 / 2
        assert figures["reference_distinct_2"] == 2 / 4

    def test_a_run_is_evaluated(self, runs: dict[str, Path], tmp_path: Path) -> None:
        file = write_dialogues(tmp_path, [[question("dog"), "No ."]])
        figures = evaluate(runs["forward"], [file])
        assert figures["perplexity"] == pytest.approx(math.exp(figures["nats"]))
        assert figures["sentences"] == 1
        assert figures["generic"] == 1, "the likeliest answer is the dull one"
        assert "bleu" not in figures


class TestPredictor:
    def test_log_probs_are_those_of_single_pairs(self, tmp_path: Path) -> None:
        task = begun([write_dialogues(tmp_path, made_dialogues())])
        model = fresh(task)
        pairs = [(row[0], row[1]) for row in made_dialogues()[:7]] + [("", "Well ."), ("Well .", "")]
        sources = [task.source_ids(source, "") for source, _ in pairs]
        together = model.log_probs(sources, [target for _, target in pairs])
        for source, (_, target), found in zip(sources, pairs, together, strict=True):
            taught = teaching([task.target.encode(target)], 0, 1)
            with torch.no_grad():
                batch = Padded.of([source])
                logits = model.model(batch, taught.inputs, taught.lengths).logits.double()
            wanted = -cross_entropy(logits, taught.targets, reduction="none")
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)

    def test_old_turns_are_left_out_where_a_history_is_too_long(self, tmp_path: Path) -> None:
        task = begun([write_dialogues(tmp_path, made_dialogues())], data__history=3)
        short, long = "The hat ?", "dog " * 8
        assert task.codecs.source.decode(task.history_ids([long, short, short], "x").tolist()) == (
            f"{short} {TURN} {short}"
        )
        assert (
            task.history_ids([long, short], "x").tolist()
            == task.source_ids(f"{long}{TURN} {short}", "").tolist()
        )
        with pytest.raises(DataError, match="input 1: the text has 13 words, at most 12"):
            fresh(task).predict(["a\t" + "b " * 13])

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("", "input 1: turn 1 of 1 is empty"),
            ("a\t ", "turn 2 of 2 is empty"),
            (TURN, f"turn 1 holds {TURN}"),
        ],
    )
    def test_what_is_no_history_is_named(self, tmp_path: Path, line: str, told: str) -> None:
        task = begun([write_dialogues(tmp_path, made_dialogues())])
        with pytest.raises(DataError, match=told):
            fresh(task).predict([line])

    def test_answers_are_different_and_the_best_first(self, runs: dict[str, Path]) -> None:
        (found,) = loaded(runs["forward"]).predict([f"Well .\t{question('pen')}"], best=4)
        texts = [answer["text"] for answer in found["alternatives"]]
        assert found["text"] == texts[0] == DULL
        assert len(set(texts)) == len(texts) == 4
        assert f"It is {COLOURS[4]}" in texts
        scores = [answer["score"] for answer in found["alternatives"]]
        assert scores == sorted(scores, reverse=True)


class TestMutualInformation:
    QUESTIONS: ClassVar = [question(thing) for thing in THINGS]

    @pytest.mark.parametrize(
        "weights",
        [
            MutualInformation(reverse=1.0),
            MutualInformation(language=0.7),
            MutualInformation(reverse=0.5, language=0.5),
        ],
    )
    def test_it_answers_what_was_asked(self, runs: dict[str, Path], weights: MutualInformation) -> None:
        """Alone, the model says that it does not know; chosen by mutual information it names the colour."""
        model = loaded(runs["forward"])
        assert [row["text"] for row in model.predict(self.QUESTIONS)] == [DULL] * len(THINGS)
        model.reranker = Reranker(weights, loaded(runs["reverse"]), loaded(runs["language"]), candidates=2)
        assert [row["text"] for row in model.predict(self.QUESTIONS)] == [
            f"It is {colour}" for colour in COLOURS
        ]

    def test_scores_are_those_of_the_formula(self, runs: dict[str, Path]) -> None:
        forward, reverse, language = (loaded(runs[name]) for name in ("forward", "reverse", "language"))
        weights = MutualInformation(reverse=0.4, language=0.2, first=2, bonus=0.3)
        forward.reranker = Reranker(weights, reverse, language, candidates=5)
        asked = f"Well .\t{self.QUESTIONS[0]}"
        (found,) = forward.predict([asked], best=3)
        assert len(found["alternatives"]) == 3
        for answer in found["alternatives"]:
            text = answer["text"]
            symbols = forward.log_probs([forward.read(asked, "")], [text])[0]
            back = reverse.log_probs([reverse.dialogue.source_ids(text, "")], [self.QUESTIONS[0]])[0]
            likely = language.log_probs([torch.tensor([language.dialogue.target.end])], [text])[0]
            wanted = float(symbols.sum() + 0.4 * back.sum() - 0.2 * likely[:2].sum()) + 0.3 * len(symbols)
            assert answer["score"] == pytest.approx(wanted, abs=1e-4)
            assert answer["log_prob"] == pytest.approx(float(symbols.sum()), abs=1e-4)
        with pytest.raises(ConfigError, match="alignment: not of answers that mutual information chooses"):
            forward.predict([asked], alignment=True)

    def test_each_input_has_its_own_answers(self, tmp_path: Path) -> None:
        """Lists of unlike length, one of them empty."""
        file = write_dialogues(tmp_path, made_dialogues())
        forward, reverse = fresh(begun([file])), fresh(begun([file], data__reverse=True))
        reranker = Reranker(MutualInformation(reverse=1.0), reverse)
        together = reranker.rank(forward, ["a", "b", "c"], [["Well .", DULL], [], ["Well ."]])
        assert [len(row) for row in together] == [2, 0, 1]
        alone = reranker.rank(forward, ["c"], [["Well ."]])[0][0]
        assert together[2][0]["score"] == pytest.approx(alone["score"], abs=1e-5)

    def test_models_must_fit_their_weights(self, tmp_path: Path) -> None:
        forward = fresh(begun([write_dialogues(tmp_path, made_dialogues())]))
        with pytest.raises(
            ConfigError, match=r"reverse: its weight is 0.5 and no model is given; give a run of data"
        ):
            Reranker(MutualInformation(reverse=0.5))
        with pytest.raises(
            ConfigError, match=r"language: the model was trained with data.reverse=false and data.hist"
        ):
            Reranker(MutualInformation(language=0.5), None, forward)
        with pytest.raises(ConfigError, match="candidates: expected at least 1"):
            Reranker(MutualInformation(), candidates=0)


def test_a_file_of_which_nothing_is_left_says_why(tmp_path: Path) -> None:
    """It was named, so that the advice to name one would be none."""
    file = write_dialogues(tmp_path, made_dialogues())
    with pytest.raises(
        DataError, match=r"train.txt: no pair is left to measure \(left out: 25 dialogues that stand in the"
    ):
        begun([file]).read([file])
