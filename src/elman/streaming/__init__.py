"""Cells stepped natively: streams, a symbol or vector at a time with weights in few bits; and searches."""

from elman.streaming.packing import PRECISIONS, Precision, Symbols, check_precision, choose_streams, lacks
from elman.streaming.stepper import Stepped, Stepper, Steps, Weights, lacks_steps
from elman.streaming.streamer import Drawn, Streamer

__all__ = [
    "PRECISIONS",
    "Drawn",
    "Precision",
    "Stepped",
    "Stepper",
    "Steps",
    "Streamer",
    "Symbols",
    "Weights",
    "check_precision",
    "choose_streams",
    "lacks",
    "lacks_steps",
]
