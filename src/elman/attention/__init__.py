"""Attention: where to look in a memory. `ATTENTIONS` is the closed table of names."""

from elman.attention.base import Attended, Attention, Memory
from elman.attention.content import AdditiveAttention, ConcatAttention, DotAttention, GeneralAttention

ATTENTIONS: dict[str, type[Attention]] = {
    "additive": AdditiveAttention,
    "dot": DotAttention,
    "general": GeneralAttention,
    "concat": ConcatAttention,
}

__all__ = [
    "ATTENTIONS",
    "AdditiveAttention",
    "Attended",
    "Attention",
    "ConcatAttention",
    "DotAttention",
    "GeneralAttention",
    "Memory",
]
