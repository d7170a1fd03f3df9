"""LSTM with a forget gate, optional peepholes and optional projection of the output.

    i = sigmoid(W_xi x + W_hi h + p_i * c  + b_i)        f = sigmoid(W_xf x + W_hf h + p_f * c + b_f)
    g = tanh   (W_xg x + W_hg h            + b_g)        c' = f * c + i * g
    o = sigmoid(W_xo x + W_ho h + p_o * c' + b_o)        h' = o * tanh(c')        [h' = W_hr (o * tanh(c'))]

Hochreiter and Schmidhuber 1997; forget gate: Gers, Schmidhuber and Cummins 2000; peepholes: Gers, Schraudolph
and Schmidhuber 2002; projection: Sak, Senior and Beaufays 2014.
Shapes: x (N, C), h (N, P or H), c (N, H), weight_ih (4H, C), weight_hh (4H, P or H), biases (4H), peephole
(3, H) for i f o, weight_hr (P, H); gates i f g o.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from elman.cells.base import Cell, Record, gate_weights
from elman.errors import ConfigError, ShapeError


class LSTMState(NamedTuple):
    h: Tensor
    c: Tensor


class LSTMCell(Cell):
    """Long short-term memory; the output is h'.

    peepholes: the gates see the memory cell, o the new one.
    forget_bias: where given, the forget gate's bias starts at this value (Jozefowicz et al. 2015 advise 1).
    projection: P, 0 for none; the output and the recurrence are then W_hr (o * tanh(c')).
    Records the gates i f g o and the memory c. Raises ShapeError for a projection that is not smaller than H,
    ConfigError for a forget_bias without biases.
    """

    records = ("i", "f", "g", "o", "c")

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    weight_hr: Tensor | None
    peephole: Tensor | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        recurrent_bias: bool = True,
        peepholes: bool = False,
        forget_bias: float | None = None,
        projection: int = 0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if not 0 <= projection < hidden_size:
            raise ShapeError(f"LSTMCell: projection must be 0 (none) to {hidden_size - 1}, got {projection}")
        if forget_bias is not None and not bias:
            raise ConfigError("LSTMCell: forget_bias needs bias=True")
        self.projection = projection
        self.forget_bias = forget_bias
        gate_weights(self, 4, bias, recurrent_bias, projection or None)
        self.weight_hr = nn.Parameter(torch.empty(projection, hidden_size)) if projection else None
        self.peephole = nn.Parameter(torch.empty(3, hidden_size)) if peepholes else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.forget_bias is None or self.bias_ih is None:
            return
        forget = slice(self.hidden_size, 2 * self.hidden_size)
        with torch.no_grad():
            self.bias_ih[forget] = self.forget_bias
            if self.bias_hh is not None:
                self.bias_hh[forget] = 0

    @property
    def output_size(self) -> int:
        return self.projection or self.hidden_size

    def initial_state(self, batch_size: int) -> LSTMState:
        return LSTMState(self.zeros(batch_size, self.output_size), self.zeros(batch_size, self.hidden_size))

    def prepare(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias_ih)

    def step(self, x: Tensor, state: LSTMState, record: Record | None = None) -> tuple[Tensor, LSTMState]:
        h, c = state
        i, f, g, o = (x + linear(h, self.weight_hh, self.bias_hh)).chunk(4, -1)
        if self.peephole is not None:
            i, f = i + self.peephole[0] * c, f + self.peephole[1] * c
        i, f, g = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g)
        c = f * c + i * g
        if self.peephole is not None:
            o = o + self.peephole[2] * c
        o = torch.sigmoid(o)
        h = o * torch.tanh(c)
        if self.weight_hr is not None:
            h = linear(h, self.weight_hr)
        if record is not None:
            record.update(i=i, f=f, g=g, o=o, c=c)
        return h, LSTMState(h, c)
