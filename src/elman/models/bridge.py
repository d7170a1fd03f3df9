"""The decoder's first state, from what the encoder ends with.

    mean        s_l = tanh(W_l mean of y_s + b_l)        y are the memory's places
    last        s_l = tanh(W_l [f_last; b_first] + b_l)  where each direction of the last layer ends
    states      s_l = the encoder's last states of layer l, its directions side by side

Bahdanau, Cho and Bengio 2015 have the second with b_first alone; Sutskever, Vinyals and Le 2014 the third.
Shapes: S places, N batch, M memory; W (all units of the decoder's states, M).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from elman.attention.base import uniform_
from elman.cells import State, map_state
from elman.errors import ConfigError
from elman.models.recurrent_encoder import Read, RecurrentEncoder, joined

STARTS = ("mean", "last", "states")


class Bridge(nn.Module):
    """From an encoder to the cells of a decoder, in one of the ways of STARTS.

    Raises ConfigError for another way, and for "states" where the units of the two sides differ.
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, way: str, encoder: RecurrentEncoder, zero: tuple[State, ...]) -> None:
        super().__init__()
        if way not in STARTS:
            raise ConfigError(f"start: expected one of {', '.join(STARTS)}, got {way!r}")
        self.way = way
        wanted = units(zero)
        if way == "states":
            given = units(tuple(joined(tuple(c.initial_state(1) for c in row)) for row in encoder.cells))
            if given != wanted:
                raise ConfigError(
                    f"start: the encoder's states have the units {given}, the decoder's {wanted}; "
                    "use start='mean' or like layers"
                )
            self.weight = self.bias = None
        else:
            size = encoder.output_size
            self.weight = uniform_(torch.empty(sum(wanted), size), size)
            self.bias = uniform_(torch.empty(sum(wanted)), size)

    def forward(self, read: Read, zero: tuple[State, ...]) -> tuple[State, ...]:
        """zero: the states of the decoder's cells, for their form alone."""
        if self.weight is None:
            return tuple(joined(layer) for layer in read.states)
        if self.way == "mean":
            summary = read.outputs.data.sum(0) / read.outputs.lengths.clamp(min=1)[:, None]
        else:
            summary = torch.cat([side.h for side in read.states[-1]], -1)
        parts = iter(torch.tanh(linear(summary, self.weight, self.bias)).split(units(zero), -1))
        return map_state(lambda _: next(parts), zero)


def units(states: Any) -> list[int]:
    """The units of each tensor of states, in order."""
    found: list[int] = []
    map_state(lambda part: (found.append(part.shape[-1]), part)[1], states)
    return found
