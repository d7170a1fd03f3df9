"""A decoder that attends: a cell whose step also looks into a memory.

    luong       h_t = cells(x_t, a_(t-1); state)        c_t = attend(h_t)
                a_t = tanh(W_c c_t + W_h h_t + b)       output a_t, which is fed back (input feeding)
    bahdanau    c_t = attend(h_(t-1))                   h_t = cells(x_t, c_t; state)        output [h_t; c_t]

What is fed back (F: a, or c) joins the first cell's input as W_feed F, added to what the cell prepares of x:
the symbol's own part is done for all time at once, in `prepare`. Upper cells stand on the outputs of those
below. `bind` gives the cell its memory; keys are computed there, once.

Luong, Pham and Manning 2015; Bahdanau, Cho and Bengio 2015.
Shapes: T time, N batch, S places, x (N, C), h (N, H), a (N, D), memory (S, N, M), weights (N, S),
weight_feed (G, D or M) for what the first cell prepares (N, G), weight_context (D, M), weight_output (D, H).
"""

from collections.abc import Sequence
from copy import copy
from itertools import pairwise
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from elman import counter
from elman.attention import Attention, Memory
from elman.attention.base import Past, uniform_
from elman.cells.base import Cell, Record, State, map_state
from elman.errors import ConfigError, ShapeError

ORDERS = ("luong", "bahdanau")


class AttentionState(NamedTuple):
    """cells: those of the recurrent cells. carried: a (N, D) for luong, the last h (N, H) for bahdanau.

    past: what the attention remembers, () for most kinds.
    """

    cells: tuple[State, ...]
    carried: Tensor
    past: Past


class AttentionCell(Cell):
    """Recurrent cells that attend to a memory, in one of two orders.

    cells: the first takes the inputs, each later one the outputs below it; what the first one prepares must
    be a tensor (T, N, G). size: D, the attentional vector's, for luong; H by default. dropout: of what goes
    up between cells, with one mask for all steps of a sequence (Gal and Ghahramani 2016), drawn when a memory
    is bound in training mode, from `seed` or as `reseed` says; the same numbers then come in chunks.
    `step` is all in plain torch: products of (N, .) by weights, and the look at the memory, which for
    attention by content is one function of elman.attend.
    Records "attention", the weights, and "choice" where a place is drawn. Raises ConfigError for another
    order or cells that cannot be fed, ShapeError where sizes do not follow each other.
    """

    cells: Any  # an nn.ModuleList, of which torch cannot say that it holds cells

    def __init__(
        self,
        cells: Sequence[Cell],
        attention: Attention,
        *,
        order: str = "luong",
        size: int | None = None,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        _check(cells, attention, order, dropout)
        super().__init__(cells[0].input_size, cells[-1].output_size)
        self.cells = nn.ModuleList(cells)
        self.attention = attention
        self.records = ("attention", "choice") if attention.draws else ("attention",)
        self.order = order
        self.dropout = dropout
        self.memory: Memory | None = None
        self._masks: tuple[Tensor, ...] = ()
        self._rows: tuple[Tensor, Self] | None = None
        context = attention.context_size
        if order == "luong":
            self.size = self.hidden_size if size is None else size
            both = context + self.hidden_size
            self.weight_context = uniform_(torch.empty(self.size, context), both)
            self.weight_output = uniform_(torch.empty(self.size, self.hidden_size), both)
            self.bias_output = nn.Parameter(torch.zeros(self.size))
        else:
            self.size = self.hidden_size + context
        fed = self.size if order == "luong" else context
        self.weight_feed = uniform_(torch.empty(_prepared_size(cells[0]), fed), self.hidden_size)
        self.reseed(seed)

    @property
    def output_size(self) -> int:
        """D for luong, H + M for bahdanau."""
        return self.size

    @property
    def query_size(self) -> int:
        """Size of what attends, H."""
        return self.hidden_size

    def reset_parameters(self) -> None:
        """Each cell draws its parameters in its own way; those of the attention stay."""
        for cell in self.cells:
            cell.reset_parameters()

    def reseed(self, seed: int) -> None:
        """Draws the masks of later memories, and what the attention draws, from a new key."""
        self.attention.reseed(counter.child(seed, len(self.cells)))
        self._keys = tuple(counter.child(seed, place) for place in range(len(self.cells)))

    def bind(self, memory: Tensor, lengths: Tensor | None = None) -> Self:
        """The cell over this memory (S, N, M): a light copy with the same parameters.

        Raises ShapeError as `Attention.bind` does.
        """
        bound = copy(self)
        bound.memory = self.attention.bind(memory, lengths)
        bound._masks = bound._draw(memory.shape[1]) if self.training and self.dropout else ()
        bound._rows = None
        return bound

    def rows(self, index: Tensor) -> Self:
        """A bound cell over its elements `index` (n,), repeated and reordered; kept for the same index."""
        if self._rows is None or not torch.equal(self._rows[0], index):
            bound = copy(self)
            bound.memory = self._bound().rows(index)
            bound._masks = tuple(mask[index] for mask in self._masks)
            bound._rows = None
            self._rows = index, bound
        return self._rows[1]

    def initial_state(self, batch_size: int) -> AttentionState:
        """Zeros; the attention's past as it begins. Raises ShapeError before a memory is bound."""
        return AttentionState(
            tuple(cell.initial_state(batch_size) for cell in self.cells),
            self.zeros(batch_size, self.size if self.order == "luong" else self.hidden_size),
            self.attention.start(self._bound(), batch_size),
        )

    def prepare(self, inputs: Tensor) -> Tensor:
        return self.cells[0].prepare(inputs)

    def step(
        self, x: Tensor, state: AttentionState, record: Record | None = None
    ) -> tuple[Tensor, AttentionState]:
        memory = self._bound()
        if self.order == "luong":
            h, cells = self._recur(x + linear(state.carried, self.weight_feed), state.cells)
            looked = self.attention(h, memory, state.past)
            output = torch.tanh(
                linear(looked.context, self.weight_context) + linear(h, self.weight_output, self.bias_output)
            )
            carried = output
        else:
            looked = self.attention(state.carried, memory, state.past)
            h, cells = self._recur(x + linear(looked.context, self.weight_feed), state.cells)
            output, carried = torch.cat([h, looked.context], -1), h
        if record is not None:
            record["attention"] = looked.weights
            if looked.choice is not None:
                record["choice"] = looked.choice
        return output, AttentionState(cells, carried, looked.past)

    def _recur(self, x: Tensor, states: tuple[State, ...]) -> tuple[Tensor, tuple[State, ...]]:
        """The cells on top of each other: what the first one takes -> the last one's output, their states."""
        found = []
        for place, (cell, state) in enumerate(zip(self.cells, states, strict=True)):
            if place:
                x = x * self._masks[place - 1] if self._masks else x
                x = map_state(lambda part: part[0], cell.prepare(x[None]))
            x, state = cell.step(x, state)
            found.append(state)
        return x, tuple(found)

    def _bound(self) -> Memory:
        if self.memory is None:
            raise ShapeError("AttentionCell: bind it to a memory before it runs: cell.bind(memory, lengths)")
        return self.memory

    def _draw(self, batch: int) -> tuple[Tensor, ...]:
        """For each cell but the last, the mask (N, H) on what it gives to the next."""
        like = next(self.parameters())
        steps = torch.zeros(batch, dtype=torch.int64, device=like.device)
        return tuple(
            counter.dropout(like.new_ones(batch, cell.output_size), self.dropout, key, steps)
            for cell, key in zip(self.cells[:-1], self._keys, strict=False)
        )


def _check(cells: Sequence[Cell], attention: Attention, order: str, dropout: float) -> None:
    if order not in ORDERS:
        raise ConfigError(f"AttentionCell: order must be one of {', '.join(ORDERS)}, got {order!r}")
    if not 0 <= dropout < 1:
        raise ConfigError(f"AttentionCell: dropout must be at least 0 and below 1, got {dropout}")
    if not cells:
        raise ShapeError("AttentionCell: expected at least one cell, got none")
    for place, (below, above) in enumerate(pairwise(cells)):
        if below.output_size != above.input_size:
            raise ShapeError(
                f"AttentionCell: cell {place} gives outputs of size {below.output_size}, "
                f"cell {place + 1} takes {above.input_size}"
            )
    if attention.query_size != cells[-1].output_size:
        raise ShapeError(
            f"AttentionCell: the attention takes queries of size {attention.query_size}, "
            f"the last cell gives {cells[-1].output_size}"
        )


def _prepared_size(cell: Cell) -> int:
    """G, of what the cell prepares; raises ConfigError where nothing can be added to it."""
    like = next(cell.parameters(), torch.empty(0))
    with torch.no_grad():
        prepared = cell.prepare(like.new_zeros(1, 1, cell.input_size))
    if not isinstance(prepared, Tensor) or prepared.dim() != 3:
        raise ConfigError(
            f"AttentionCell: what a {type(cell).__name__} prepares is not one tensor (T, N, G); "
            "nothing can be fed to it as the first cell"
        )
    return prepared.shape[2]
