"""The predictor of sequence tasks: batches, streams, draws, beginnings, unknown words and alignments."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from elman.data.sequence_codec import END
from elman.errors import ConfigError, DataError
from elman.search.sampling import Sampling
from elman.tasks.config import make_config
from elman.tasks.pair_task import TextPredictor
from elman.tasks.translation import TranslationTask
from pair_files import SETTINGS, made_pairs, write_table


def made(folder: Path, settings: Mapping[str, Any] = {}, scale: float = 3.0) -> TextPredictor:
    """An untrained model with weights so large that it says something for sure."""
    config = make_config(TranslationTask, {**SETTINGS, "bleu_sentences": 0, **settings})
    task = TranslationTask.begin(config, [write_table(folder, made_pairs(40))])
    torch.manual_seed(2)
    model = task.build().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight *= scale
    found = task.predictor(model)
    assert isinstance(found, TextPredictor)
    return found


SOURCES = [source for source, _ in made_pairs(9, 8)]


def texts(predictions: list[dict[str, Any]]) -> list[list[str]]:
    return [[one["text"] for one in prediction["alternatives"]] for prediction in predictions]


class TestBatches:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"best": 3, "beam": 4, "alpha": 0.7, "coverage": 0.2},
            {"best": 2, "sampling": Sampling(0.8, top_k=5), "seed": 4},
        ],
    )
    def test_a_batch_says_what_each_input_alone_says(self, tmp_path: Path, options: dict[str, Any]) -> None:
        predictor = made(tmp_path)
        together = predictor.predict(SOURCES, **options)
        alone = [predictor.predict([text], first=row, **options)[0] for row, text in enumerate(SOURCES)]
        assert texts(together) == texts(alone)
        for one, other in zip(together, alone, strict=True):
            scores = [[found["score"] for found in side["alternatives"]] for side in (one, other)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-4)
            assert scores[0] == sorted(scores[0], reverse=True)
        assert [one["source"] for one in together] == SOURCES

    def test_the_settings_of_the_run_say_how_to_search(self, tmp_path: Path) -> None:
        default = made(tmp_path, {"search.beam": 3, "search.alpha": 0.4}).predict(SOURCES)
        asked = made(tmp_path).predict(SOURCES, beam=3, alpha=0.4)
        assert default == asked

    def test_nothing_in_nothing_out(self, tmp_path: Path) -> None:
        predictions = made(tmp_path).predict(["", SOURCES[0], "  \t"])
        assert [bool(one["text"]) for one in predictions] == [False, True, False]
        assert made(tmp_path).predict([]) == []
        assert list(made(tmp_path).stream(" ")) == []

    def test_an_input_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        predictor = made(tmp_path, {"data.longest": 6})
        with pytest.raises(DataError, match=r"input 12: the text has 7 words, at most 6"):
            predictor.predict(["ein", "ein " * 7], first=10)
        with pytest.raises(DataError, match=r"input 1: '\\udcff' at character 3 is half of a surrogate"):
            predictor.predict(["ab\udcff"])


class TestStream:
    def test_it_writes_what_the_greedy_search_finds(self, tmp_path: Path) -> None:
        predictor = made(tmp_path)
        greedy = predictor.predict(SOURCES, sampling=Sampling(temperature=0))
        assert ["".join(predictor.stream(text)) for text in SOURCES] == [one["text"] for one in greedy]

    @pytest.mark.parametrize("unit", ["words", "characters", "subwords"])
    def test_pieces_come_one_by_one_and_the_gradient_is_left_alone(self, tmp_path: Path, unit: str) -> None:
        if unit == "subwords":
            pytest.importorskip("tokenizers", reason="needs elman[translation]")
        predictor = made(tmp_path, {"data.unit": unit, "data.vocabulary": 300})
        free = "".join(predictor.stream(SOURCES[0]))
        begin = free[: free.index(" ")] if unit == "words" else free[:1]
        pieces = predictor.stream(SOURCES[0], prefix=begin)
        first = next(pieces)
        assert torch.is_grad_enabled()
        assert first == begin
        rest = "".join(pieces)
        assert rest
        if unit != "subwords":  # a text that begins within a word is none that a beginning is cut to
            assert begin + rest == free
        assert "".join(predictor.stream(SOURCES[0], prefix="two men")).startswith("two men")

    def test_the_same_seed_draws_the_same(self, tmp_path: Path) -> None:
        predictor = made(tmp_path, scale=1.0)
        drawn = ["".join(predictor.stream(SOURCES[0], sampling=Sampling(), seed=n)) for n in (1, 1, 2)]
        assert drawn[0] == drawn[1] != drawn[2]


class TestOptions:
    def test_a_beginning_is_forced_and_scored(self, tmp_path: Path) -> None:
        predictor = made(tmp_path, scale=1.0)
        free = predictor.predict(SOURCES, beam=1, alpha=0)
        forced = predictor.predict(SOURCES, beam=1, alpha=0, prefixes=["men two"] * len(SOURCES))
        assert all(one["text"].startswith("men two") for one in forced)
        own = predictor.predict(SOURCES, beam=1, alpha=0, prefixes=[one["text"] for one in free])
        assert [one["text"] for one in own] == [one["text"] for one in free]
        assert [one["score"] for one in own] == pytest.approx([one["score"] for one in free])
        with pytest.raises(ConfigError, match=r"expected one for each of 9 inputs, got 1"):
            predictor.predict(SOURCES, prefixes=["a"])
        with pytest.raises(ConfigError, match="not on what is drawn"):
            predictor.predict(["ein"], prefixes=["a"], sampling=Sampling())

    def test_a_beginning_that_is_too_long_is_named_by_its_input(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"prefix of input 8: it has 500 symbols, at most \d+"):
            made(tmp_path).predict(SOURCES[:2], prefixes=["", "dog " * 500], first=6)

    def test_an_unknown_word_is_written_as_the_one_looked_at(self, tmp_path: Path) -> None:
        predictor = made(tmp_path, scale=1.0)
        unknown = predictor.task.target.unknown
        with torch.no_grad():  # a model that always says the unknown word, three times
            head: Any = predictor.model.head
            head.bias.zero_()
            head.bias[unknown] = 1e3
        predictor.task.config = predictor.task.config.model_copy(
            update={"data": predictor.task.config.data.model_copy(update={"longest": 2})}
        )
        source = "xaver yvonne"
        plain = predictor.predict([source], beam=1)[0]
        assert plain["text"] == "<unk> <unk> <unk>"
        shown = predictor.predict([source], beam=1, replace_unknown=True, alignment=True)[0]
        weights = torch.tensor(shown["alignment"]["weights"])[:, :2]
        wanted = " ".join(source.split()[int(place)] for place in weights.argmax(1))
        assert shown["text"] == wanted
        assert "".join(predictor.stream(source, replace_unknown=True)) == wanted

    def test_an_alignment_has_the_symbols_of_both_sides(self, tmp_path: Path) -> None:
        found = made(tmp_path).predict(["ein neuer hund"], alignment=True)[0]
        weights = torch.tensor(found["alignment"]["weights"])
        assert found["alignment"]["source"] == ["ein", "neuer", "hund", END]
        assert weights.shape == (len(found["alignment"]["target"]), 4)
        assert weights.sum(1).tolist() == pytest.approx([1.0] * len(weights), abs=1e-5)

    def test_without_attention_there_is_no_alignment(self, tmp_path: Path) -> None:
        predictor = made(tmp_path, {"model.attention": "none"})
        assert predictor.predict(SOURCES)[0]["text"] is not None
        with pytest.raises(ConfigError, match="alignment: this model does not attend"):
            predictor.predict(SOURCES, alignment=True)

    def test_other_weights_are_refused(self, tmp_path: Path) -> None:
        predictor = made(tmp_path)
        with pytest.raises(ConfigError, match="translation searches with float32 or bfloat16, got int8"):
            predictor.task.predictor(predictor.model, "int8")

    def test_a_search_with_weights_in_bfloat16(self, tmp_path: Path) -> None:
        predictor = made(tmp_path)
        rounded = predictor.task.predictor(predictor.model, "bfloat16")
        assert isinstance(rounded, TextPredictor)
        score, other = predictor.predict(SOURCES)[0]["score"], rounded.predict(SOURCES)[0]["score"]
        assert score != other
        assert score == pytest.approx(other, rel=0.05)
        greedy = rounded.predict(SOURCES[:1], sampling=Sampling(temperature=0))[0]["text"]
        assert "".join(rounded.stream(SOURCES[0])) == greedy
