"""A source read by recurrent cells, from both ends, layer upon layer: the memory of a decoder.

    f_t = cell(x_t, f_(t-1))        b_t = cell'(x_t, b_(t+1))        y_t = [f_t; b_t], the next layer's x
    pyramid: the next layer's x_t = [y_(2t); y_(2t+1)], half as many

Schuster and Paliwal 1997; as an encoder: Bahdanau, Cho and Bengio 2015; the pyramid: Chan et al. 2016.
Shapes: S time, N batch, C input, H units of a direction, D directions; outputs (S, N, D H).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from elman import counter
from elman.cells import CELLS, Cell, State, map_state
from elman.errors import ConfigError
from elman.padded import Padded
from elman.scan import choose, scan
from elman.tokens import Tokens


class Read(NamedTuple):
    """outputs (S, N, D H) of the last layer; states: each layer's last ones, of every direction."""

    outputs: Padded
    states: tuple[tuple[State, ...], ...]


class RecurrentEncoder(nn.Module):
    """`layers` of the cell of this name, with H = `hidden` units in each direction.

    pyramid: each layer but the first reads its places in pairs; what is missing of a last pair is zero.
    dropout: of what goes up from layer to layer, each place and unit for itself, in training mode; the masks
    are a function of (seed, element, step, layer, unit). compute: the type in which the kernels compute in
    training. Raises ConfigError for an unknown cell and for sizes out of range.
    """

    cells: Any  # an nn.ModuleList of nn.ModuleLists, of which torch cannot say what they hold

    def __init__(
        self,
        input_size: int,
        hidden: int,
        *,
        cell: str = "gru",
        layers: int = 1,
        bidirectional: bool = True,
        pyramid: bool = False,
        dropout: float = 0.0,
        compute: torch.dtype | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"encoder: expected at least 1 layer, got {layers}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"encoder: dropout must be at least 0 and below 1, got {dropout}")
        kind = named_cell(cell)
        self.directions = 2 if bidirectional else 1
        self.pyramid = pyramid
        self.dropout = dropout
        self.compute = compute
        self.cells = nn.ModuleList()
        size = input_size
        for layer in range(layers):
            size = 2 * size if pyramid and layer else size
            row = [kind(size, hidden) for _ in range(self.directions)]
            self.cells.append(nn.ModuleList(row))
            size = sum(cell.output_size for cell in row)
        self.output_size = size
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Draws the next masks from a new key."""
        self._keys = tuple(counter.child(seed, layer) for layer in range(len(self.cells)))

    def forward(self, inputs: Tensor | Tokens, lengths: Tensor) -> Read:
        """inputs (S, N, C) or Tokens, lengths (N,)."""
        x: Any = inputs
        finals = []
        for layer, row in enumerate(self.cells):
            if layer and self.training and self.dropout:
                steps = torch.arange(x.shape[0], device=x.device)[:, None].expand(x.shape[:2])
                x = counter.dropout(x, self.dropout, self._keys[layer], steps)
            if layer and self.pyramid:
                x, lengths = in_pairs(x), (lengths + 1) // 2
            sides = [
                scan(cell, x, lengths=lengths, reverse=side == 1, compute=self._compute(cell))
                for side, cell in enumerate(row)
            ]
            finals.append(tuple(final for _, final in sides))
            x = torch.cat([outputs for outputs, _ in sides], -1) if len(sides) > 1 else sides[0][0]
        return Read(Padded(x, lengths), tuple(finals))

    def _compute(self, cell: Cell) -> torch.dtype | None:
        return computed_in(cell, self.compute if self.training else None)


def in_pairs(x: Tensor) -> Tensor:
    """(S, N, H), zero past an element's end -> (ceil(S / 2), N, 2 H): two places side by side."""
    if len(x) % 2:
        x = torch.cat([x, x.new_zeros(1, *x.shape[1:])])
    return torch.cat([x[0::2], x[1::2]], -1)


def named_cell(name: str) -> type[Cell]:
    """The cell of this name; raises ConfigError for one that is not in the table."""
    if name not in CELLS:
        raise ConfigError(f"cell: expected one of {', '.join(CELLS)}, got {name!r}")
    return CELLS[name]


def computed_in(cell: Cell, compute: torch.dtype | None) -> torch.dtype | None:
    """`compute` where a kernel runs the cell; the reference, which steps it, keeps the parameters' type."""
    return compute if compute is None or choose(cell).path != "reference" else None


def joined(states: tuple[State, ...]) -> State:
    """The states of a layer's directions side by side."""
    return map_state(lambda *parts: torch.cat(parts, -1), *states)
