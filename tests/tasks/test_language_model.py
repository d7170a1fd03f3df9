"""The language model task: reading, building, the gradient of each update, masks, and evaluation.

The gradients are compared with autograd over one symbol and one stream after the other, evaluations with the
sum over a text read once. Shapes: T time, N streams, V vocabulary, L corpus.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import contract_cells
import oracles
from elman.cells import CELLS, State, detach, map_state
from elman.data.codec import CharacterCodec
from elman.data.readers import IGNORE, ContiguousReader
from elman.data.text import Corpus
from elman.errors import ConfigError, DataError
from elman.models.language_model import LanguageModel
from elman.predict import load
from elman.runs import Run
from elman.tasks import TASKS, find_task, language_loss
from elman.tasks.base import Stopped
from elman.tasks.config import make_config
from elman.tasks.language_loss import evaluate_stateful, evaluate_windows
from elman.tasks.language_model import LanguageExamples, LanguageModelConfig, LanguageModelTask
from elman.tasks.language_predictor import LanguagePredictor
from elman.train import train
from language_oracles import corpus_rate, dropout_factors, log_softmax, numpy_logits, small

VOCABULARY = 4


def configured(options: dict[str, Any], preset: str | None = None) -> LanguageModelConfig:
    config = make_config(LanguageModelTask, options, preset=preset)
    assert isinstance(config, LanguageModelConfig)
    return config


def corpus(length: int, starts: tuple[int, ...] = (0,), seed: int = 0) -> Corpus:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, VOCABULARY, (length,), generator=generator).to(torch.uint8)
    return Corpus(tokens, torch.tensor(starts))


def examples(text: Corpus, **train: Any) -> LanguageExamples:
    """Examples with settings given by name, without dropout or random resets unless asked."""
    options = {"train.reset_probability": 0.0, **{f"train.{key}": value for key, value in train.items()}}
    task = LanguageModelTask(configured(options), CharacterCodec.of("abcd"), [])
    return LanguageExamples(task, text)


def gradients(model: LanguageModel) -> list[Tensor]:
    return [p.grad.clone() if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]


def distance(one: list[Tensor], other: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


class ByDefinition:
    """Truncated BPTT as Williams and Peng define it: one stream and one step at a time.

    After every `window` steps, the gradient of the loss of those steps through the last `backward` steps; the
    state before them is a constant, the one that was there when the text was read.
    """

    def __init__(self, model: LanguageModel, text: Corpus, streams: int, window: int, backward: int) -> None:
        self.model, self.tokens, self.starts = model, text.tokens.tolist(), text.starts.tolist()
        self.streams, self.window, self.backward = streams, window, backward
        # states[b][t]: the state of stream b before its step t, as it was when that step was last computed.
        self.states: list[dict[int, State]] = [{0: model.initial_state(1)} for _ in range(streams)]

    def gradient(self, update: int, mean: bool) -> tuple[list[Tensor], float, int]:
        """Gradients by parameter, the sum of -ln p, and the count of what was predicted."""
        stop = (update + 1) * self.window
        start = max(0, stop - self.backward)
        losses = []
        for stream, states in enumerate(self.states):
            state = detach(states[start])
            for t in range(start, stop):
                states[t] = detach(state)
                place = (stream * len(self.tokens) // self.streams + t) % len(self.tokens)
                if place in self.starts:
                    state = self.model.initial_state(1)
                logits, state = self.model.step(torch.tensor([self.tokens[place]]), state)
                following = (place + 1) % len(self.tokens)
                if t >= update * self.window and following not in self.starts:
                    losses.append(-logits[0].log_softmax(0)[self.tokens[following]])
            states[stop] = detach(state)
        total = torch.stack(losses).sum()
        objective = total / len(losses) if mean else total
        return list(torch.autograd.grad(objective, list(self.model.parameters()))), total.item(), len(losses)


class TestGradient:
    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    @pytest.mark.parametrize(
        ("streams", "window", "backward"), [(1, 3, 3), (1, 3, 4), (2, 2, 7), (3, 1, 5), (2, 5, 6), (1, 4, 11)]
    )
    def test_every_update_is_that_of_the_definition(
        self, streams: int, window: int, backward: int, reduction: str
    ) -> None:
        text = corpus(17, (0, 6, 7, 13))
        model, other = (small(VOCABULARY, "lstm", seed=1).train() for _ in range(2))
        batches = examples(text, batch=streams, window=window, backward=backward, reduction=reduction)
        definition = ByDefinition(other, text, streams, window, backward)
        carry = batches.carry(model)
        for update in range(9):
            model.zero_grad()
            outcome = batches.outcome(model, update, carry)
            outcome.objective.backward()
            carry = outcome.carry
            expected, total, count = definition.gradient(update, reduction == "mean")
            assert distance(gradients(model), expected) < 1e-12
            assert abs(outcome.rate.total - total) < 1e-11
            assert outcome.rate.symbols == count
            with torch.no_grad():  # the weights move, so that a state of the wrong update would be noticed
                for net in (model, other):
                    for parameter, gradient in zip(net.parameters(), expected, strict=True):
                        parameter -= 0.1 * gradient

    @pytest.mark.parametrize("cell", CELLS)
    def test_a_window_over_the_whole_text_is_full_bptt(self, cell: str) -> None:
        text = corpus(12)
        model = small(VOCABULARY, cell, seed=2)
        batches = examples(text, batch=1, window=11, reduction="sum")
        batches.outcome(model, 0, batches.carry(model)).objective.backward()
        got = gradients(model)

        state = model.initial_state(1)
        loss = torch.zeros((), dtype=torch.float64)
        for symbol, following in itertools.pairwise(text.tokens.tolist()):
            logits, state = model.step(torch.tensor([symbol]), state)
            loss = loss - logits[0].log_softmax(0)[following]
        full = list(torch.autograd.grad(loss, list(model.parameters())))
        assert distance(got, full) < 1e-12

        model.zero_grad()
        carry: State | None = batches.carry(model)
        short = examples(text, batch=1, window=1, reduction="sum")
        for update in range(11):
            outcome = short.outcome(model, update, carry)
            outcome.objective.backward()
            carry = outcome.carry
        assert distance(gradients(model), full) > 1e-3  # one step back is not full BPTT

    def test_far_enough_back_the_updates_add_up_to_full_bptt(self) -> None:
        text = corpus(13)
        model = small(VOCABULARY, "gru", seed=3)
        whole = examples(text, batch=1, window=12, reduction="sum")
        whole.outcome(model, 0, whole.carry(model)).objective.backward()
        full = gradients(model)

        model.zero_grad()
        parts = examples(text, batch=1, window=3, backward=12, reduction="sum")
        carry: State | None = parts.carry(model)
        for update in range(4):
            outcome = parts.outcome(model, update, carry)
            outcome.objective.backward()
            carry = outcome.carry
        assert distance(gradients(model), full) < 1e-12

    def test_the_carried_state_has_no_history(self) -> None:
        batches = examples(corpus(20), batch=2, window=4, backward=6)
        model = small(VOCABULARY)
        outcome = batches.outcome(model, 0, batches.carry(model))
        parts: list[Tensor] = []
        map_state(lambda part: parts.append(part) or part, outcome.carry)
        assert not any(part.requires_grad for part in parts)

    def test_the_loss_is_named_by_its_place(self) -> None:
        batches = examples(corpus(50), batch=10, window=4)
        model = small(VOCABULARY)
        place = batches.outcome(model, 2, batches.carry(model)).place
        assert place == "update 2, text positions 8, 13, 18, 23, 28, 33, 38, 43 and 2 more streams"

    def test_nothing_to_predict_is_no_loss(self) -> None:
        batches = examples(corpus(3, (0, 1, 2)), batch=1, window=1)
        model = small(VOCABULARY)
        outcome = batches.outcome(model, 0, batches.carry(model))
        outcome.objective.backward()
        assert (outcome.rate.total, outcome.rate.symbols) == (0.0, 0)
        assert all(float(gradient.abs().max()) == 0 for gradient in gradients(model))


class TestMasks:
    def model(self) -> LanguageModel:
        return small(VOCABULARY, "lstm", embedding=4, layers=2, dropout=0.4, residual=True).train()

    @pytest.mark.parametrize("update", [0, 3, 4])
    def test_the_loss_is_that_of_the_counters_masks(self, update: int) -> None:
        seed, window, backward = 11, 4, 7
        text = corpus(31, (0, 9, 20))
        options: dict[str, Any] = {
            "window": window,
            "backward": backward,
            "seed": seed,
            "reset_probability": 0.5,
        }
        batches = examples(text, batch=3, **options)
        model = self.model()
        outcome = batches.outcome(model, update, batches.carry(model))

        view = ContiguousReader(text, 3, window, backward, reset_probability=0.5, seed=seed).read(update)
        steps = np.arange(len(view.inputs))[:, None].repeat(3, 1)
        key = oracles.counter_child(seed, update)
        factors = dropout_factors(key, [0.4] * 3, steps)
        logits = numpy_logits(model, view.inputs.numpy(), view.resets.numpy(), factors)
        log_probs = log_softmax(logits)
        counted = np.argwhere(view.targets.numpy() != IGNORE)
        expected = -np.mean([log_probs[t, n, int(view.targets[t, n])] for t, n in counted])
        assert abs(outcome.objective.item() - expected) < 1e-12
        assert outcome.rate.symbols == len(counted)

    def test_an_update_has_its_masks_whenever_it_is_made(self) -> None:
        batches = examples(corpus(40), batch=2, window=5)
        model = self.model()
        objectives = [
            batches.outcome(model, update, batches.carry(model)).objective.item()
            for update in (0, 1, 8, 1, 0)  # 8 windows of 5 later the same text, with other masks
        ]
        assert objectives[0] == objectives[4]
        assert objectives[1] == objectives[3]
        assert objectives[0] != objectives[2]

    def test_masks_go_on_with_the_carried_count(self) -> None:
        batches = examples(corpus(40), batch=2, window=5)
        model = self.model()
        carry = batches.outcome(model, 0, batches.carry(model)).carry
        assert carry is not None
        assert carry.step.tolist() == [5, 5]


@st.composite
def texts(draw: st.DrawFn) -> Corpus:
    length = draw(st.integers(2, 24))
    starts = (0, *sorted(draw(st.sets(st.integers(1, length - 1), max_size=3))))
    return corpus(length, starts, draw(st.integers(0, 3)))


class TestEvaluation:
    model = small(VOCABULARY, "lstm", dropout=0.5)

    @pytest.fixture(autouse=True)
    def _small_pieces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pieces so small that every text crosses their borders."""
        monkeypatch.setattr(language_loss, "EVALUATE_STREAMS", 3)
        monkeypatch.setattr(language_loss, "SPAN", 4)

    def check(
        self, text: Corpus, evaluate: Callable[..., Any], part: int, zeroed: Callable[[int], bool]
    ) -> None:
        told: list[float] = []
        rate = evaluate(self.model, text, part, told.append)
        total, count = corpus_rate(self.model, text.tokens.tolist(), text.starts.tolist(), zeroed)
        assert rate.symbols == count == len(text) - len(text.starts)
        assert abs(rate.total - total) < 1e-10
        assert told == sorted(told)
        assert all(0 <= fraction < 1 for fraction in told)

    @settings(max_examples=40)
    @given(texts(), st.integers(1, 26))
    def test_windows(self, text: Corpus, window: int) -> None:
        self.check(text, evaluate_windows, window, lambda place: place % window == 0)

    @settings(max_examples=40)
    @given(texts(), st.integers(1, 26))
    def test_stateful(self, text: Corpus, streams: int) -> None:
        part = -(-(len(text) - 1) // streams)
        self.check(text, evaluate_stateful, streams, lambda place: place % part == 0)

    def test_one_stream_is_the_exact_figure(self) -> None:
        self.check(corpus(30, (0, 11)), evaluate_stateful, 1, lambda place: False)

    def test_nothing_is_kept_for_a_gradient(self) -> None:
        assert torch.is_grad_enabled()
        evaluate_windows(self.model, corpus(9), 3, lambda part: None)
        evaluate_stateful(self.model, corpus(9), 2, lambda part: None)
        assert torch.is_grad_enabled()
        assert all(parameter.grad is None for parameter in self.model.parameters())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("the cat sat\non the mat\n" * 20, "utf-8")
    return path


def begun(paths: list[Path], options: dict[str, Any] | None = None) -> LanguageModelTask:
    return LanguageModelTask.begin(configured(options or {}), [str(path) for path in paths])


class TestReading:
    @pytest.mark.parametrize(("unit", "symbols"), [("bytes", 256), ("characters", 11), ("words", 6)])
    def test_units(self, file: Path, unit: str, symbols: int) -> None:
        task = begun([file], {"data.unit": unit, "data.valid_fraction": 0.25})
        train, valid = task.corpora()
        content = task.codec.encode(file.read_text("utf-8"))
        assert len(task.codec) == symbols
        assert torch.equal(torch.cat([train.tokens, valid.tokens]).long(), content)
        assert len(valid) == round(len(content) * 0.25)

    def test_words_of_two_documents_are_those_of_each(self, tmp_path: Path) -> None:
        for name, text in (("one.txt", "red green"), ("two.txt", "blue red\n")):
            (tmp_path / name).write_text(text, "utf-8")
        task = begun(
            [tmp_path / "one.txt", tmp_path / "two.txt"], {"data.unit": "words", "data.valid_fraction": 0}
        )
        assert sorted(task.codec.symbols) == ["<eos>", "blue", "green", "red"]
        assert task.codec.decode(task.corpora()[0].tokens.tolist()) == "red green blue red\n"
        assert task.corpora()[0].starts.tolist() == [0, 2]

    def test_limits_of_the_vocabulary(self, file: Path) -> None:
        task = begun([file], {"data.unit": "words", "data.vocabulary": 3})
        assert task.codec.symbols == ["<unk>", "<eos>", "the"]
        assert begun([file], {"data.unit": "words", "data.minimum_count": 21}).codec.symbols == [
            "<unk>", "<eos>", "the"
        ]  # fmt: skip

    def test_files_for_validation(self, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "valid.txt").write_text("the hat", "utf-8")
        monkeypatch.chdir(tmp_path)
        task = begun([file], {"data.valid_files": ["valid.txt"]})
        train, valid = task.corpora()
        assert len(train) == len(file.read_text("utf-8"))
        assert task.codec.decode(valid.tokens.tolist()) == "the hat"
        monkeypatch.chdir("/")  # a run is resumed from anywhere
        again = LanguageModelTask.restore(task.config, task.codec_json(), task.files, "codec.json")
        assert all(
            torch.equal(a.tokens, b.tokens) for a, b in zip(again.corpora(), (train, valid), strict=True)
        )

    def test_a_symbol_that_only_validation_has(self, file: Path, tmp_path: Path) -> None:
        (tmp_path / "valid.txt").write_text("the\ncaz", "utf-8")
        with pytest.raises(DataError, match=r"valid\.txt: line 2, column 3: the symbol 'z'"):
            begun([file], {"data.valid_files": [str(tmp_path / "valid.txt")]})

    def test_a_file_that_has_changed_is_named(self, file: Path) -> None:
        task = begun([file])
        size = file.stat().st_size
        file.write_text("other text\n", "utf-8")
        again = LanguageModelTask.restore(task.config, task.codec_json(), task.files, "codec.json")
        with pytest.raises(DataError) as caught:
            again.examples()
        assert str(caught.value).startswith(
            f"{file}: the file has changed since the run began (11 bytes now, {size} "
        )

    def test_the_same_size_and_another_content(self, file: Path) -> None:
        task = begun([file])
        file.write_text(file.read_text("utf-8").replace("cat", "mat"), "utf-8")
        again = LanguageModelTask.restore(task.config, task.codec_json(), task.files, "codec.json")
        with pytest.raises(DataError, match="the file has changed"):
            again.corpora()

    def test_a_text_shorter_than_a_window(self, file: Path) -> None:
        with pytest.raises(DataError, match=r"has 414 symbols, a window needs 501"):
            begun([file], {"train.window": 500}).examples()

    def test_a_foreign_codec(self, file: Path) -> None:
        task = begun([file])
        with pytest.raises(DataError, match=r"run/codec\.json: expected a codec"):
            LanguageModelTask.restore(task.config, {"unit": 3}, task.files, "run/codec.json")

    def test_examples_describe_the_data(self, file: Path) -> None:
        told = begun([file], {"train.batch": 2, "train.window": 9}).examples()
        assert told.describe() == "414 characters for training, 11 symbols; an epoch is 23 updates"
        assert told.epoch == 414 / 18


class TestFigures:
    def model(self, task: LanguageModelTask) -> LanguageModel:
        torch.manual_seed(0)
        return task.build().double().eval()

    def expected(self, model: LanguageModel, text: Corpus, window: int | None) -> float:
        def zeroed(place: int) -> bool:
            return window is not None and place % window == 0

        total, count = corpus_rate(model, text.tokens.tolist(), text.starts.tolist(), zeroed)
        return total / count

    def test_validation_and_evaluation(self, file: Path, tmp_path: Path) -> None:
        task = begun([file], {"model.hidden": 5, "evaluate_window": 7})
        model = self.model(task)
        valid = task.corpora()[1]
        told: list[float] = []
        for found in (task.validate(model, lambda: False), task.evaluate(model, [], told.append)):
            assert found["symbols"] == len(valid) - 1
            for prefix, window in (("", 7), ("stateful_", None)):
                nats = self.expected(model, valid, window)
                assert found[f"{prefix}nats"] == pytest.approx(nats, abs=1e-10)
                assert found[f"{prefix}bits"] == pytest.approx(nats / np.log(2), abs=1e-10)
                assert found[f"{prefix}perplexity"] == pytest.approx(np.exp(nats), abs=1e-9)
        assert told == sorted(told)

    def test_files_of_ones_own(self, file: Path, tmp_path: Path) -> None:
        task = begun([file], {"model.hidden": 5})
        model = self.model(task)
        names = []
        for name, text in (("a.txt", "a mat"), ("b.txt", "the hat on\n")):
            (tmp_path / name).write_text(text, "utf-8")
            names.append(str(tmp_path / name))
        found = task.evaluate(model, names, lambda part: None)
        own = Corpus(task.codec.encode("a matthe hat on\n"), torch.tensor([0, 5]))
        assert found["symbols"] == 14
        assert found["stateful_nats"] == pytest.approx(self.expected(model, own, None), abs=1e-10)

    def test_a_validation_can_be_stopped(self, file: Path) -> None:
        task = begun([file], {"model.hidden": 3})
        with pytest.raises(Stopped):
            task.validate(self.model(task), lambda: True)

    def test_no_text_to_validate_on(self, file: Path) -> None:
        task = begun([file], {"data.valid_fraction": 0, "model.hidden": 3})
        assert task.validate(self.model(task), lambda: False) == {}
        with pytest.raises(
            DataError, match=r"evaluate: the text has 0 symbols, expected at least 2; name a FILE"
        ):
            task.evaluate(self.model(task), [], lambda part: None)


class TestBuilding:
    @pytest.mark.parametrize(("embedding", "size"), [(None, 6), (0, 11), (4, 4)])
    def test_sizes(self, file: Path, embedding: int | None, size: int) -> None:
        task = begun([file], {"model.hidden": 6, "model.layers": 3, "model.embedding": embedding})
        model = task.build()
        assert [cell.input_size for cell in model.stack.cells] == [size, 6, 6]
        assert (model.embedding is None) == (embedding == 0)
        assert tuple(model.head.weight.shape) == (11, 6)

    def test_options_of_the_cell(self, file: Path) -> None:
        task = begun([file], {"model.hidden": 6, "model.options": {"projection": 2}, "model.embedding": 3})
        assert [cell.output_size for cell in task.build().stack.cells] == [2, 2]

    def test_normal_weights_and_zero_biases(self, file: Path) -> None:
        task = begun([file], {"model.initialization": "normal", "model.scale": 0.05, "model.hidden": 80})
        torch.manual_seed(0)
        for name, parameter in task.build().named_parameters():
            if parameter.dim() == 1:
                assert not parameter.any(), name
            else:
                assert abs(parameter.mean().item()) < 4 * 0.05 / parameter.numel() ** 0.5, name
                assert parameter.std().item() == pytest.approx(0.05, rel=4 / parameter.numel() ** 0.5), name

    def test_memory_grows_with_what_is_asked_for(self, file: Path) -> None:
        def needed(**options: Any) -> int:
            task = begun([file], {key.replace("__", "."): value for key, value in options.items()})
            return task.memory(task.build())

        least = needed(model__hidden=64)
        weights = sum(
            parameter.numel() for parameter in begun([file], {"model.hidden": 64}).build().parameters()
        )
        assert least > 16 * weights
        for more in (
            {"model__hidden": 128},
            {"model__layers": 4},
            {"train__batch": 4096},
            {"train__backward": 99999},
        ):
            assert needed(**{"model__hidden": 64, **more}) > least

    def test_memory_of_a_model_that_is_not_there_yet(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task = begun([file], {"model.hidden": 64, "train.window": 200})
        needed = {}
        for mode in ("auto", "torch", "native", "reference"):
            monkeypatch.setenv("ELMAN_KERNELS", mode)
            with torch.device("meta"):
                empty = task.build()
            needed[mode] = task.memory(empty)
            assert needed[mode] == task.memory(task.build())
        assert needed["auto"] == needed["torch"] < needed["native"] == needed["reference"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"model.cell": "lsmt"},
                r"model\.cell: expected one of elman, gru, lstm, layer_norm_lstm, got 'lsmt'$",
            ),
            ({"model.cell": "my.py:Cell"}, r"got 'my\.py:Cell'; a cell of your own must be given anew"),
            ({"model.options": {"peephole": True}}, r"model\.options: LSTMCell does not take .*'peephole'"),
            (
                {"model.cell": "elman", "model.options": {"nonlinearity": "exp"}},
                r"nonlinearity: expected .*'exp'",
            ),
            ({"model.tied": True, "model.embedding": 3}, r"tied: the embedding \(3\)"),
        ],
    )
    def test_what_cannot_be_built(self, file: Path, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            begun([file], options).build()

    def test_a_cell_of_ones_own(self, file: Path) -> None:
        task = begun([file], {"model.cell": "own.py:Jordan", "model.hidden": 3})
        model = task.build(contract_cells.Jordan)
        assert all(type(cell) is contract_cells.Jordan for cell in model.stack.cells)

    def test_a_cell_of_ones_own_is_not_set_aside_in_silence(self, file: Path) -> None:
        with pytest.raises(
            ConfigError, match=r"model\.cell: 'lstm' is elman's own, and the class Jordan was given"
        ):
            begun([file]).build(contract_cells.Jordan)


def test_tasks_are_found_by_name() -> None:
    assert find_task("language-model") is TASKS["language-model"] is LanguageModelTask
    with pytest.raises(ConfigError, match=r"^run\.json: expected one of language-model, .*got 'speech'"):
        find_task("speech", "run.json")


def test_tiny_shakespeare_from_the_file_to_the_text(data: Callable[[str], Path], tmp_path: Path) -> None:
    """A few updates on the real text: the loss falls, and the figures are those of reading it once."""
    file = data("tinyshakespeare") / "input.txt"
    text = file.read_text("utf-8")
    options: dict[str, Any] = {
        "model.hidden": 64, "model.layers": 1, "model.dropout": 0.0, "train.updates": 40, "train.batch": 16,
        "train.window": 32, "train.warmup": 5, "train.learning_rate": 0.02, "data.valid_fraction": 0.0005,
        "evaluate_window": 100,
    }  # fmt: skip
    train("language-model", [file], tmp_path / "run", options)
    run = Run(tmp_path / "run")
    records = run.records()
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    assert losses[0] == pytest.approx(np.log(65), abs=0.1)  # it knows nothing of the 65 characters
    assert losses[-1] < 2.9
    assert records[39]["symbols"] == 40 * 16 * 32

    model = load(tmp_path / "run")
    assert isinstance(model, LanguagePredictor)
    tail = text[len(text) - round(len(text) * 0.0005) :]
    ids = [sorted(set(text)).index(symbol) for symbol in tail]
    (valid,) = [record for record in records if record["kind"] == "valid"]
    for name, zeroed in (("nats", lambda place: place % 100 == 0), ("stateful_nats", lambda place: False)):
        total, count = corpus_rate(model.model, ids, [0], zeroed)
        assert valid[name] == pytest.approx(total / count, abs=1e-5)
        assert valid["symbols"] == count == len(tail) - 1
    assert valid["nats"] < 3.2
    made = model.generate("ROMEO:\n", length=50, temperature=0.8, seed=1)
    assert len(made.text) == 50
    assert set(made.text) <= set(text)
    assert model.compare(["the king", "kqz xjvw"])[0].text == "the king"
