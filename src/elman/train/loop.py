"""The training loop: batch, gradient, clip, step; now and then a validation and a checkpoint.

Everything that decides a number is a function of the settings and of the count of updates: the batch, the
masks, the rate. Nothing else has to be saved than weights, the optimizer's moments and the carried state, and
a run that was stopped, or killed at any moment, goes on exactly as it would have gone on.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
from torch import nn

from elman.cells import Cell, State
from elman.errors import ConfigError, DivergedError, RunError
from elman.runs import PROGRESS, Checkpoint, Run, checkpoint_name
from elman.tasks import find_task
from elman.tasks.base import Examples, Outcome, Stopped, Task
from elman.tasks.config import make_config
from elman.train.average import Average, split_trained, trained_tensors
from elman.train.checkpoint import (
    carry_tensors,
    optimizer_tensors,
    put_optimizer,
    take_carry,
)
from elman.train.memory import GIB, check_memory
from elman.train.optim import build_optimizer, clip, learning_rate
from elman.weights import put_weights, weights_of


class Reporter:
    """What training tells while it runs; this one says nothing."""

    def started(self, run: Run, update: int, updates: int, description: str) -> None:
        """Before the first update, or the first after a resume."""

    def updated(self, record: Mapping[str, Any]) -> None:
        """After every update, with its record."""

    def validating(self) -> None:
        """Before a validation."""

    def validated(self, record: Mapping[str, Any]) -> None:
        """After a validation, with its record."""

    def saved(self, path: Path) -> None:
        """After a checkpoint."""


@dataclass(frozen=True)
class Result:
    """How training ended: `reason` is finished, minutes, or the name of a signal."""

    run: Path
    update: int
    reason: str


@dataclass
class _Progress:
    """What is counted while training; saved with each checkpoint."""

    update: int = 0
    symbols: int = 0
    seconds: float = 0.0
    smoothed: float | None = None


@dataclass
class _Stop:
    """Set by a signal; asked between updates."""

    reason: str | None = None
    deadline: float = math.inf

    def __call__(self) -> bool:
        if self.reason is None and time.monotonic() >= self.deadline:
            self.reason = "minutes"
        return self.reason is not None


@dataclass
class _Training:
    """The parts of one training process."""

    run: Run
    task: Task
    examples: Examples
    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None
    carry: State | None
    progress: _Progress
    reporter: Reporter
    saved_at: float


def train(
    task: str,
    files: Sequence[str | Path],
    run: str | Path,
    settings: Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    config: str | Path | None = None,
    minutes: float | None = None,
    resume: bool = False,
    cell: type[Cell] | None = None,
    reporter: Reporter | None = None,
    notify: Callable[[str], None] = lambda step: None,
) -> Result:
    """Trains `task` on `files` into the folder `run`, from the start or (`resume`) from where it stopped.

    settings: by key with dots, {"model.hidden": 512}; preset, config: see elman.tasks.config. minutes: stop,
    saved and resumable, after so long. cell: a class of your own, for settings whose model.cell is not in the
    table. A resumed run goes on from its newest checkpoint and keeps its settings; `files`, where given, are
    the same files in another place. SIGTERM and SIGINT save and return. notify: told the steps of every save
    (for tests).

    Raises ConfigError, DataError, RunError, or DivergedError where loss or gradient are no longer finite.
    """
    if minutes is not None and not minutes > 0:
        raise ConfigError(f"minutes: expected more than 0, got {minutes}")
    folder, bound = (
        _reopen(run, task, files, settings or {}, preset, config, cell, notify)
        if resume
        else _begin(run, task, files, settings or {}, preset, config, cell, notify)
    )
    with folder.lock(), _signals(_Stop()) as stop:
        training = _assemble(folder, bound, cell, reporter or Reporter())
        stop.deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
        _loop(training, stop)
        return Result(folder.path, training.progress.update, stop.reason or "finished")


def _begin(
    run: str | Path,
    name: str,
    files: Sequence[str | Path],
    settings: Mapping[str, Any],
    preset: str | None,
    config: str | Path | None,
    cell: type[Cell] | None,
    notify: Callable[[str], None],
) -> tuple[Run, Task]:
    """A new run folder, made only when files, settings and sizes have been found good."""
    kind = find_task(name)
    made = make_config(kind, settings, preset=preset, file=config)
    if not files:
        raise ConfigError(f"{name}: expected at least one file to train on")
    task = kind.begin(made, [str(Path(path).absolute()) for path in files])
    _check_size(task, cell)
    task.examples()
    description = {
        "elman": version("elman"),
        "task": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": made.model_dump(mode="json"),
        "files": task.files,
    }
    return Run.create(run, description, task.codec_json(), notify), task


def _reopen(
    run: str | Path,
    name: str,
    files: Sequence[str | Path],
    settings: Mapping[str, Any],
    preset: str | None,
    config: str | Path | None,
    cell: type[Cell] | None,
    notify: Callable[[str], None],
) -> tuple[Run, Task]:
    """An existing run with its own settings; raises ConfigError where others were given."""
    folder = Run(run, notify)
    task = folder.task()
    if name != task.name:
        raise ConfigError(f"{run}: this run is a {task.name}, not a {name}")
    if preset is not None or config is not None:
        raise ConfigError("--resume: a run keeps its settings; leave the preset and the settings file out")
    for key, value in settings.items():
        if make_config(type(task), {**task.config.model_dump(mode="json"), key: value}) != task.config:
            raise ConfigError(
                f"--resume: a run keeps its settings, and {key} is not {value!r} in this one (elman info "
                f"{run} shows them); leave it out, or begin a new run"
            )
    if len(files) > len(task.files):
        raise ConfigError(
            f"--resume: this run reads {len(task.files)} files, got {len(files)}; name the same ones, or none"
        )
    for entry, path in zip(task.files, files, strict=False):
        entry["path"] = str(Path(path).absolute())
    _check_size(task, cell)
    return folder, task


def _check_size(task: Task, cell: type[Cell] | None) -> None:
    """Counts the model on no device at all, before any of it is made.

    Raises ConfigError where it cannot fit.
    """
    try:
        with torch.device("meta"):
            empty = task.build(cell)
    except RuntimeError as error:
        if "overflow" in str(error):  # of torch's own count of bytes
            raise ConfigError(f"a model of these sizes needs more than {2**63 / GIB:,.0f} GiB") from error
        if cell is None:
            raise
        # A cell of the user's own may look at numbers when it is made, and there are none on no device.
        with torch.random.fork_rng(devices=[]):
            empty = task.build(cell)
    weights = sum(parameter.numel() for parameter in empty.parameters())
    averaged = 3 * 4 * weights if task.config.train.average else 0  # it, and two copies around a validation
    check_memory(task.memory(empty) + averaged, f"training this model of {weights:,} weights")


def _assemble(run: Run, task: Task, cell: type[Cell] | None, reporter: Reporter) -> _Training:
    """The model, the optimizer and where training stands: at the start, or at the newest checkpoint."""
    settings = task.config.train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = task.build(cell)
    optimizer = build_optimizer(model, settings)
    examples = task.examples()
    average = Average(model, settings.average) if settings.average else None
    carry, progress = examples.carry(model), _Progress()
    if run.checkpoints():
        checkpoint = run.load("newest", ("weights", "optimizer", "carry"))
        place = str(checkpoint.path / "optimizer.safetensors")
        trained, moments = split_trained(checkpoint.tensors["optimizer"])
        put_weights(model, checkpoint.tensors["weights"], str(checkpoint.path / "weights.safetensors"))
        if average is not None:
            average = Average(model, settings.average)
            put_weights(model, trained, place)
        put_optimizer(model, optimizer, moments, place)
        carry = take_carry(carry, checkpoint.tensors["carry"], str(checkpoint.path / "carry.safetensors"))
        progress = _progress_in(checkpoint)
    run.keep_records(progress.update)
    model.train()
    return _Training(
        run, task, examples, model, optimizer, average, carry, progress, reporter, time.monotonic()
    )  # fmt: skip


def _progress_in(checkpoint: Checkpoint) -> _Progress:
    try:
        return _Progress(**checkpoint.progress)
    except TypeError as error:
        raise RunError(
            f"{checkpoint.path / PROGRESS}: not what this version of elman writes there: {error}"
        ) from error


def _loop(training: _Training, stop: _Stop) -> None:
    """Updates until the last one, or until asked to stop."""
    settings, progress = training.task.config.train, training.progress
    training.reporter.started(training.run, progress.update, settings.updates, training.examples.describe())
    try:
        _validate_if_due(training, stop)
        while progress.update < settings.updates and not stop():
            _update(training)
            if progress.update == settings.updates or progress.update % settings.evaluate_every == 0:
                _save(training)
                _validate_if_due(training, stop)
            elif (
                progress.update % settings.save_every == 0
                or time.monotonic() - training.saved_at >= 60 * settings.save_minutes
            ):
                _save(training)
    except Stopped:
        pass  # a validation left unfinished is done again on resume, since no record of it was written
    if progress.update:
        _save(training)


def _update(training: _Training) -> None:
    """One batch: loss, gradient, clipping, step, record."""
    began = time.monotonic()
    progress, settings, model = training.progress, training.task.config.train, training.model
    rate = learning_rate(settings, progress.update)
    training.optimizer.zero_grad(set_to_none=True)
    outcome = training.examples.outcome(model, progress.update, training.carry)
    _check_finite(training, outcome, "loss", outcome.rate.total)
    outcome.objective.backward()
    norm = float(clip(model, settings))
    _check_finite(training, outcome, "gradient", norm)
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    training.optimizer.step()

    loss = outcome.rate.nats
    training.carry = outcome.carry
    progress.update += 1
    if training.average is not None:
        training.average.take(model, progress.update)
    progress.symbols += outcome.rate.symbols
    if outcome.rate.symbols:  # a window may have nothing to predict: a document's last symbol alone
        before = loss if progress.smoothed is None else progress.smoothed
        progress.smoothed = settings.smoothing * before + (1 - settings.smoothing) * loss
    progress.seconds += time.monotonic() - began
    smoothed = loss if progress.smoothed is None else progress.smoothed
    record = {
        "kind": "train", "update": progress.update, "loss": loss, "smoothed": smoothed, "learning_rate": rate,
        "gradient_norm": norm, "symbols": progress.symbols, "seconds": round(progress.seconds, 3),
    }  # fmt: skip
    training.run.record(record)
    training.reporter.updated(record)


def _check_finite(training: _Training, outcome: Outcome, what: str, value: float) -> None:
    """Stops before the step: the weights are still those of the last good update, and are saved."""
    if math.isfinite(value):
        return
    seen = f"the {what} is {value} at {outcome.place}"
    if not training.progress.update:
        _diverged(training, f"{seen}; no update was made")
    _save(training, seen)
    _diverged(training, f"{seen}; the weights before it are in {checkpoint_name(training.progress.update)}")


def _diverged(training: _Training, what: str) -> NoReturn:
    raise DivergedError(
        f"{training.run.path}: {what}; begin a new run with a lower train.learning_rate or train.clip_norm"
    )


def _validate_if_due(training: _Training, stop: _Stop) -> None:
    """Validates at every `evaluate_every` updates and at the end, unless that has been recorded."""
    settings, update = training.task.config.train, training.progress.update
    if not update or (update % settings.evaluate_every and update != settings.updates):
        return
    if any(record["kind"] == "valid" and record["update"] == update for record in training.run.records()):
        return
    training.reporter.validating()
    training.model.eval()
    with training.average.within(training.model) if training.average else nullcontext():
        figures = training.task.validate(training.model, stop)
    training.model.train()
    record = {"kind": "valid", "update": update, **figures, "seconds": round(training.progress.seconds, 3)}
    training.run.record(record)
    training.reporter.validated(record)


def _save(training: _Training, after: str = "") -> None:
    """A checkpoint of finite weights; raises DivergedError, beginning with `after`, where they are not."""
    weights, update = weights_of(training.model), training.progress.update
    if not all(bool(values.isfinite().all()) for values in weights.values()):
        earlier = [path.name for path in training.run.checkpoints()]
        newest = f"the newest checkpoint is {earlier[-1]}" if earlier else "there is no checkpoint"
        what = f"the weights after update {update} are not finite and were not saved; {newest}"
        _diverged(training, f"{after}; {what}" if after else what)
    tensors = {
        "weights": weights,
        "optimizer": optimizer_tensors(training.model, training.optimizer),
        "carry": carry_tensors(training.carry),
    }
    if training.average is not None:
        tensors["weights"] = training.average.tensors
        tensors["optimizer"] |= trained_tensors(training.model)
    path = training.run.save(update, tensors, vars(training.progress))
    training.saved_at = time.monotonic()
    training.reporter.saved(path)


@contextmanager
def _signals(stop: _Stop) -> Iterator[_Stop]:
    """SIGTERM and SIGINT ask for a stop; a second one ends the process. Only the main thread listens.

    One that is ignored stays so: a process in the background is not to be stopped by Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    before = {n: handler for n, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.reason = signal.Signals(number).name
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
