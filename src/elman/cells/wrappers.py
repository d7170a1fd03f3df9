"""Combinators: cells made of cells.

Shapes: T time, N batch; the layers' sizes follow each other, cells[l].output_size = cells[l + 1].input_size.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from elman import counter
from elman.cells.base import Cell, Combinator, Record, State, map_state
from elman.errors import ConfigError, ShapeError
from elman.tokens import Tokens


class StackState(NamedTuple):
    layers: tuple[State, ...]
    step: Tensor
    """(N,) int64: how many steps each element has made; the place of its dropout masks."""


class Stack(Combinator):
    """Cells on top of each other, each fed with the outputs of the one below.

        x_0 = x        x_(l+1) = [x_l +] cell_l(D_l(x_l))        output = D_L(x_L)

    D is dropout: of the input (`dropout_in`), between layers (`dropout`), of the output (`dropout_out`), in
    training mode only. residual adds a layer's input to its output where the sizes allow it. Masks are a
    function of (seed, element, step, layer, unit), so that chunks equal the whole; `reseed` gives a new set,
    as a training loop does before every update. A reset does not rewind an element's count of steps: its
    masks do not repeat.
    Records what its cells record, as "0.i" for i of the lowest one.
    Raises ShapeError where sizes do not follow each other, ConfigError for a probability outside [0, 1).
    """

    cells: Any  # an nn.ModuleList, of which torch cannot say that it holds cells

    def __init__(
        self,
        cells: Sequence[Cell],
        *,
        dropout: float = 0.0,
        dropout_in: float = 0.0,
        dropout_out: float = 0.0,
        residual: bool = False,
        seed: int = 0,
    ) -> None:
        if not cells:
            raise ShapeError("Stack: expected at least one cell, got none")
        super().__init__(cells[0].input_size, cells[-1].hidden_size)
        for layer, (below, above) in enumerate(pairwise(cells)):
            if below.output_size != above.input_size:
                raise ShapeError(
                    f"Stack: cell {layer} gives outputs of size {below.output_size}, "
                    f"cell {layer + 1} takes {above.input_size}"
                )
        for name, value in (("dropout", dropout), ("dropout_in", dropout_in), ("dropout_out", dropout_out)):
            if not 0 <= value < 1:
                raise ConfigError(f"Stack: {name} must be at least 0 and below 1, got {value}")
        self.cells = nn.ModuleList(cells)
        self.records = tuple(f"{layer}.{name}" for layer, cell in enumerate(cells) for name in cell.records)
        self.probabilities = (dropout_in, *[dropout] * (len(cells) - 1), dropout_out)
        self.residual = residual
        self.reseed(seed)

    @property
    def output_size(self) -> int:
        return self.cells[-1].output_size

    def reset_parameters(self) -> None:
        """Each cell draws its parameters in its own way."""
        for cell in self.cells:
            cell.reset_parameters()

    def reseed(self, seed: int) -> None:
        """Draws all later masks from a new key."""
        self._keys = tuple(counter.child(seed, place) for place in range(len(self.probabilities)))

    def initial_state(self, batch_size: int) -> StackState:
        layers = tuple(cell.initial_state(batch_size) for cell in self.cells)
        device = next((p.device for p in self.parameters()), None)
        return StackState(layers, torch.zeros(batch_size, dtype=torch.int64, device=device))

    def reset(self, state: StackState, where: Tensor) -> StackState:
        layers = tuple(cell.reset(s, where) for cell, s in zip(self.cells, state.layers, strict=True))
        return StackState(layers, state.step)

    def step(self, x: Tensor, state: StackState, record: Record | None = None) -> tuple[Tensor, StackState]:
        layers = []
        for layer, (cell, inner) in enumerate(zip(self.cells, state.layers, strict=True)):
            prepared = map_state(lambda part: part[0], cell.prepare(self._drop(x, layer, state.step)[None]))
            if record is not None and cell.records:
                shown: Record = {}
                output, inner = cell.step(prepared, inner, shown)
                record.update({f"{layer}.{name}": value for name, value in shown.items()})
            else:
                output, inner = cell.step(prepared, inner)
            x = self._join(x, output)
            layers.append(inner)
        return self._drop(x, len(layers), state.step), StackState(tuple(layers), state.step + 1)

    def whole(
        self,
        run: Callable[[Cell, Any, State], tuple[Tensor, State]],
        inputs: Tensor | Tokens,
        state: StackState,
        lengths: Tensor | None,
    ) -> tuple[Tensor, StackState]:
        x: Any = inputs
        time = inputs.shape[0]
        if isinstance(x, Tokens) and self.training and self.probabilities[0]:
            x = x.dense(self.input_size, next(self.parameters()))  # with a mask no two positions are alike
        steps = state.step + torch.arange(time, device=state.step.device)[:, None]
        layers = []
        for layer, (cell, inner) in enumerate(zip(self.cells, state.layers, strict=True)):
            output, inner = run(cell, self._drop(x, layer, steps), inner)
            x = self._join(x, output)
            layers.append(inner)
        made = time if lengths is None else lengths
        return self._drop(x, len(layers), steps), StackState(tuple(layers), state.step + made)

    def _drop(self, x: Tensor, place: int, steps: Tensor) -> Tensor:
        if not self.training:
            return x
        return counter.dropout(x, self.probabilities[place], self._keys[place], steps)

    def _join(self, x: Tensor | Tokens, output: Tensor) -> Tensor:
        if isinstance(x, Tokens):
            if not self.residual or self.input_size != output.shape[-1]:
                return output
            x = x.dense(self.input_size, output)
        return x + output if self.residual and x.shape == output.shape else output
