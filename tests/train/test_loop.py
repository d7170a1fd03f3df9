"""The training loop: what it tells, when it saves, and how it stops where numbers cease to be finite.

Divergence is real here: a learning rate that is too high for a recurrence without bounds, and a cell whose
gradient is infinite at one symbol of the text. Stopping and resuming are in test_resume.py.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import elman
from elman.cells import Cell, ElmanCell
from elman.cells.base import Record
from elman.errors import ConfigError, DataError, DivergedError, RunError
from elman.runs import Run
from elman.train import Reporter, Result, train
from elman.train.optim import learning_rate
from small_runs import (
    PLAIN,
    SETTINGS,
    leftovers,
    records,
    resume_small,
    state,
    train_small,
    updates_of,
    write_text,
)


@pytest.fixture(autouse=True)
def _no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing is for power cuts, which nothing here makes; on a busy disk it takes most of the time."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text"))


class Diary(Reporter):
    """Everything that was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def started(self, run: Run, update: int, updates: int, description: str) -> None:
        self.told.append(("started", run.path.name, update, updates, description))

    def updated(self, record: Mapping[str, Any]) -> None:
        self.told.append(("updated", record["update"]))

    def validating(self) -> None:
        self.told.append(("validating",))

    def validated(self, record: Mapping[str, Any]) -> None:
        self.told.append(("validated", record["update"]))

    def saved(self, path: Path) -> None:
        self.told.append(("saved", path.name))


def test_what_is_told_and_when(text: Path, tmp_path: Path) -> None:
    diary = Diary()
    result = train_small(text, tmp_path / "run", PLAIN, diary)
    assert result == Result(tmp_path / "run", 6, "finished")
    assert diary.told[0][:4] == ("started", "run", 0, 6)
    assert "810 characters for training" in diary.told[0][4]
    validation = [("validating",), ("validated",)]
    expected: list[tuple[Any, ...]] = []
    for update in range(1, 7):
        expected.append(("updated", update))
        if update in (2, 3, 4, 6):
            expected.append(("saved", f"update-0000000{update}"))
        if update in (3, 6):
            expected += [validation[0], (*validation[1], update)]
    assert diary.told[1 : len(expected) + 1] == expected
    assert set(diary.told[len(expected) + 1 :]) <= {("saved", "update-00000006")}


def test_what_is_recorded(text: Path, tmp_path: Path) -> None:
    train_small(text, tmp_path / "run", SETTINGS)
    found = Run(tmp_path / "run")
    trained = [record for record in found.records() if record["kind"] == "train"]
    config = found.task().config.train
    smoothed = trained[0]["loss"]
    for row, record in enumerate(trained):
        assert record["update"] == row + 1
        assert record["learning_rate"] == learning_rate(config, row)
        smoothed = 0.98 * smoothed + (1 - 0.98) * record["loss"]
        assert record["smoothed"] == pytest.approx(smoothed, rel=1e-12)
        assert record["symbols"] == (row + 1) * 15, (
            "three streams of five new symbols, none at a document's end"
        )
        assert 0 < record["gradient_norm"] < math.inf
    seconds = [record["seconds"] for record in trained]
    assert seconds == sorted(seconds)
    valid = [record for record in found.records() if record["kind"] == "valid"]
    assert [record["update"] for record in valid] == [6, 12, 18, 24]
    evaluated = elman.evaluate(tmp_path / "run", checkpoint="newest")
    assert evaluated["nats"] == pytest.approx(valid[-1]["nats"], rel=1e-6), (
        "the weights that were measured were saved"
    )


def test_what_a_run_remembers(text: Path, tmp_path: Path) -> None:
    train_small(text, tmp_path / "run", PLAIN)
    description = Run(tmp_path / "run").description
    assert description.keys() == {"format", "elman", "task", "created", "config", "files"}
    assert description["files"] == [
        {"path": str(text), "size": 900, "sha256": description["files"][0]["sha256"]}
    ]
    assert description["config"]["model"]["hidden"] == PLAIN["model.hidden"]
    assert description["config"]["train"]["learning_rate"] == 3e-3, "defaults are written down too"


def test_a_relative_file_is_found_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    monkeypatch.chdir(tmp_path)
    train("language-model", ["text.txt"], "run", {**PLAIN, "train.updates": 2})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert train("language-model", [], "../run", resume=True).reason == "finished"


# Numbers that are no longer finite

EXPLOSIVE: dict[str, Any] = {
    **PLAIN, "train.optimizer": "sgd", "train.clip_norm": None, "train.weight_decay": 0.0,
    "train.schedule": "constant", "train.warmup": 0, "train.updates": 50, "train.window": 12,
    "train.save_every": 100, "train.evaluate_every": 50,
}  # fmt: skip


def weights(run: Path, which: str = "newest") -> dict[str, Tensor]:
    return Run(run).load(which).tensors["weights"]


def finite(run: Path) -> bool:
    return all(bool(values.isfinite().all()) for values in weights(run).values())


@pytest.mark.parametrize(
    ("nonlinearity", "rate"), [("identity", 3.0), ("identity", 30.0), ("identity", 1e3), ("relu", 1e4)]
)
def test_a_recurrence_that_explodes(nonlinearity: str, rate: float, text: Path, tmp_path: Path) -> None:
    run, diary = tmp_path / "run", Diary()
    settings = {**EXPLOSIVE, "model.options": {"nonlinearity": nonlinearity}, "train.learning_rate": rate}
    with pytest.raises(DivergedError) as caught:
        train_small(text, run, settings, diary)
    update = updates_of(run)[-1]
    assert 0 < update < 50
    said = str(caught.value)
    assert said.startswith(f"{run}: the "), said
    assert f" at update {update}, text positions {update * 12}, {405 + update * 12}; " in said
    assert f"the weights before it are in update-{update:08d}; begin a new run with a lower" in said
    assert Run(run).checkpoints()[-1].name == f"update-{update:08d}"
    assert finite(run)
    assert diary.told[-1] == ("saved", f"update-{update:08d}")
    assert leftovers(run) == []
    assert all(math.isfinite(record["loss"]) for record in Run(run).records())


def test_a_run_that_diverged_says_so_again(text: Path, tmp_path: Path) -> None:
    """Resumed, it comes to the same batch with the same weights: nothing is done and nothing is lost."""
    run = tmp_path / "run"
    settings = {**EXPLOSIVE, "model.options": {"nonlinearity": "identity"}, "train.learning_rate": 3.0}
    with pytest.raises(DivergedError) as first:
        train_small(text, run, settings)
    before = records(run), state(run), sorted(run.rglob("*"))
    with pytest.raises(DivergedError) as second:
        resume_small(text, run)
    assert str(second.value) == str(first.value)
    assert (records(run), state(run), sorted(run.rglob("*"))) == before
    assert elman.load(run).predict(["abc"]), "and what was saved can be used"


def test_the_first_batch_may_be_the_one(tmp_path: Path) -> None:
    text = write_text(tmp_path)
    run = tmp_path / "run"
    with pytest.raises(
        DivergedError, match=r"at update 0, text positions 0, 405; no update was made; begin a new run"
    ):
        train_small(text, run, {**PLAIN, "model.initialization": "normal", "model.scale": 1e38})
    assert (Run(run).checkpoints(), Run(run).records()) == ([], [])


def test_weights_that_are_not_finite_are_not_saved(text: Path, tmp_path: Path) -> None:
    """A step from finite gradients may still leave the range of a float."""
    run = tmp_path / "run"
    huge = {**EXPLOSIVE, "model.cell": "lstm", "train.learning_rate": 3e38, "train.optimizer": "adamw"}
    with pytest.raises(DivergedError) as caught:
        train_small(text, run, {**huge, "train.weight_decay": 1e38})
    said = str(caught.value)
    assert " at update 1, text positions 12, 417; the weights after update 1 are not finite" in said
    assert "were not saved; there is no checkpoint; begin a new run" in said
    assert Run(run).checkpoints() == []

    with pytest.raises(DivergedError) as caught:  # where a save is due before the next batch could tell
        train_small(text, tmp_path / "due", {**huge, "train.weight_decay": 1e38, "train.save_every": 1})
    assert "due: the weights after update 1 are not finite and were not saved" in str(caught.value)
    assert leftovers(tmp_path / "due") == []


class Mine(Cell):
    """h' = tanh(W x + h / 2)"""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight = nn.Parameter(torch.empty(hidden_size, input_size))
        self.reset_parameters()

    def initial_state(self, batch_size: int) -> Tensor:
        return self.zeros(batch_size, self.hidden_size)

    def step(self, x: Tensor, state: Tensor, record: Record | None = None) -> tuple[Tensor, Tensor]:
        h = torch.tanh(x @ self.weight.T + state / 2)
        return h, h


class Cliff(Mine):
    """At the symbol ~ the sum of something that is 0 and whose gradient is infinite, or of NaN itself."""

    def __init__(self, input_size: int, hidden_size: int, over: str) -> None:
        super().__init__(input_size, hidden_size)
        self.over = over

    def step(self, x: Tensor, state: Tensor, record: Record | None = None) -> tuple[Tensor, Tensor]:
        h, _ = super().step(x, state)
        if bool(x[:, -1].any()):  # one-hot, and ~ comes last
            zero = self.weight.sum() - self.weight.sum().detach()
            h = h + (zero.sqrt() if self.over == "gradient" else zero * math.nan)
        return h, h


@pytest.mark.parametrize(("over", "seen"), [("gradient", "gradient"), ("value", "loss")])
def test_the_batch_is_named_and_the_step_not_made(over: str, seen: str, tmp_path: Path) -> None:
    letters = write_text(tmp_path).read_text()
    text = tmp_path / "cliff.txt"
    text.write_text(f"{letters[:42]}~{letters[43:]}")
    settings = {
        **PLAIN, "model.cell": "file:Cliff", "model.options": {"over": over}, "train.batch": 1,
        "train.window": 8, "train.updates": 9, "train.save_every": 100, "train.evaluate_every": 100,
    }  # fmt: skip

    class Stop(Reporter):
        """Stops the other run where this one has to stop by itself."""

        def updated(self, record: Mapping[str, Any]) -> None:
            if record["update"] == 5:
                raise KeyboardInterrupt

    run, stopped = tmp_path / "run", tmp_path / "stopped"
    with pytest.raises(DivergedError) as caught:
        train_small(text, run, settings, cell=Cliff)
    # Position 42 is in the sixth window of eight symbols, and that is update 5, counted from 0.
    said = str(caught.value)
    assert f"the {seen} is " in said
    assert "at update 5, text positions 40; the weights before it are in update-00000005" in said
    assert updates_of(run) == [1, 2, 3, 4, 5]
    assert finite(run)
    with pytest.raises(KeyboardInterrupt):
        train_small(text, stopped, {**settings, "train.save_every": 5}, Stop(), cell=Cliff)
    with pytest.raises(DivergedError):
        resume_small(text, stopped, cell=Cliff)
    assert state(run) == state(stopped), "saved by the divergence as a save before it would have been"
    with pytest.raises(DivergedError):
        resume_small(text, run, cell=Cliff)


def test_a_cell_of_ones_own_is_given_anew(text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = {**PLAIN, "model.cell": "file:Mine", "train.updates": 4}
    train_small(text, run, settings, cell=Mine)
    with pytest.raises(ConfigError, match="a cell of your own must be given anew with --cell FILE:CLASS"):
        resume_small(text, run)
    with pytest.raises(ConfigError, match="a cell of your own must be given anew"):
        elman.load(run)
    assert resume_small(text, run, cell=Mine).reason == "finished"
    with pytest.raises(
        RunError, match=r"weights.safetensors: '.*' is missing .* the file is not of this run"
    ):
        resume_small(text, run, cell=ElmanCell)


class Scaled(Mine):
    """Looks at its own numbers when it is made, as networks with a given spectral radius do."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        norm = float(self.weight.detach().norm())
        with torch.no_grad():
            self.weight.div_(norm)


def test_a_cell_that_looks_at_its_numbers(text: Path, tmp_path: Path) -> None:
    settings = {**PLAIN, "model.cell": "file:Scaled"}
    assert train_small(text, tmp_path / "run", settings, cell=Scaled).reason == "finished"


# What is refused before a folder is made


@pytest.mark.parametrize(
    ("task", "settings", "options", "kind", "said"),
    [
        ("tagger", {}, {}, ConfigError, "expected one of language-model, .*got 'tagger'"),
        ("language-model", {"model.hiden": 3}, {}, ConfigError, "unknown key 'model.hiden'.*model.hidden"),
        ("language-model", {"model.hidden": 0}, {}, ConfigError, "model.hidden"),
        ("language-model", {"model.layers": 10**9}, {}, ConfigError, "model.layers: .* 1000"),
        ("language-model", {"train.seed": 2**63}, {}, ConfigError, "train.seed"),
        ("language-model", {"model.cell": "transformer"}, {}, ConfigError, "model.cell: expected one of"),
        ("language-model", {"model.cell": "mine:Cell"}, {}, ConfigError, "model.cell"),
        ("language-model", {"model.options": {"colour": 1}}, {}, ConfigError, "model.options"),
        ("language-model", {"train.window": 5000}, {}, DataError, "a window needs 5001"),
        ("language-model", {"train.batch": 811}, {}, DataError, "810 symbols for 811 streams"),
        ("language-model", {}, {"minutes": 0}, ConfigError, "minutes: expected more than 0, got 0"),
        ("language-model", {}, {"minutes": math.nan}, ConfigError, "minutes: expected more than 0, got nan"),
        (
            "language-model",
            {},
            {"preset": "max-char-rnn"},
            ConfigError,
            "preset: expected one of min-char-rnn",
        ),
    ],
)
def test_what_is_refused_before_a_folder_is_made(
    task: str,
    settings: dict[str, Any],
    options: dict[str, Any],
    kind: type[Exception],
    said: str,
    text: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(kind, match=said):
        train(task, [text], tmp_path / "run", {**PLAIN, **settings}, **options)
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_read_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected at least one file"):
        train("language-model", [], tmp_path / "run")
    with pytest.raises(DataError, match=r"nothing.txt: no such file"):
        train("language-model", [tmp_path / "nothing.txt"], tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_there_is_not_overwritten(text: Path, tmp_path: Path) -> None:
    train_small(text, tmp_path / "run", PLAIN)
    before = records(tmp_path / "run"), state(tmp_path / "run")
    with pytest.raises(RunError, match=r"run: already exists; go on with it by --resume"):
        train_small(text, tmp_path / "run", PLAIN)
    assert (records(tmp_path / "run"), state(tmp_path / "run")) == before
