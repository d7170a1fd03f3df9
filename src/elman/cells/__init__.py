"""Cells: one step of a recurrence each. `CELLS` is the closed table of names that a run folder may use."""

from elman.cells.base import Cell, Combinator, State, detach, map_state, where_state
from elman.cells.elman import ElmanCell, ElmanState
from elman.cells.gru import GRUCell, GRUState
from elman.cells.layer_norm_lstm import LayerNormLSTMCell, LayerNormLSTMState
from elman.cells.lstm import LSTMCell, LSTMState
from elman.cells.wrappers import Stack, StackState

CELLS: dict[str, type[Cell]] = {
    "elman": ElmanCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
    "layer_norm_lstm": LayerNormLSTMCell,
}

__all__ = [
    "CELLS",
    "Cell",
    "Combinator",
    "ElmanCell",
    "ElmanState",
    "GRUCell",
    "GRUState",
    "LSTMCell",
    "LSTMState",
    "LayerNormLSTMCell",
    "LayerNormLSTMState",
    "Stack",
    "StackState",
    "State",
    "detach",
    "map_state",
    "where_state",
]
