"""Settings of the tasks that write a sequence, and the model that they describe.

`MODELS` is the closed table of kinds of model; the tables of settings here are what translation and its
relatives have in common.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field

from elman.models.encoder_decoder import EncoderDecoder
from elman.models.seq2seq import Seq2Seq
from elman.models.transformer import Transformer
from elman.tasks.base import Momentum, Settings, TrainSettings


class PairDataSettings(Settings):
    """What is read, and as what."""

    unit: Literal["subwords", "words", "characters"] = Field(
        "subwords", description="the symbols; subwords need elman[translation]"
    )
    vocabulary: int = Field(5000, ge=4, description="largest number of symbols of a side")
    shared: bool = Field(False, description="one vocabulary for both sides")
    lowercase: bool = Field(False, description="read, write and measure in lower case")
    longest: int = Field(200, ge=1, description="symbols of a source, and of a target")
    skip: bool = Field(False, description="leave out rows that cannot be used, and count them")
    valid_fraction: float = Field(
        0.02, ge=0, lt=1, description="the last part of the pairs, kept for validation"
    )
    valid_files: tuple[str, ...] = Field((), description="files for validation, in place of the fraction")


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
    dropout: float = Field(0.3, ge=0, lt=1, description="from layer to layer, and of the memory")
    dropout_embedding: float = Field(0.3, ge=0, lt=1, description="of what is read, on both sides")
    dropout_output: float = Field(0.3, ge=0, lt=1, description="of what the output's weight is applied to")
    heads: int = Field(4, ge=1, description="of a Transformer's attention; they divide the embedding")
    tied: bool = Field(True, description="the output's weight is the target embedding's")
    shared: bool = Field(False, description="one embedding for both sides, which share a vocabulary")


class SequenceTrainSettings(TrainSettings):
    """Training on batches of sequences of like length."""

    updates: int = Field(5000, ge=1, description="steps of the optimizer in all; the schedule ends there")
    learning_rate: float = Field(2e-3, gt=0, description="the highest, after the warm-up")
    betas: tuple[Momentum, Momentum] = Field((0.9, 0.98), description="of adam and adamw")
    warmup: int = Field(200, ge=0, description="updates over which the rate rises from 0")
    average: float = Field(
        0.998, ge=0, lt=1, description="weights that are kept and used: a = k a + (1 - k) w; 0: the last ones"
    )
    tokens: int = Field(4096, ge=1, description="symbols of sources and targets learnt from at once")
    noise: float = Field(
        2.0, ge=0, description="lengths that differ by less may be taken for equal, drawn anew in each epoch"
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="part of a target given to all symbols alike")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of what is multiplied while training; weights and moments stay float32"
    )


class SearchSettings(Settings):
    """How the model is searched when it is used, where nothing else is asked."""

    beam: int = Field(5, ge=1, description="beginnings that are followed at a time")
    alpha: float = Field(1.0, ge=0, description="a score is divided by length to this power")
    coverage: float = Field(0.0, ge=0, description="weight of the penalty for what was not looked at")


def _recurrent(model: SequenceModelSettings, precision: str, sizes: dict[str, Any]) -> EncoderDecoder:
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
        dropout=model.dropout,
        dropout_source=model.dropout_embedding,
        dropout_target=model.dropout_embedding,
        dropout_output=model.dropout_output,
        compute=torch.bfloat16 if precision == "bfloat16" else None,
    )


def _transformer(model: SequenceModelSettings, precision: str, sizes: dict[str, Any]) -> EncoderDecoder:
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
        compute=torch.bfloat16 if precision == "bfloat16" else None,
    )


MODELS: dict[str, Callable[[Any, str, dict[str, Any]], EncoderDecoder]] = {
    "recurrent": _recurrent,
    "transformer": _transformer,
}
"""By model.kind: model settings, train.precision and sizes (source or features, target) -> the model."""
