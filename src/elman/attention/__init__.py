"""Attention: where to look in a memory. `ATTENTIONS` is the closed table of names."""

from elman.attention.base import Attended, Attention, Memory
from elman.attention.content import AdditiveAttention, ConcatAttention, DotAttention, GeneralAttention
from elman.attention.hard import HardAttention
from elman.attention.local import LocalMonotonicAttention, LocalPredictiveAttention
from elman.attention.location import CoverageAttention, LocationAttention
from elman.attention.multi_head import MultiHeadAttention

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
]
