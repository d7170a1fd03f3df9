"""Streams: cells stepped natively, one symbol or vector at a time, with weights packed in few bits."""

from elman.streaming.packing import PRECISIONS, Precision, Symbols, check_precision, choose_streams, lacks
from elman.streaming.streamer import Drawn, Streamer

__all__ = [
    "PRECISIONS",
    "Drawn",
    "Precision",
    "Streamer",
    "Symbols",
    "check_precision",
    "choose_streams",
    "lacks",
]
