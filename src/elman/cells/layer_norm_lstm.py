"""LSTM whose preactivations and memory are normalised over the units of a row.

    n(z)    = (z - mean(z)) / sqrt(mean((z - mean(z))^2) + epsilon)
    i f g o = a_x * n(W_x x) + a_h * n(W_h h) + b       (one norm over all 4H units each)
    c' = sigmoid(f) * c + sigmoid(i) * tanh(g)           h' = sigmoid(o) * tanh(a_c * n(c') + b_c)

Ba, Kiros and Hinton, "Layer normalization", 2016, equations 20-22; their two biases of the preactivations are
one. Shapes: x (N, C), h and c (N, H), weight_ih (4H, C), weight_hh (4H, H), gain_ih, gain_hh and bias (4H),
gain_c and bias_c (H); gates i f g o.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from elman.cells.base import Cell, Record


class LayerNormLSTMState(NamedTuple):
    h: Tensor
    c: Tensor


class LayerNormLSTMCell(Cell):
    """Long short-term memory with layer normalisation; the output is h'.

    epsilon: added to a variance. Gains start at one, biases at zero. Records the gates i f g o and the memory
    c.
    """

    records = ("i", "f", "g", "o", "c")

    def __init__(self, input_size: int, hidden_size: int, *, epsilon: float = 1e-5) -> None:
        super().__init__(input_size, hidden_size)
        self.epsilon = epsilon
        four = 4 * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(four, input_size))
        self.weight_hh = nn.Parameter(torch.empty(four, hidden_size))
        self.gain_ih = nn.Parameter(torch.empty(four))
        self.gain_hh = nn.Parameter(torch.empty(four))
        self.bias = nn.Parameter(torch.empty(four))
        self.gain_c = nn.Parameter(torch.empty(hidden_size))
        self.bias_c = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            for gain in (self.gain_ih, self.gain_hh, self.gain_c):
                gain.fill_(1)
            for bias in (self.bias, self.bias_c):
                bias.zero_()

    def initial_state(self, batch_size: int) -> LayerNormLSTMState:
        zeros = self.zeros(batch_size, self.hidden_size)
        return LayerNormLSTMState(zeros, zeros.clone())

    def prepare(self, inputs: Tensor) -> Tensor:
        x = linear(inputs, self.weight_ih)
        return layer_norm(x, (4 * self.hidden_size,), self.gain_ih, self.bias, self.epsilon)

    def step(
        self, x: Tensor, state: LayerNormLSTMState, record: Record | None = None
    ) -> tuple[Tensor, LayerNormLSTMState]:
        h, c = state
        recurrent = linear(h, self.weight_hh)
        gates = x + layer_norm(recurrent, (4 * self.hidden_size,), self.gain_hh, None, self.epsilon)
        i, f, g, o = gates.chunk(4, -1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        c = f * c + i * g
        h = o * torch.tanh(layer_norm(c, (self.hidden_size,), self.gain_c, self.bias_c, self.epsilon))
        if record is not None:
            record.update(i=i, f=f, g=g, o=o, c=c)
        return h, LayerNormLSTMState(h, c)
