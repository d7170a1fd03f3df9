"""What a task is: how files become examples, the model, the loss, the metrics and the predictions.

A task is one file in this folder and one line in `elman.tasks.TASKS`. Its settings are a tree of pydantic
models in which an unknown key is an error; the training loop, the run folder and the command line know tasks
only through this file.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from torch import Tensor, nn

from elman.cells import Cell, State
from elman.errors import DataError
from elman.metrics.language import Rate
from elman.streaming import Precision


class Settings(BaseModel):
    """A table of settings; unknown keys are errors, and nothing changes once it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _none(cls, values: Any) -> Any:
        """The word none is the value None where a setting has it: TOML has no other way to write it."""
        if not isinstance(values, dict):
            return values
        optional = {
            name for name, field in cls.model_fields.items() if NoneType in get_args(field.annotation)
        }
        return {key: None if key in optional and value == "none" else value for key, value in values.items()}


Files = Annotated[
    tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)
]
"""Paths; one alone need not stand in a list."""

Momentum = Annotated[float, Field(ge=0, lt=1)]
"""The part of a running average that is kept."""


class TrainSettings(Settings):
    """How any task is trained. Everything that depends on progress counts updates, never time."""

    seed: int = Field(
        1, ge=0, lt=2**63, description="of the initial weights, the masks and the order of data"
    )
    updates: int = Field(2000, ge=1, description="steps of the optimizer in all; the schedule ends there")
    optimizer: Literal["sgd", "adagrad", "adam", "adamw"] = "adamw"
    learning_rate: float = Field(3e-3, gt=0, description="the highest, after the warm-up")
    momentum: Momentum = Field(0.0, description="of sgd")
    betas: tuple[Momentum, Momentum] = Field((0.9, 0.99), description="of adam and adamw")
    epsilon: float = Field(1e-8, ge=0, description="in the denominators")
    epsilon_inside: bool = Field(
        False, description="adagrad: sqrt(sum + epsilon) in place of sqrt(sum) + epsilon"
    )
    weight_decay: float = Field(0.01, ge=0, description="of matrices; biases are not decayed")
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt", "exponential"] = "cosine"
    warmup: int = Field(100, ge=0, description="updates over which the rate rises from 0")
    final_fraction: float = Field(
        0.02, ge=0, le=1, description="of the rate, left at the end of linear and cosine"
    )
    decay: float = Field(0.5, gt=0, le=1, description="exponential: factor applied ...")
    decay_every: int = Field(1000, ge=1, description="... every so many updates ...")
    decay_after: int = Field(0, ge=0, description="... after this one")
    clip_norm: float | None = Field(
        1.0, gt=0, description="largest global norm of the gradient; none: not clipped"
    )
    clip_value: float | None = Field(None, gt=0, description="largest magnitude of a gradient's component")
    average: float = Field(
        0.0, ge=0, lt=1, description="weights that are kept and used: a = k a + (1 - k) w; 0: the last ones"
    )
    smoothing: float = Field(
        0.98, ge=0, lt=1, description="of the training loss shown: s = k s + (1 - k) loss"
    )
    evaluate_every: int = Field(250, ge=1, description="updates between validations")
    save_every: int = Field(250, ge=1, description="updates between checkpoints")
    save_minutes: float = Field(10.0, gt=0, description="a checkpoint at least so often")


@dataclass(frozen=True)
class Outcome:
    """What a batch gave: the objective to differentiate, the rate to report, the state for the next one."""

    objective: Tensor
    rate: Rate
    carry: State | None
    place: str
    """Where in the data the batch stands, for messages."""


class Examples(ABC):
    """Training data: batches that depend on the number of the update alone, so that a resume is exact."""

    @abstractmethod
    def outcome(self, model: nn.Module, update: int, carry: State | None) -> Outcome:
        """Runs the model over the batch of `update` (0, 1, ...), with the state carried from the last one."""

    @abstractmethod
    def carry(self, model: nn.Module) -> State | None:
        """The state before update 0; None where nothing is carried."""

    @property
    @abstractmethod
    def epoch(self) -> float:
        """Updates in one pass over the data."""

    @abstractmethod
    def describe(self) -> str:
        """The data in a few words and figures."""


class Predictor(ABC):
    """A trained model as people use it. `best`: alternatives that the command line gives unasked."""

    best: ClassVar[int] = 3

    @abstractmethod
    def predict(self, inputs: Sequence[str], best: int = 1) -> list[dict[str, Any]]:
        """What the task says of each input, as JSON-like dicts; `best` is how many alternatives to give."""


class Task(ABC):
    """A kind of problem, bound to its settings and its codec.

    `name` is the noun of the command line, `Config` the settings, `presets` named overrides of them. `files`
    are what a run remembers of its data.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Settings]]
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    reading: ClassVar[tuple[str, ...]] = ()
    """Settings of what is done with data that cannot be used: an evaluation may have others than the run."""

    config: Any
    files: list[dict[str, Any]]

    @classmethod
    @abstractmethod
    def begin(cls, config: Any, files: Sequence[str]) -> "Task":
        """A new run: reads the files and builds the codec from them."""

    @classmethod
    @abstractmethod
    def restore(cls, config: Any, codec: Any, files: list[dict[str, Any]], name: str) -> "Task":
        """The task of a run folder, without its data; `name` is the codec's file, for messages."""

    @abstractmethod
    def codec_json(self) -> Any:
        """What the run folder keeps as codec.json."""

    @abstractmethod
    def build(self, cell: type[Cell] | None = None) -> nn.Module:
        """The model with fresh weights; `cell` is the user's own class where the settings name one."""

    @abstractmethod
    def memory(self, model: nn.Module) -> int:
        """Bytes that training this model needs at its peak, an estimate from above within a small factor."""

    @abstractmethod
    def examples(self) -> Examples:
        """The training data; reads the files, which must be those that the run began with."""

    @abstractmethod
    def validate(self, model: nn.Module, stop: Callable[[], bool]) -> dict[str, float]:
        """Figures on the validation data; `stop` is asked between batches, and answered by raising Stopped.

        The key "nats" is the figure that decides which checkpoint is the best (smaller is better).
        """

    @abstractmethod
    def evaluate(
        self,
        model: nn.Module,
        files: Sequence[str],
        progress: Callable[[float], None],
        weights: Precision = "float32",
    ) -> dict[str, Any]:
        """Figures on `files`, or on the validation data where none are named; `progress`: the part done.

        A figure that means nothing without saying how it was made stands beside a text that says it.

        weights: other than float32, those of the model as it streams with them (elman.streaming).
        """

    @abstractmethod
    def predictor(self, model: nn.Module, weights: Precision = "float32") -> Predictor:
        """The trained model for use, with weights of that precision (elman.streaming)."""


class Stopped(Exception):
    """Raised out of a validation that was asked to stop; the run saves and leaves."""


def check_unchanged(before: Iterable[Mapping[str, Any]], now: Iterable[Mapping[str, Any]]) -> None:
    """Raises DataError naming what is not as it was when the run began.

    before: the files that the run remembers {path, size, sha256}; now: the same ones as they are.
    """
    for file, found in zip(before, now, strict=True):
        if found["sha256"] != file["sha256"]:
            what = "folder" if Path(file["path"]).is_dir() else "file"
            raise DataError(
                f"{file['path']}: the {what} has changed since the run began ({found['size']} bytes now, "
                f"{file['size']} then); put the old one back, or begin a new run"
            )


def stopping(stop: Callable[[], bool]) -> Callable[[float], None]:
    """A progress function for `validate`: whatever part is done, it raises Stopped once `stop` says so."""

    def check(fraction: float) -> None:
        if stop():
            raise Stopped

    return check
