"""The simple recurrent network: a hidden layer that sees its own last value.

    h' = f(W_ih x + b_ih + W_hh h + b_hh)        f: tanh, sigmoid, relu or identity

Elman, "Finding structure in time", 1990.
Shapes: x (N, C), h (N, H), weight_ih (H, C), weight_hh (H, H), biases (H).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from elman.cells.base import Cell, Record, gate_weights
from elman.errors import ConfigError


def identity(x: Tensor) -> Tensor:
    """x, for a linear recurrence."""
    return x


NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "identity": identity,
}


class ElmanState(NamedTuple):
    h: Tensor


class ElmanCell(Cell):
    """h' = f(W_ih x + b_ih + W_hh h + b_hh); the output is h'.

    `recurrent_bias=False` keeps bias_ih alone (one bias, as most texts write it). Records `preactivation`.
    Raises ConfigError for an unknown nonlinearity.
    """

    records = ("preactivation",)

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        recurrent_bias: bool = True,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if nonlinearity not in NONLINEARITIES:
            raise ConfigError(
                f"nonlinearity: expected one of {', '.join(NONLINEARITIES)}, got {nonlinearity!r}"
            )
        self.nonlinearity = nonlinearity
        gate_weights(self, 1, bias, recurrent_bias)
        self.reset_parameters()

    def initial_state(self, batch_size: int) -> ElmanState:
        return ElmanState(self.zeros(batch_size, self.hidden_size))

    def prepare(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias_ih)

    def step(self, x: Tensor, state: ElmanState, record: Record | None = None) -> tuple[Tensor, ElmanState]:
        preactivation = x + linear(state.h, self.weight_hh, self.bias_hh)
        h = NONLINEARITIES[self.nonlinearity](preactivation)
        if record is not None:
            record.update(preactivation=preactivation)
        return h, ElmanState(h)
