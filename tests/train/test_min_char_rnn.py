"""The preset min-char-rnn is the NumPy model of its equations, digit by digit.

At its rate of 0.1 the sequence of updates is chaotic: the oracle and the oracle with weights that differ in
the last digit are 0.1 apart after 200 updates. So there the two go in step, each update from the same
weights; and through `elman.train`, from the first update to the last, at a rate of 0.01, where nothing is
amplified.
"""

import random
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import oracles
from elman.data.codec import CharacterCodec
from elman.models.language_model import LanguageModel
from elman.runs import Run
from elman.tasks.config import make_config
from elman.tasks.language_model import LanguageModelConfig, LanguageModelTask
from elman.tasks.language_predictor import LanguagePredictor
from elman.train import train
from elman.train.optim import build_optimizer, clip, learning_rate
from elman.weights import put_weights
from language_oracles import fits
from oracles import Array
from oracles_min_char_rnn import LIMIT, WINDOW, MinCharRNN

UPDATES = 200

NAMES = {
    "stack.cells.0.weight_ih": "Wxh",
    "stack.cells.0.weight_hh": "Whh",
    "head.weight": "Why",
    "stack.cells.0.bias_ih": "bh",
    "head.bias": "by",
}


@pytest.fixture(scope="module", autouse=True)
def _float64() -> Iterator[None]:
    """Models are built, trained and saved in double precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def prose(length: int) -> str:
    """Something like prose: words drawn from few, so that there is something to learn."""
    words = (
        "the",
        "recurrent",
        "net",
        "reads",
        "one",
        "symbol,",
        "guesses",
        "next;",
        "and",
        "is",
        "told.",
        "Why",
    )
    draw = random.Random(0)
    text = ""
    while len(text) < length:
        text += draw.choice(words) + draw.choice("    \n")
    return text[:length]


def weights_of(model: nn.Module) -> dict[str, Array]:
    named = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    assert set(named) == set(NAMES)  # no second bias, no embedding: what the equations have and nothing more
    return {NAMES[name]: value for name, value in named.items()}


def trained(folder: Path, files: list[Path], updates: int) -> tuple[Run, LanguageModelTask, MinCharRNN]:
    """The run at a rate of 0.01, its task, and the oracle with the weights that it began with."""
    settings = {"train.updates": updates, "data.valid_fraction": 0.0, "train.learning_rate": 0.01}
    train("language-model", files, folder / "run", settings, preset="min-char-rnn")
    run = Run(folder / "run")
    task = run.task()
    assert isinstance(task, LanguageModelTask)
    torch.manual_seed(task.config.train.seed)
    return run, task, MinCharRNN(weights_of(task.build()), rate=0.01)


def model_of(run: Run, task: LanguageModelTask) -> LanguageModel:
    model = task.build()
    put_weights(model, run.load("newest").tensors["weights"], "weights")
    return model


def windows(text: str) -> Iterator[tuple[list[int], list[int]]]:
    """The text in windows of 25 symbols, as their places in the alphabet, with those that follow."""
    alphabet = sorted(set(text))
    ids = [alphabet.index(symbol) for symbol in text]
    for start in range(0, len(text) - WINDOW, WINDOW):
        yield ids[start : start + WINDOW], ids[start + 1 : start + WINDOW + 1]


TEXT = prose(UPDATES * WINDOW + 1)
Learnt = tuple[Run, LanguageModelTask, MinCharRNN, list[float]]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory, _float64: None) -> Learnt:
    """200 updates by elman and by NumPy from the same weights: the run, its task, the oracle, its losses."""
    folder = tmp_path_factory.mktemp("min-char-rnn")
    (folder / "text.txt").write_text(TEXT, "utf-8")
    run, task, oracle = trained(folder, [folder / "text.txt"], UPDATES)
    return run, task, oracle, [oracle.update(*window) for window in windows(TEXT)]


def test_in_step_at_its_own_rate(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    config = make_config(LanguageModelTask, {"data.valid_fraction": 0.0}, preset="min-char-rnn")
    assert isinstance(config, LanguageModelConfig)
    task = LanguageModelTask.begin(config, [str(tmp_path / "text.txt")])
    settings, examples = task.config.train, task.examples()
    torch.manual_seed(settings.seed)
    model = task.build()
    optimizer = build_optimizer(model, settings)
    carry = examples.carry(model)
    oracle = MinCharRNN(weights_of(model))
    largest, furthest, losses = 0.0, 0.0, []
    for update, window in enumerate(windows(TEXT)):
        optimizer.zero_grad()
        outcome = examples.outcome(model, update, carry)
        outcome.objective.backward()
        largest = max(largest, *(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None))
        clip(model, settings)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, update)
        optimizer.step()
        carry = outcome.carry
        assert carry is not None

        loss = oracle.update(*window)
        losses.append(loss)
        assert outcome.objective.item() == pytest.approx(outcome.rate.total, rel=1e-15)
        memory = {NAMES[name]: optimizer.state[p]["sum"].numpy() for name, p in model.named_parameters()}
        pairs = [(outcome.rate.total, loss), (carry.layers[0].h[0].numpy(), oracle.h)]
        pairs += [(value, oracle.weights[name]) for name, value in weights_of(model).items()]
        pairs += [(value, oracle.memory[name]) for name, value in memory.items()]
        furthest = max(furthest, *(float(np.abs(np.subtract(a, b)).max()) for a, b in pairs))
        assert furthest < 1e-9, update
        oracle.go_on_from(weights_of(model), memory, carry.layers[0].h[0].numpy())
    assert len(losses) == UPDATES
    assert largest > LIMIT  # what cuts gradients off was put to the test
    assert np.mean(losses[-20:]) < np.mean(losses[:20])


def test_it_begins_with_small_normal_weights_and_zero_biases(learnt: Learnt) -> None:
    _, task, _, _ = learnt
    torch.manual_seed(1)
    weights = weights_of(task.build())
    symbols = len(task.codec)
    assert {name: value.shape for name, value in weights.items()} == {
        "Wxh": (100, symbols), "Whh": (100, 100), "Why": (symbols, 100), "bh": (100,), "by": (symbols,)
    }  # fmt: skip
    assert not weights["bh"].any()
    assert not weights["by"].any()
    for name in ("Wxh", "Whh", "Why"):
        assert weights[name].std() == pytest.approx(0.01, rel=0.1)
        assert abs(weights[name].mean()) < 0.001


def test_losses(learnt: Learnt) -> None:
    run, _, _, losses = learnt
    records = [record for record in run.records() if record["kind"] == "train"]
    assert [record["update"] for record in records] == list(range(1, 201))
    assert max(abs(r["loss"] * WINDOW - loss) for r, loss in zip(records, losses, strict=True)) < 1e-9
    assert losses[-1] < 0.7 * losses[0]  # it has learnt something


def test_weights(learnt: Learnt) -> None:
    run, task, oracle, _ = learnt
    for name, value in weights_of(model_of(run, task)).items():
        assert value.dtype == np.float64
        assert np.abs(value - oracle.weights[name]).max() < 1e-9, name
        assert np.abs(value).max() > 0.05


def test_memory_of_the_optimizer_and_state_between_windows(learnt: Learnt) -> None:
    run, _, oracle, _ = learnt
    tensors = run.load("newest", ("optimizer", "carry")).tensors
    for name, short in NAMES.items():
        assert np.abs(tensors["optimizer"][f"sum/{name}"].numpy() - oracle.memory[short]).max() < 1e-9
    assert np.abs(tensors["carry"]["layers.0.h"][0].numpy() - oracle.h).max() < 1e-9


def test_smoothed_loss(learnt: Learnt) -> None:
    run, _, oracle, losses = learnt
    shown = [record["smoothed"] for record in run.records() if record["kind"] == "train"]
    smoothed = losses[0] / WINDOW
    for got, loss in zip(shown, losses, strict=True):
        smoothed = smoothed * 0.999 + loss / WINDOW * 0.001
        assert abs(got - smoothed) < 1e-9
    assert oracle.smoothed == pytest.approx(shown[-1], abs=1e-9)


def test_round_and_round_two_documents(tmp_path: Path) -> None:
    """A text shorter than the run: a circle, each document from the zero state, no guess across a seam."""
    texts = [prose(70), prose(150)[100:]]
    files = []
    for row, text in enumerate(texts):
        files.append(tmp_path / f"{row}.txt")
        files[-1].write_text(text, "utf-8")
    run, task, oracle = trained(tmp_path, files, 40)
    alphabet = sorted(set("".join(texts)))
    symbols = [alphabet.index(symbol) for symbol in "".join(texts)]
    places, losses = [t % 120 for t in range(40 * WINDOW + 1)], []
    for start in range(0, 40 * WINDOW, WINDOW):
        window = places[start : start + WINDOW]
        targets = [None if p in (69, 119) else symbols[p + 1] for p in window]
        losses.append(oracle.update([symbols[p] for p in window], targets, [p in (0, 70) for p in window]))
    records = [record for record in run.records() if record["kind"] == "train"]
    counts = np.diff([0, *(record["symbols"] for record in records)])
    assert counts.min() == WINDOW - 1
    for record, count, loss in zip(records, counts, losses, strict=True):
        assert abs(record["loss"] * count - loss) < 1e-9
    for name, value in weights_of(model_of(run, task)).items():
        assert np.abs(value - oracle.weights[name]).max() < 1e-9, name


def test_samples_follow_its_softmax(learnt: Learnt) -> None:
    """Each symbol is where the oracle's cumulative sum passes the uniform number; they are spread evenly."""
    run, task, oracle, _ = learnt
    assert isinstance(task.codec, CharacterCodec)
    drawn = LanguagePredictor(model_of(run, task), task.codec).generate("the", length=1200, seed=3).ids
    h = np.zeros_like(oracle.h)
    p = np.zeros(0)
    for index in task.codec.encode("the").tolist():
        h, p = oracle.step(index, h)
    place = random.Random(1)
    bins = torch.zeros(20)
    for position, index in enumerate(drawn, 3):
        cumulative = list(accumulate(p))
        uniform = oracles.counter_uniform(3, position, 0) * cumulative[-1]
        assert index == sum(uniform >= total for total in cumulative)
        below = cumulative[index] - p[index]
        bins[int((below + place.random() * p[index]) / cumulative[-1] * 20)] += 1
        h, p = oracle.step(index, h)
    assert fits(bins, torch.full((20,), 1 / 20)) > 1e-3
