"""Language modelling: text files -> a model of the next symbol.

Training reads the corpus in parallel streams by truncated BPTT (Williams and Peng 1990; see
elman.data.readers), the state carried from one window to the next. Validation is measured in two ways: in
windows that each start from the zero state (comparable with models of a fixed context), and statefully, as
one goes through a text.

Shapes: T time, N batch (streams), V vocabulary. tokens (T, N) int64.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import Field, model_validator
from torch import nn

from elman import counter, kernels
from elman.cells import CELLS, Cell, State, detach
from elman.data.codec import ByteCodec, CharacterCodec, Codec, WordCodec, codec_from_json
from elman.data.readers import ContiguousReader
from elman.data.text import Corpus, Document, encode_documents, read_document, split_corpus
from elman.errors import ConfigError, DataError
from elman.models.language_model import LanguageModel
from elman.streaming import Precision
from elman.tasks.base import (
    Examples,
    Files,
    Outcome,
    Settings,
    Task,
    TrainSettings,
    check_unchanged,
    stopping,
)
from elman.tasks.language_loss import (
    EVALUATE_STREAMS,
    MINIMUM_EVALUATION,
    SPAN,
    evaluate_stateful,
    evaluate_windows,
    figures,
    language_loss,
    span,
)
from elman.tasks.language_predictor import LanguagePredictor
from elman.torch_path import lacks


class DataSettings(Settings):
    """What is read, and as what."""

    unit: Literal["bytes", "characters", "words"] = "characters"
    valid_fraction: float = Field(
        0.1, ge=0, lt=1, description="the last part of the text, kept for validation"
    )
    valid_files: Files = Field((), description="files for validation, in place of the fraction")
    minimum_count: int = Field(1, ge=1, description="words: rarer ones are <unk>")
    vocabulary: int | None = Field(None, ge=2, description="words: largest number of symbols")


class ModelSettings(Settings):
    """The network."""

    cell: str = Field("lstm", description=f"one of {', '.join(CELLS)}, or FILE:CLASS from the command line")
    options: dict[str, Any] = Field(
        default_factory=dict, description="of the cell, such as {peepholes = true}"
    )
    hidden: int = Field(256, ge=1, description="units of a layer")
    layers: int = Field(2, ge=1, le=1000, description="on top of each other")
    embedding: int | None = Field(
        None, ge=0, description="size of a symbol's row; 0: one-hot; default: hidden"
    )
    tied: bool = Field(False, description="the output's weight is the embedding's")
    dropout: float = Field(0.2, ge=0, lt=1, description="of what goes into, between and out of the layers")
    residual: bool = Field(True, description="a layer's input is added to its output where sizes allow")
    initialization: Literal["uniform", "normal"] = Field(
        "uniform",
        description="uniform: as torch; normal: all weights of standard deviation `scale`, biases zero",
    )
    scale: float = Field(0.01, gt=0, description="of initialization normal")


class LanguageTrainSettings(TrainSettings):
    """Training by truncated BPTT."""

    batch: int = Field(32, ge=1, description="streams of text learnt from at once")
    window: int = Field(128, ge=1, description="k1: new symbols between two updates")
    backward: int | None = Field(
        None, ge=1, description="k2 >= k1: symbols that a gradient goes back; default: window"
    )
    reset_probability: float = Field(
        0.05, ge=0, le=1, description="that a stream starts a window from the zero state"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of the recurrence's arithmetic while training; weights and moments stay float32",
    )
    reduction: Literal["mean", "sum"] = Field("mean", description="of the loss over a window's symbols")


class LanguageModelConfig(Settings):
    """All settings of the task, with defaults that do well on a laptop."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: LanguageTrainSettings = LanguageTrainSettings()
    evaluate_window: int = Field(256, ge=1, description="validation: symbols from one zero state to the next")

    @model_validator(mode="after")
    def _fits(self) -> "LanguageModelConfig":
        window, backward = self.train.window, self.train.backward
        if backward is not None and backward < window:
            raise ValueError(
                f"train.backward (k2) must be at least train.window (k1 = {window}), got {backward}"
            )
        return self


# Karpathy's minimal character model (2015): its equations are transcribed as an oracle in the tests.
MIN_CHAR_RNN: dict[str, Any] = {
    "model.cell": "elman", "model.options": {"recurrent_bias": False}, "model.hidden": 100, "model.layers": 1,
    "model.embedding": 0, "model.dropout": 0.0, "model.residual": False,
    "model.initialization": "normal", "model.scale": 0.01,
    "train.batch": 1, "train.window": 25, "train.reduction": "sum", "train.reset_probability": 0.0,
    "train.optimizer": "adagrad", "train.learning_rate": 0.1, "train.epsilon": 1e-8,
    "train.epsilon_inside": True, "train.weight_decay": 0.0, "train.schedule": "constant", "train.warmup": 0,
    "train.clip_norm": None, "train.clip_value": 5.0, "train.smoothing": 0.999, "train.updates": 20000,
    "train.evaluate_every": 2000, "train.save_every": 2000,
}  # fmt: skip


@final
class LanguageModelTask(Task):
    """Reading, model, loss, metrics and prediction of a language model."""

    name = "language-model"
    Config = LanguageModelConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {"min-char-rnn": MIN_CHAR_RNN}

    def __init__(self, config: LanguageModelConfig, codec: Codec, files: list[dict[str, Any]]) -> None:
        self.config = config
        self.codec = codec
        self.files = files
        self._corpora: tuple[Corpus, Corpus] | None = None

    @classmethod
    def begin(cls, config: LanguageModelConfig, files: Sequence[str]) -> "LanguageModelTask":
        data = config.data
        training = [read_document(path, data.unit) for path in files]
        valid = [read_document(Path(path).absolute(), data.unit) for path in data.valid_files]
        texts = [document.text for document in training]
        if data.unit == "bytes":
            codec: Codec = ByteCodec()
        elif data.unit == "characters":
            codec = CharacterCodec.of(*texts)
        else:
            codec = WordCodec.of(*texts, minimum_count=data.minimum_count, maximum_size=data.vocabulary)
        task = cls(config, codec, [document.to_json() for document in training + valid])
        task._corpora = task._encode(training, valid)
        return task

    @classmethod
    def restore(
        cls, config: LanguageModelConfig, codec: Any, files: list[dict[str, Any]], name: str
    ) -> "LanguageModelTask":
        return cls(config, codec_from_json(codec, name), files)

    def codec_json(self) -> Any:
        return self.codec.to_json()

    def build(self, cell: type[Cell] | None = None) -> LanguageModel:
        model = self.config.model
        if cell is not None and model.cell in CELLS:
            raise ConfigError(
                f"model.cell: {model.cell!r} is elman's own, and the class {cell.__name__} was given too; "
                f"set model.cell to FILE:CLASS, or leave the class out"
            )
        kind = CELLS.get(model.cell, cell)
        if kind is None:
            own = (
                "; a cell of your own must be given anew with --cell FILE:CLASS" if ":" in model.cell else ""
            )
            raise ConfigError(f"model.cell: expected one of {', '.join(CELLS)}, got {model.cell!r}{own}")
        embedding = model.hidden if model.embedding is None else model.embedding
        cells: list[Cell] = []
        try:
            for _ in range(model.layers):
                below = cells[-1].output_size if cells else embedding or len(self.codec)
                cells.append(kind(below, model.hidden, **model.options))
        except TypeError as error:
            raise ConfigError(
                f"model.options: {kind.__name__} does not take {model.options}: {error}"
            ) from error
        built = LanguageModel(
            len(self.codec),
            cells,
            embedding=embedding,
            tied=model.tied,
            dropout=model.dropout,
            residual=model.residual,
            compute=torch.bfloat16 if self.config.train.precision == "bfloat16" else None,
        )
        if model.initialization == "normal":
            with torch.no_grad():
                for parameter in built.parameters():
                    parameter.normal_(std=model.scale) if parameter.dim() > 1 else parameter.zero_()
        return built

    def memory(self, model: nn.Module) -> int:
        assert isinstance(model, LanguageModel)
        train, symbols, sizes = self.config.train, len(self.codec), model.stack.cells
        # Counted in arrays of float32, as seen on training itself. Weights: they, their gradients, two
        # moments, and the moments twice more while they are saved. Arrays of H at a step: a layer's, by a
        # kernel or one by one, and those of dropout around it. Arrays of V: one-hot input, logits, loss,
        # gradients.
        weights = 8 * sum(parameter.numel() for parameter in model.parameters())
        # Not by `choose`: the model that is measured may be on no device at all, where no kernel serves.
        fused = kernels.mode() in ("auto", "torch")
        layers = sum((20 if fused and not lacks(cell) else 40) * cell.hidden_size for cell in sizes)
        step = layers + 20 * max(cell.output_size for cell in sizes) + 7 * symbols
        learnt = (train.backward or train.window) * train.batch * step
        valid = len(self.corpora()[1])
        windows = min(EVALUATE_STREAMS, -(-valid // self.config.evaluate_window))
        places = max(self.config.evaluate_window * windows, SPAN * min(EVALUATE_STREAMS, valid // 1000))
        measured = places * (8 * max(cell.hidden_size for cell in sizes) + 7 * symbols)
        return 4 * (weights + max(learnt, measured))

    def examples(self) -> "LanguageExamples":
        return LanguageExamples(self, self.corpora()[0])

    def corpora(self) -> tuple[Corpus, Corpus]:
        """The training and the validation corpus; DataError where a file has changed since the run began."""
        if self._corpora is None:
            training = len(self.files) - len(self.config.data.valid_files)
            documents = [self._reread(file) for file in self.files]
            self._corpora = self._encode(documents[:training], documents[training:])
        return self._corpora

    def validate(self, model: nn.Module, stop: Callable[[], bool]) -> dict[str, float]:
        assert isinstance(model, LanguageModel)
        corpus = self.corpora()[1]
        check = stopping(stop)
        if len(corpus) < MINIMUM_EVALUATION:
            return {}
        windows = evaluate_windows(model, corpus, self.config.evaluate_window, check)
        streams = max(1, min(EVALUATE_STREAMS, len(corpus) // 1000))
        stateful = evaluate_stateful(model, corpus, streams, check)
        return figures(windows, stateful)

    def evaluate(
        self,
        model: nn.Module,
        files: Sequence[str],
        progress: Callable[[float], None],
        weights: Precision = "float32",
    ) -> dict[str, float]:
        assert isinstance(model, LanguageModel)
        if files:
            corpus = encode_documents([read_document(path, self.codec.unit) for path in files], self.codec)
        else:
            corpus = self.corpora()[1]
        if len(corpus) < MINIMUM_EVALUATION:
            raise DataError(
                f"evaluate: the text has {len(corpus)} symbols, expected at least {MINIMUM_EVALUATION}; name "
                f"a FILE to evaluate on"
            )
        read = model if weights == "float32" else model.stream(weights)
        windows = evaluate_windows(
            read, corpus, self.config.evaluate_window, lambda part: progress(part * 0.3)
        )
        stateful = evaluate_stateful(read, corpus, 1, lambda part: progress(0.3 + part * 0.7))
        return figures(windows, stateful)

    def predictor(self, model: nn.Module, weights: Precision = "float32") -> LanguagePredictor:
        assert isinstance(model, LanguageModel)
        return LanguagePredictor(model, self.codec, weights)

    def _encode(self, training: list[Document], valid: list[Document]) -> tuple[Corpus, Corpus]:
        corpus = encode_documents(training, self.codec)
        if valid:
            return corpus, encode_documents(valid, self.codec)
        return split_corpus(corpus, self.config.data.valid_fraction)

    def _reread(self, file: dict[str, Any]) -> Document:
        document = read_document(file["path"], self.codec.unit)
        check_unchanged([file], [document.to_json()])
        return document


@final
class LanguageExamples(Examples):
    """Windows of the parallel streams, and the loss on their new symbols."""

    def __init__(self, task: LanguageModelTask, corpus: Corpus) -> None:
        train = task.config.train
        self._reader = ContiguousReader(
            corpus,
            train.batch,
            train.window,
            train.backward,
            reset_probability=train.reset_probability,
            seed=train.seed,
        )
        self._codec = task.codec
        self._seed = train.seed
        self._sum = train.reduction == "sum"

    @property
    def epoch(self) -> float:
        return self._reader.epoch

    def describe(self) -> str:
        return (
            f"{len(self._reader.corpus):,} {self._codec.unit} for training, {len(self._codec):,} symbols; "
            f"an epoch is {self.epoch:,.0f} updates"
        )

    def carry(self, model: nn.Module) -> State:
        assert isinstance(model, LanguageModel)
        return model.initial_state(self._reader.streams)

    def outcome(self, model: nn.Module, update: int, carry: State | None) -> Outcome:
        assert isinstance(model, LanguageModel)
        window = self._reader.read(update)
        model.reseed(counter.child(self._seed, update))
        advance = window.advance
        # Cut where the next window begins: the state there is carried on, the gradient goes through both.
        logits, carried = span(model, window.inputs[:advance], carry, window.resets[:advance])
        if advance < len(window.inputs):
            later, _ = span(model, window.inputs[advance:], carried, window.resets[advance:])
            logits = torch.cat([logits, later])
        loss, rate = language_loss(logits[window.history :], window.targets[window.history :])
        place = f"update {update}, text positions {', '.join(str(int(p)) for p in window.positions[:8])}"
        more = len(window.positions) - 8
        objective = loss * rate.symbols if self._sum else loss
        return Outcome(
            objective, rate, detach(carried), place + (f" and {more} more streams" if more > 0 else "")
        )
