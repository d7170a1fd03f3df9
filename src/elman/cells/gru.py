"""Gated recurrent unit, with the reset gate before or after the recurrent product.

    r = sigmoid(W_xr x + W_hr h + b_r)                   z = sigmoid(W_xz x + W_hz h + b_z)
    n = tanh(W_xn x + b_xn + r * (W_hn h + b_hn))        reset after the product (torch, cuDNN)
    n = tanh(W_xn x + b_xn + W_hn (r * h) + b_hn)        reset before the product (Cho et al. 2014)
    h' = z * h + (1 - z) * n                             update "keep": z keeps the old (Cho et al., torch)
    h' = (1 - z) * h + z * n                             update "write": z writes the new (Chung et al. 2014)

Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014; Chung et al., "Empirical
evaluation of gated recurrent neural networks on sequence modeling", 2014.
Shapes: x (N, C), h (N, H), weight_ih (3H, C), weight_hh (3H, H), biases (3H); gates r z n.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from elman.cells.base import Cell, Record, gate_weights
from elman.errors import ConfigError

RESETS = ("after", "before")
UPDATES = ("keep", "write")


class GRUState(NamedTuple):
    h: Tensor


class GRUCell(Cell):
    """Gated recurrent unit; the output is h'.

    reset: "after" or "before" the recurrent product. update: what z does, "keep" the old or "write" the new.
    Records the gates r z and the candidate n. Raises ConfigError for other words.
    """

    records = ("r", "z", "n")

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        recurrent_bias: bool = True,
        reset: str = "after",
        update: str = "keep",
    ) -> None:
        super().__init__(input_size, hidden_size)
        for name, value, allowed in (("reset", reset, RESETS), ("update", update, UPDATES)):
            if value not in allowed:
                raise ConfigError(f"GRUCell: {name} must be one of {', '.join(allowed)}, got {value!r}")
        self.reset_gate = reset
        self.update_gate = update
        gate_weights(self, 3, bias, recurrent_bias)
        self.reset_parameters()

    def initial_state(self, batch_size: int) -> GRUState:
        return GRUState(self.zeros(batch_size, self.hidden_size))

    def prepare(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih, self.bias_ih)

    def step(self, x: Tensor, state: GRUState, record: Record | None = None) -> tuple[Tensor, GRUState]:
        (h,) = state
        x_r, x_z, x_n = x.chunk(3, -1)
        if self.reset_gate == "after":
            h_r, h_z, h_n = linear(h, self.weight_hh, self.bias_hh).chunk(3, -1)
            r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
            n = torch.tanh(x_n + r * h_n)
        else:
            two = 2 * self.hidden_size
            bias_rz, bias_n = (
                (None, None) if self.bias_hh is None else (self.bias_hh[:two], self.bias_hh[two:])
            )
            h_r, h_z = linear(h, self.weight_hh[:two], bias_rz).chunk(2, -1)
            r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
            n = torch.tanh(x_n + linear(r * h, self.weight_hh[two:], bias_n))
        h = z * h + (1 - z) * n if self.update_gate == "keep" else (1 - z) * h + z * n
        if record is not None:
            record.update(r=r, z=z, n=n)
        return h, GRUState(h)
