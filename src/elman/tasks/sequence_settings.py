"""Settings of the tasks that write a sequence, and the model that they describe.

`MODELS` is the closed table of kinds of model; the tables of settings here are what translation and its
relatives have in common, `check_fits` what they ask of each other.
"""

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, Literal

import torch
from pydantic import Field

from elman.attention import ATTENTIONS
from elman.data.sequence_codec import SequenceCodec
from elman.models.encoder_decoder import EncoderDecoder
from elman.models.seq2seq import Seq2Seq
from elman.models.transformer import Transformer
from elman.tasks.base import Files, Momentum, Settings, TrainSettings


class PairDataSettings(Settings):
    """What is read, and as what."""

    unit: Literal["subwords", "words", "characters"] = Field(
        "subwords", description="the symbols; subwords need elman[translation]"
    )
    vocabulary: int = Field(8000, ge=4, description="largest number of symbols of a side")
    shared: bool = Field(False, description="one vocabulary for both sides")
    lowercase: bool = Field(False, description="read, write and measure in lower case")
    longest: int = Field(200, ge=1, description="symbols of a source, and of a target")
    skip: bool = Field(False, description="leave out rows that cannot be used, and count them")
    valid_fraction: float = Field(
        0.02, ge=0, lt=1, description="the last part of the pairs, kept for validation"
    )
    valid_files: Files = Field((), description="files for validation, in place of the fraction")


class SequenceModelSettings(Settings):
    """The network."""

    kind: Literal["recurrent", "transformer"] = Field("recurrent", description="of encoder and decoder")
    cell: str = Field("gru", description="of encoder and decoder: elman, gru or lstm")
    hidden: int = Field(
        512,
        ge=1,
        description="units of a decoder's layer, half of it each way before; the inner ones of a Transformer",
    )
    layers: int = Field(1, ge=1, le=100, description="of the encoder, and of the decoder")
    embedding: int = Field(256, ge=1, description="size of a symbol's row")
    attention: str | None = Field("additive", description="where to look: additive, dot, ...; none: nowhere")
    attention_options: dict[str, Any] = Field(default_factory=dict, description="of the attention")
    order: Literal["luong", "bahdanau"] = Field(
        "luong", description="attend after the recurrence, or before it with the last state"
    )
    dropout: float = Field(0.4, ge=0, lt=1, description="from layer to layer, and of the memory")
    dropout_embedding: float = Field(0.3, ge=0, lt=1, description="of what is read, on both sides")
    dropout_output: float = Field(0.4, ge=0, lt=1, description="of what the output's weight is applied to")
    heads: int = Field(4, ge=1, description="of a Transformer's attention; they divide the embedding")
    tied: bool = Field(True, description="the output's weight is the target embedding's")
    shared: bool = Field(False, description="one embedding for both sides, which share a vocabulary")
    start: Literal["mean", "last", "states"] | None = Field(
        None,
        description="mean / last / states; the decoder's first state: a map of the encoder's mean output, of "
        "its last ones, or its own last states; none: mean, without attention states",
    )
    pyramid: bool = Field(False, description="layers of the encoder but the first read two places as one")
    copying: bool = Field(
        False, description="words of the source can be copied, unknown ones too; needs data.shared"
    )
    coverage: float = Field(0.0, ge=0, description="weight of the penalty for looking where it has looked")
    doubly_stochastic: float = Field(
        0.0, ge=0, description="weight of the penalty for places that are not looked at about once"
    )


class SequenceTrainSettings(TrainSettings):
    """Training on batches of sequences of like length; the defaults are those of reproduce/multi30k.toml."""

    updates: int = Field(5600, ge=1, description="steps of the optimizer in all; the schedule ends there")
    learning_rate: float = Field(2e-3, gt=0, description="the highest, after the warm-up")
    betas: tuple[Momentum, Momentum] = Field((0.9, 0.98), description="of adam and adamw")
    warmup: int = Field(200, ge=0, description="updates over which the rate rises from 0")
    average: float = Field(
        0.999, ge=0, lt=1, description="weights that are kept and used: a = k a + (1 - k) w; 0: the last ones"
    )
    tokens: int = Field(3000, ge=1, description="symbols of sources and targets learnt from at once")
    noise: float = Field(
        2.0, ge=0, description="lengths that differ by less may be taken for equal, drawn anew in each epoch"
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="part of a target given to all symbols alike")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of what is multiplied while training; weights and moments stay float32"
    )
    teaching: Literal["linear", "exponential", "sigmoid"] | None = Field(
        None,
        description="linear / exponential / sigmoid; how the probability falls that the true last symbol is "
        "read, and not one of its own; none: always read",
    )
    teaching_half: int = Field(2000, ge=1, description="the update at which that probability is a half")
    teaching_least: float = Field(0.0, ge=0, le=1, description="and what it does not fall below")
    entropy: float = Field(0.01, ge=0, description="attention hard: weight of the entropy of where it looks")
    baseline: float = Field(0.9, ge=0, lt=1, description="attention hard: part of the moving average kept")
    drawn_from: int = Field(
        0, ge=0, description="attention hard: the update from which on places are drawn; expectations before"
    )


class SearchSettings(Settings):
    """How the model is searched when it is used, where nothing else is asked."""

    beam: int = Field(5, ge=1, description="beginnings that are followed at a time")
    alpha: float = Field(1.0, ge=0, description="a score is divided by length to this power")
    coverage: float = Field(0.0, ge=0, description="weight of the penalty for what was not looked at")


RECURRENT = (
    "model.start", "model.pyramid", "model.copying", "model.coverage", "model.doubly_stochastic",
    "train.teaching",
)  # fmt: skip
"""Settings that a Transformer has no use for."""

ATTENDING = ("model.copying", "model.coverage", "model.doubly_stochastic", "model.attention_options")
"""Settings that need an attention."""


def check_fits(config: Any) -> None:
    """Raises ValueError naming the key of a setting that others leave no place for."""
    model, shared = config.model, config.data.shared
    if model.shared and not shared:
        raise ValueError("model.shared: one embedding needs one vocabulary; set data.shared=true too")
    if model.copying and not shared:
        raise ValueError("model.copying: both sides need one vocabulary; set data.shared=true too")
    if model.copying and model.pyramid:
        raise ValueError("model.copying: a pyramid joins the places that are copied; leave one of them out")
    if model.kind == "transformer" and (key := _first_set(config, RECURRENT)):
        raise ValueError(f"{key}: of recurrent models alone; leave it out, or set model.kind=recurrent")
    if model.attention is None and (key := _first_set(config, ATTENDING)):
        raise ValueError(f"{key}: needs an attention; leave it out, or set model.attention")
    if model.attention is not None:
        _check_attention(model.attention, model.attention_options)


def _first_set(config: Any, keys: tuple[str, ...]) -> str | None:
    """The first of these keys that is not as if it were not there."""
    tables = (key.partition(".") for key in keys)
    return next((f"{table}.{key}" for table, _, key in tables if getattr(getattr(config, table), key)), None)


def _check_attention(name: str, options: dict[str, Any]) -> None:
    if name not in ATTENTIONS:
        raise ValueError(f"model.attention: expected one of {', '.join(ATTENTIONS)} or none, got {name!r}")
    known = [
        n for n, one in signature(ATTENTIONS[name]).parameters.items() if one.kind is Parameter.KEYWORD_ONLY
    ]
    if unknown := [option for option in options if option not in known]:
        raise ValueError(
            f"model.attention_options: {name} takes {', '.join(known) or 'none'}, got {unknown[0]!r}"
        )


def _recurrent(
    model: SequenceModelSettings, train: SequenceTrainSettings, sizes: dict[str, Any], target: SequenceCodec
) -> EncoderDecoder:
    return Seq2Seq(
        **sizes,
        cell=model.cell,
        embedding=model.embedding,
        hidden=model.hidden,
        layers=model.layers,
        attention=model.attention,
        attention_options=model.attention_options,
        order=model.order,
        tied=model.tied,
        shared=model.shared,
        start=model.start,
        pyramid=model.pyramid,
        copy=model.copying,
        unknown=target.unknown,
        end=target.end,
        coverage=model.coverage,
        doubly_stochastic=model.doubly_stochastic,
        entropy=train.entropy,
        baseline=train.baseline,
        dropout=model.dropout,
        dropout_source=model.dropout_embedding,
        dropout_target=model.dropout_embedding,
        dropout_output=model.dropout_output,
        compute=_compute(train),
    )


def _transformer(
    model: SequenceModelSettings, train: SequenceTrainSettings, sizes: dict[str, Any], target: SequenceCodec
) -> EncoderDecoder:
    """Its size is that of an embedding; dropout is one for all its places."""
    return Transformer(
        **sizes,
        size=model.embedding,
        heads=model.heads,
        inner=model.hidden,
        layers=model.layers,
        tied=model.tied,
        shared=model.shared,
        dropout=model.dropout,
        compute=_compute(train),
    )


def _compute(train: SequenceTrainSettings) -> torch.dtype | None:
    return torch.bfloat16 if train.precision == "bfloat16" else None


MODELS: dict[str, Callable[[Any, Any, dict[str, Any], SequenceCodec], EncoderDecoder]] = {
    "recurrent": _recurrent,
    "transformer": _transformer,
}
"""By model.kind: settings of model and training, sizes (source or features, target), codec -> the model."""
