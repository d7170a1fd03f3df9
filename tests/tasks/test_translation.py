"""Translation: the loss against torch, validation against single pairs, exact resumes, bad input."""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

import pair_files
from elman.cells import CELLS
from elman.errors import ConfigError, DataError
from elman.models.encoder_decoder import EncoderDecoder
from elman.models.transformer import Transformer
from elman.padded import Padded
from elman.predict import evaluate, load
from elman.runs import Run
from elman.tasks.config import make_config
from elman.tasks.sequence_data import sequence_loss, teaching
from elman.tasks.sequence_settings import MODELS
from elman.tasks.translation import TranslationTask
from elman.train import Reporter, train
from pair_files import SETTINGS, made_pairs, write_aligned, write_table
from small_runs import check_same

pytest.importorskip("sacrebleu", reason="needs elman[translation]")


def begun(files: list[str], settings: Mapping[str, Any] = {}) -> TranslationTask:
    return TranslationTask.begin(make_config(TranslationTask, {**SETTINGS, **settings}), files)


def built(task: TranslationTask) -> EncoderDecoder:
    torch.manual_seed(1)
    return task.build()


class TestLoss:
    @pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
    @pytest.mark.parametrize("places", [1, 63, 64, 130])
    def test_equals_torch_with_its_gradient(self, smoothing: float, places: int) -> None:
        torch.manual_seed(places)
        logits = 4 * torch.randn(places, 17)
        targets = torch.randint(17, (places,))
        mine, torchs = logits.clone().requires_grad_(), logits.double().requires_grad_()
        objective, rate = sequence_loss(mine, targets, smoothing)
        wanted = cross_entropy(torchs, targets, label_smoothing=smoothing)
        (3 * objective).backward()
        (3 * wanted).backward()
        assert float(objective.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)
        assert rate.symbols == places
        assert rate.nats == pytest.approx(float(cross_entropy(logits.double(), targets)), rel=1e-6)
        assert mine.grad is not None
        assert torchs.grad is not None
        torch.testing.assert_close(mine.grad.double(), torchs.grad, rtol=1e-4, atol=1e-7)

    def test_extreme_logits_stay_finite(self) -> None:
        logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
        objective, _ = sequence_loss(logits, torch.tensor([1]), 0.1)
        objective.backward()
        assert logits.grad is not None
        assert bool(logits.grad.isfinite().all())
        assert float(objective.detach()) == pytest.approx(0.9 * 2e4 + 0.1 * 1e4)

    def test_what_is_taught(self) -> None:
        taught = teaching([torch.tensor([5, 6]), torch.tensor([7])], 0, 1)
        assert taught.inputs.tolist() == [[0, 0], [5, 7], [6, 0]]
        assert taught.lengths.tolist() == [3, 2]
        assert taught.targets.tolist() == [5, 7, 6, 1, 1]


class TestReading:
    def test_the_last_part_is_kept_for_validation(self, tmp_path: Path) -> None:
        pairs = made_pairs(50)
        training, valid = begun([write_table(tmp_path, pairs)]).data()
        assert [*training.texts, *valid.texts] == [target for _, target in pairs]
        assert len(valid) == 10

    def test_files_for_validation_are_not_learnt_from(self, tmp_path: Path) -> None:
        train_files = write_aligned(tmp_path, made_pairs(30))
        valid_files = write_aligned(tmp_path, [("neu neu", "new new")], "valid")
        task = begun(list(train_files), {"data.valid_files": valid_files})
        training, valid = task.data()
        assert (len(training), len(valid)) == (30, 1)
        assert "new" not in task.target.symbols
        assert valid.targets[0].tolist() == [task.target.unknown] * 2
        assert task.described() == "30 pairs for training, 1 for validation, 12 + 12 words"

    def test_too_long_a_side_is_named_or_skipped_and_counted(self, tmp_path: Path) -> None:
        pairs = [*made_pairs(8), ("ein " * 7, "a"), ("ein", "a " * 8)]
        path = write_table(tmp_path, pairs)
        with pytest.raises(
            DataError, match=r"train\.tsv: line 9: the source has 7 words, at most 6.*data\.skip"
        ):
            begun([path], {"data.longest": 6})
        with pytest.raises(DataError, match=r"train\.tsv: line 10: the target has 8 words, at most 7"):
            begun([path], {"data.longest": 7})
        task = begun([path], {"data.longest": 6, "data.skip": True, "data.valid_fraction": 0})
        assert len(task.data()[0]) == 8
        assert "(left out: 2 too long)" in task.examples().describe()

    def test_a_shared_vocabulary_is_one(self, tmp_path: Path) -> None:
        task = begun([write_table(tmp_path, made_pairs(30))], {"data.shared": True, "model.shared": True})
        assert task.codecs.source is task.codecs.target
        again = TranslationTask.restore(task.config, task.codec_json(), task.files, "codec.json")
        assert again.codecs.source is again.codecs.target
        assert again.target.symbols == task.target.symbols

    def test_one_embedding_needs_one_vocabulary(self) -> None:
        with pytest.raises(ConfigError, match=r"model\.shared: one embedding needs one vocabulary"):
            make_config(TranslationTask, {"model.shared": True})

    def test_a_changed_file_is_noticed(self, tmp_path: Path) -> None:
        task = begun([write_table(tmp_path, made_pairs(30))])
        write_table(tmp_path, made_pairs(30, 6))
        with pytest.raises(DataError, match=r"train\.tsv: the file has changed since the run began"):
            TranslationTask.restore(task.config, task.codec_json(), task.files, "codec.json").data()

    @pytest.mark.parametrize("content", [{}, [], {"source": {}}, {"shared": {"unit": "pickle"}}])
    def test_a_damaged_codec_is_named(self, tmp_path: Path, content: Any) -> None:
        task = begun([write_table(tmp_path, made_pairs(30))])
        with pytest.raises(DataError, match=r"^codec\.json: "):
            TranslationTask.restore(task.config, content, task.files, "codec.json")


class TestFigures:
    def test_validation_is_the_mean_over_single_pairs(self, tmp_path: Path) -> None:
        task = begun([write_table(tmp_path, made_pairs(40))])
        model, valid = built(task).eval(), task.data()[1]
        total, symbols = 0.0, 0
        for source, target in zip(valid.sources, valid.targets, strict=True):
            taught = teaching([target], 0, 1)
            with torch.no_grad():
                logits = model(Padded.of([source]), taught.inputs, taught.lengths).logits
            total += float(cross_entropy(logits.double(), taught.targets, reduction="sum"))
            symbols += len(taught.targets)
        figures = task.validate(model, lambda: False)
        assert figures["nats"] == pytest.approx(total / symbols, rel=1e-5)
        assert figures["symbols"] == symbols
        assert set(figures) == {"nats", "perplexity", "symbols", "bleu"}

    def test_batches_hold_all_examples_and_no_more_than_their_size(self, tmp_path: Path) -> None:
        data = begun([write_table(tmp_path, made_pairs(60))]).data()[0]
        sizes = (data.source_lengths + data.target_lengths).tolist()
        batches = data.batches(30)
        assert sorted(chain.from_iterable(batches)) == list(range(len(data)))
        assert all(len(rows) * max(sizes[row] for row in rows) <= 30 for rows in batches)

    def test_without_validation_data_there_is_no_figure(self, tmp_path: Path) -> None:
        task = begun([write_table(tmp_path, made_pairs(10))], {"data.valid_fraction": 0})
        assert task.validate(built(task), lambda: False) == {}
        with pytest.raises(DataError, match="no validation data"):
            task.evaluate(built(task), [], lambda part: None)


class Killed(Exception):
    """The process ends here, and nothing more is written."""


class KillAt(Reporter):
    def __init__(self, update: int) -> None:
        self.update = update

    def updated(self, record: Mapping[str, Any]) -> None:
        if record["update"] == self.update:
            raise Killed


class TestTraining:
    @pytest.mark.parametrize("kind", MODELS)
    def test_a_killed_run_ends_as_an_uninterrupted_one(self, tmp_path: Path, kind: str) -> None:
        files = write_aligned(tmp_path, made_pairs(40))
        whole, run = tmp_path / "whole", tmp_path / "run"
        settings = {**SETTINGS, "model.kind": kind, "model.heads": 2}
        train("translation", files, whole, settings)
        with pytest.raises(Killed):
            train("translation", files, run, settings, reporter=KillAt(5))
        with pytest.raises(Killed):
            train("translation", files, run, resume=True, reporter=KillAt(11))
        train("translation", files, run, resume=True)
        check_same(run, whole)

    def test_it_learns_what_there_is_to_learn(self, tmp_path: Path) -> None:
        files = write_aligned(tmp_path, made_pairs(300))
        settings = {
            **SETTINGS, "model.hidden": 32, "model.embedding": 16, "model.dropout": 0.0,
            "model.dropout_embedding": 0.0, "model.dropout_output": 0.0, "train.tokens": 400,
            "train.updates": 150, "train.evaluate_every": 150, "train.save_every": 150, "bleu_sentences": 60,
            "train.learning_rate": 0.02,
        }  # fmt: skip
        train("translation", files, tmp_path / "run", settings)
        last = [record for record in Run(tmp_path / "run").records() if record["kind"] == "valid"][-1]
        assert last["nats"] < 0.5
        assert last["bleu"] > 80
        figures = evaluate(tmp_path / "run")
        assert figures["bleu"] > 80
        assert figures["bleu_signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
        assert figures["sentences"] == 60
        source = " ".join(pair_files.WORDS[:3])
        assert load(tmp_path / "run").predict([source])[0]["text"] == "dog red a"

    def test_a_transformer_learns_from_the_same_batches(self, tmp_path: Path) -> None:
        settings = {**SETTINGS, "model.kind": "transformer", "model.heads": 2, "model.layers": 2}
        config = make_config(TranslationTask, settings, preset="transformer")
        task = TranslationTask.begin(config, [write_table(tmp_path, made_pairs(200))])
        model, examples = built(task).train(), task.examples()
        assert isinstance(model, Transformer)
        before = task.validate(model.eval(), lambda: False)["nats"]
        optimizer = torch.optim.Adam(model.train().parameters(), 0.01)
        for update in range(60):
            optimizer.zero_grad()
            examples.outcome(model, update, None).objective.backward()
            optimizer.step()
        assert task.validate(model.eval(), lambda: False)["nats"] < before - 0.8

    def test_a_class_of_your_own_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="translation: its cells go by name"):
            begun([write_table(tmp_path, made_pairs(9))]).build(CELLS["lstm"])
