"""Settings of the models that write sequences: what they do to a model, to its loss and to its training."""

import gc
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from elman import counter
from elman.attention import ATTENTIONS
from elman.errors import ConfigError
from elman.models.scheduled import teaching
from elman.models.seq2seq import Seq2Seq
from elman.padded import Padded
from elman.predict import load
from elman.runs import Run
from elman.tasks.config import make_config
from elman.tasks.sequence_predictor import SequencePredictor
from elman.tasks.translation import TranslationTask
from elman.train import Reporter, train
from pair_files import SETTINGS, made_pairs, write_aligned, write_table
from small_runs import check_same

SHARED: dict[str, Any] = {**SETTINGS, "data.shared": True, "bleu_sentences": 0}

USED: dict[str, dict[str, Any]] = {
    "copying": {"model.copying": True, "model.doubly_stochastic": 0.3, "data.vocabulary": 12},
    "penalties": {"model.coverage": 0.5, "model.attention": "location", "model.attention_options.width": 3},
    "hard": {"model.attention": "hard", "model.order": "bahdanau", "train.entropy": 0.1},
    "pyramid": {"model.pyramid": True, "model.layers": 2, "model.start": "last"},
    "states": {"model.start": "states", "model.attention": "local-p"},
    "own symbols": {
        "train.teaching": "sigmoid", "train.teaching_half": 8, "train.teaching_least": 0.2,
        "model.copying": True, "data.vocabulary": 12,
    },
}  # fmt: skip
"""Every setting that a task has of what only recurrent models can do."""


def begun(folder: Path, settings: Mapping[str, Any] = {}) -> TranslationTask:
    config = make_config(TranslationTask, {**SHARED, **settings})
    return TranslationTask.begin(config, [write_table(folder, made_pairs(40))])


def built(task: TranslationTask) -> Seq2Seq:
    torch.manual_seed(1)
    model = task.build()
    assert isinstance(model, Seq2Seq)
    return model.train()


class Killed(Exception):
    """The process ends here."""


class KillAt(Reporter):
    def updated(self, record: Mapping[str, Any]) -> None:
        if record["update"] == 7:
            raise Killed


@pytest.mark.parametrize("name", USED)
def test_a_killed_run_ends_as_an_uninterrupted_one(tmp_path: Path, name: str) -> None:
    files = write_aligned(tmp_path, made_pairs(40))
    whole, run = tmp_path / "whole", tmp_path / "run"
    settings = {**SHARED, **USED[name]}
    train("translation", files, whole, settings)
    with pytest.raises(Killed):
        train("translation", files, run, settings, reporter=KillAt())
    train("translation", files, run, resume=True)
    check_same(run, whole)
    model = load(run)
    assert isinstance(model, SequencePredictor)
    sources = [source for source, _ in made_pairs(3, 8)]
    alone = [model.predict([source], beam=3)[0]["text"] for source in sources]
    assert [one["text"] for one in model.predict(sources, beam=3)] == alone


@pytest.mark.parametrize("name", ["plain", *USED])
def test_an_update_leaves_no_tensor_behind(tmp_path: Path, name: str) -> None:
    """Nothing waits for Python's search for circles, which comes after thousands of updates."""
    task = begun(tmp_path, USED.get(name, {}))
    model, examples = built(task), task.examples()

    def alive(update: int) -> int:
        examples.outcome(model, update, None).objective.backward()
        model.zero_grad(set_to_none=True)
        return sum(type(one) is torch.Tensor for one in gc.get_objects())

    alive(0)
    gc.collect()
    gc.disable()
    try:
        assert alive(1) == alive(2) == alive(3)
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ATTENTIONS)
def test_every_kind_of_attention_learns(tmp_path: Path, name: str) -> None:
    task = begun(tmp_path, {"model.attention": name, "model.dropout": 0.0, "train.label_smoothing": 0.0})
    model, examples = built(task), task.examples()
    before = task.validate(model.eval(), lambda: False)["nats"]
    optimizer = torch.optim.Adam([p for p in model.train().parameters() if p.requires_grad], 0.02)
    for update in range(25):
        optimizer.zero_grad()
        examples.outcome(model, update, None).objective.backward()
        optimizer.step()
    assert task.validate(model.eval(), lambda: False)["nats"] < before - 0.1


@pytest.mark.parametrize("key", ["model.coverage", "model.doubly_stochastic"])
def test_a_penalty_is_added_with_its_weight(tmp_path: Path, key: str) -> None:
    objectives = []
    for weight in (0.0, 1.0, 3.0):
        task = begun(tmp_path, {key: weight, "train.precision": "float32"})
        objectives.append(float(task.examples().outcome(built(task), 0, None).objective.detach()))
    assert objectives[1] > objectives[0] + 1e-3
    assert objectives[2] - objectives[0] == pytest.approx(3 * (objectives[1] - objectives[0]), rel=1e-3)


def test_the_true_symbol_is_read_less_and_less_often(tmp_path: Path) -> None:
    exact = {"train.precision": "float32"}
    falling = {"train.teaching": "linear", "train.teaching_half": 4, "train.teaching_least": 0.1}
    task = begun(tmp_path, {**exact, **falling})
    told = begun(tmp_path, exact)
    model, other, examples = built(task), built(told), task.examples()
    losses = []
    for update in (0, 4, 7, 90):
        mine, wanted = examples.outcome(model, update, None), told.examples().outcome(other, update, None)
        losses.append(float(mine.objective.detach()) == pytest.approx(float(wanted.objective.detach())))
        assert model.teacher == pytest.approx(max(0.1, teaching(update, "linear", 1 / 8)))
    assert losses == [True, False, False, False]


def test_a_pyramid_remembers_half_the_places(tmp_path: Path) -> None:
    model = built(begun(tmp_path, {"model.pyramid": True, "model.layers": 2}))
    source = Padded.of([torch.tensor([4, 5, 6, 7, 1]), torch.tensor([4, 1])])
    assert model.encode(source).lengths.tolist() == [3, 1]


def test_the_moving_baseline_of_hard_attention_moves(tmp_path: Path) -> None:
    files = write_aligned(tmp_path, made_pairs(40))
    train("translation", files, tmp_path / "run", {**SHARED, "model.attention": "hard", "train.average": 0})
    weights = Run(tmp_path / "run").load("newest").tensors["weights"]
    symbols = len(weights["target_embedding.weight"])
    assert float(weights["attention_loss.baseline"]) > 0.05 - math.log(symbols)


def test_hard_attention_sees_expectations_before_it_draws(tmp_path: Path) -> None:
    """Up to `train.drawn_from` it learns as its scores would as soft attention; then it differs."""
    soft = {"train.precision": "float32", "model.dropout": 0.0, "train.entropy": 0.0}
    hard = {**soft, "model.attention": "hard", "train.drawn_from": 3}
    tasks = begun(tmp_path, soft), begun(tmp_path, hard)
    models = [built(task) for task in tasks]
    weights = {
        name.replace("attention.", "attention.content."): w for name, w in models[0].state_dict().items()
    }
    models[1].load_state_dict({**models[1].state_dict(), **weights})
    same = []
    for update in (0, 2, 3, 9):
        a, b = (
            float(task.examples().outcome(model, update, None).objective.detach())
            for task, model in zip(tasks, models, strict=True)
        )
        same.append(a == pytest.approx(b, abs=1e-5))
    assert same == [True, True, False, False]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"model.attention": "loving"}, r"model\.attention: expected one of additive, .* got 'loving'"),
        ({"model.attention_options": {"x": 1}}, r"model\.attention_options: additive takes size, got 'x'"),
        (
            {"model.attention": "local-p", "model.attention_options": {"width": 3}},
            r"model\.attention_options: local-p takes score, size, reach, got 'width'",
        ),
        ({"model.attention": "dot", "model.attention_options": {"size": 3}}, "dot takes none, got 'size'"),
        ({"model.copying": True}, r"model\.copying: both sides need one vocabulary; set data\.shared=true"),
        ({"model.copying": True, "model.pyramid": True, "data.shared": True}, r"model\.copying: a pyramid"),
        ({"model.attention": "none", "model.coverage": 1}, r"model\.coverage: needs an attention"),
        ({"model.attention": "none", "model.doubly_stochastic": 1}, r"model\.doubly_stochastic: needs"),
        ({"model.attention": "none", "model.attention_options.size": 3}, r"model\.attention_options: needs"),
        ({"model.coverage": -1}, r"model\.coverage: .*greater than or equal to 0, got -1"),
        ({"model.start": "middle"}, r"model\.start: .*'mean', 'last' or 'states'.*, got 'middle'"),
        ({"train.teaching": "sudden"}, r"train\.teaching: .*'linear', 'exponential' or 'sigmoid'"),
        ({"train.teaching_half": 0}, r"train\.teaching_half: .*greater than or equal to 1, got 0"),
        ({"model.kind": "transformer", "train.teaching": "linear"}, r"train\.teaching: of recurrent models"),
        ({"model.kind": "transformer", "model.pyramid": True}, r"model\.pyramid: of recurrent models"),
    ],
)
def test_what_does_not_fit_is_named_by_its_key(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make_config(TranslationTask, settings)


def test_values_that_no_model_can_have_are_told_before_there_is_a_run(tmp_path: Path) -> None:
    files = write_aligned(tmp_path, made_pairs(9))
    for settings, told in (
        ({"model.attention": "local-m", "model.attention_options": {"reach": 0}}, "expected a reach of at"),
        ({"model.attention": "location", "model.attention_options": {"width": "x"}}, "attention_options"),
        ({"model.start": "states", "model.pyramid": True, "model.hidden": 9}, "hidden must be even"),
    ):
        with pytest.raises(ConfigError, match=told):
            train("translation", files, tmp_path / "run", {**SETTINGS, **settings})
    assert not (tmp_path / "run").exists()


NAMES = 60
TEMPLATE = 6
"""Words that all sentences share; no vocabulary has a name."""


def name(index: int) -> str:
    """Six letters, as a function of a number."""
    return "".join(
        "abcdefghij"[n] for n in (counter.bits(9, torch.tensor(index), torch.arange(6)) % 10).tolist()
    )


def told_of(first: int, count: int) -> list[tuple[str, str]]:
    """Who lives where: each name stands in one sentence alone."""
    rows = []
    for place in range(first, first + count):
        who, where = name(2 * place), name(2 * place + 1)
        rows.append((f"hier wohnt {who} in {where}", f"{where} is where {who} lives"))
    return rows


@pytest.mark.parametrize("task", ["translation", "dialogue"])
def test_words_never_seen_are_copied(tmp_path: Path, task: str) -> None:
    """All names of the test are new; without copying not one could be written."""
    path = tmp_path / "train.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in told_of(0, NAMES)), "utf-8")
    settings = {
        **SHARED, "data.vocabulary": 3 + TEMPLATE, "data.valid_fraction": 0.1, "model.copying": True,
        "model.hidden": 32, "model.embedding": 16, "model.dropout": 0.0, "model.dropout_embedding": 0.0,
        "model.dropout_output": 0.0, "train.tokens": 150, "train.updates": 120, "train.average": 0.9,
        "train.evaluate_every": 120, "train.save_every": 120, "train.label_smoothing": 0.0,
    }  # fmt: skip
    train(task, [path], tmp_path / "run", settings)
    model = load(tmp_path / "run")
    assert isinstance(model, SequencePredictor)
    new = told_of(NAMES, 25)
    assert not set(" ".join(source for source, _ in new).split()) & set(model.task.target.symbols) - {
        "hier", "wohnt", "in",
    }  # fmt: skip
    sources = [source for source, _ in new]
    assert [one["text"] for one in model.predict(sources)] == [target for _, target in new]
    assert "".join(model.stream(sources[0])) == new[0][1]
    found = model.predict(sources[:1], prefixes=[new[0][1].split()[0]], alignment=True, best=3)[0]
    assert found["text"] == new[0][1]
    assert found["alignment"]["target"][:5] == new[0][1].split()


def kept_bytes(task: TranslationTask) -> int:
    """Weights with gradients and moments, and what torch keeps of the largest batch for its gradient."""
    torch.manual_seed(1)
    model, examples = task.build().train(), task.examples()
    sizes = [len(rows) * int(examples.data.target_lengths[rows].max()) for rows in examples.buckets.plan(0)]
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        examples.outcome(model, max(range(len(sizes)), key=lambda place: sizes[place]), None)
    return 16 * sum(p.numel() for p in model.parameters()) + sum(one.nbytes() for one in kept.values())


@pytest.mark.parametrize(
    "settings",
    [
        {"model.attention": "location"},
        {"model.coverage": 0.1, "train.tokens": 1200},
        {"model.copying": True, "data.vocabulary": 200},
        {"model.kind": "transformer", "model.heads": 2, "model.layers": 2},
        {"model.kind": "transformer", "model.heads": 2, "model.hidden": 128, "train.tokens": 1800},
    ],
)
def test_memory_is_about_what_torch_keeps(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Of models whose every array torch sees; what is only held for a moment is not in its count."""
    sizes = {"model.hidden": 64, "model.embedding": 32, "train.tokens": 600, "train.precision": "float32"}
    config = make_config(TranslationTask, {**SHARED, "data.valid_fraction": 0.0, **sizes, **settings})
    task = TranslationTask.begin(config, [write_table(tmp_path, made_pairs(400))])
    estimate = task.memory(task.build())
    assert 0.8 < estimate / kept_bytes(task) < 4
