"""Attention: where to look in a memory. `ATTENTIONS` is the closed table of names."""

from collections.abc import Mapping
from typing import Any

from elman.attention.base import Attended, Attention, Memory
from elman.attention.content import AdditiveAttention, ConcatAttention, DotAttention, GeneralAttention
from elman.attention.hard import HardAttention
from elman.attention.local import LocalMonotonicAttention, LocalPredictiveAttention
from elman.attention.location import CoverageAttention, LocationAttention
from elman.attention.multi_head import MultiHeadAttention
from elman.errors import ConfigError

ATTENTIONS: dict[str, type[Attention]] = {
    "additive": AdditiveAttention,
    "dot": DotAttention,
    "general": GeneralAttention,
    "concat": ConcatAttention,
    "local-m": LocalMonotonicAttention,
    "local-p": LocalPredictiveAttention,
    "location": LocationAttention,
    "coverage": CoverageAttention,
    "multi-head": MultiHeadAttention,
    "hard": HardAttention,
}


def named_attention(
    name: str, query_size: int, memory_size: int, options: Mapping[str, Any] | None = None
) -> Attention:
    """The attention of this name with its options; ConfigError for a name or options that there are not."""
    if name not in ATTENTIONS:
        raise ConfigError(f"model.attention: expected one of {', '.join(ATTENTIONS)} or none, got {name!r}")
    try:
        return ATTENTIONS[name](query_size, memory_size, **(options or {}))
    except TypeError as error:
        raise ConfigError(f"model.attention_options: {name} does not take {options}: {error}") from error


__all__ = [
    "ATTENTIONS",
    "AdditiveAttention",
    "Attended",
    "Attention",
    "ConcatAttention",
    "CoverageAttention",
    "DotAttention",
    "GeneralAttention",
    "HardAttention",
    "LocalMonotonicAttention",
    "LocalPredictiveAttention",
    "LocationAttention",
    "Memory",
    "MultiHeadAttention",
    "named_attention",
]
