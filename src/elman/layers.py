"""Recurrent layers as torch.nn has them, with lengths: changing an import is enough.

RNN, LSTM and GRU take torch.nn's arguments, names, gate order, initialisation and state_dict and give the
same numbers; `lengths=` replaces PackedSequence (which is still accepted). Bidirectional puts two cells of
any kind side by side.

Shapes: T time, N batch, C input, H hidden, P projection (or H), D directions, L layers.
input (T, N, C), (N, T, C) with batch_first, or (T, C), or Tokens of ids (T, N) or (N, T) alike; output
(T, N, D P) likewise; h (L D, N, P), c (L D, N, H).
"""

from abc import ABC, abstractmethod
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman import operators, torch_path
from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell, State
from elman.errors import ConfigError, ShapeError
from elman.scan import choose, scan
from elman.tokens import Tokens


class Recurrent(nn.Module, ABC):
    """What RNN, LSTM and GRU share: layers and directions of one kind of cell, under torch's parameter names.

    The parameters belong to this module, as weight_ih_l0, weight_hh_l0_reverse and so on. The cells are empty
    forms; every call fills copies of them, so that whatever replaces a parameter of this module is what is
    used, and nothing of a call remains.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        shared: bool,
        device: Any,
        dtype: Any,
        **options: Any,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ConfigError(f"num_layers: expected at least 1, got {num_layers}")
        if not 0 <= dropout <= 1:
            raise ConfigError(f"dropout: expected a probability from 0 to 1, got {dropout}")
        if shared and not bidirectional:
            raise ConfigError("shared: only a bidirectional layer has two directions that can share weights")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.shared = shared
        self._suffixes: list[tuple[str, ...]] = []
        cells: list[tuple[Cell, ...]] = []
        size = input_size
        for layer in range(num_layers):
            suffixes = (
                (f"_l{layer}", f"_l{layer}_reverse") if bidirectional and not shared else (f"_l{layer}",)
            )
            with torch.device("meta"):
                row = tuple(self._cell(size, bias, options) for _ in suffixes)
            for cell, suffix in zip(row, suffixes, strict=True):
                for name, form in cell.named_parameters():
                    values = torch.empty(form.shape, device=device, dtype=dtype)
                    self.register_parameter(name + suffix, nn.Parameter(values))
            self._suffixes.append(suffixes)
            cells.append(row)
            size = row[0].output_size * (2 if bidirectional else 1)
        # A tuple, so that torch does not register the cells: their parameters are registered here.
        self._cells = tuple(cells)
        self.output_size = size
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all parameters anew, from the distribution and in the order of torch.nn."""
        for cell in (cell for row in self._bound_cells() for cell in row):
            cell.reset_parameters()

    @abstractmethod
    def _cell(self, input_size: int, bias: bool, options: dict[str, Any]) -> Cell:
        """One cell of this kind."""

    def forward(
        self, input: Tensor | PackedSequence | Tokens, hx: Any = None, lengths: Tensor | None = None
    ) -> tuple[Any, Any]:
        """input, hx (torch's initial state, zero where None) -> output, state, both in torch's form.

        lengths (N,): each element's steps; output is zero past them and the state is the one at an element's
        own last step. A PackedSequence gives a PackedSequence. Tokens are the rows that they name.
        Raises ShapeError for arguments that do not fit.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx, lengths)
        if isinstance(input, Tokens):
            tokens = input.with_ids(input.ids.t()) if self.batch_first else input
            outputs, final = self._layers(tokens, self._start(hx, self._like(), tokens.shape[1]), lengths)
            return (outputs.transpose(0, 1) if self.batch_first else outputs), final
        if input.dim() not in (2, 3):
            raise ShapeError(f"{type(self).__name__}: input must have 2 or 3 axes, got {tuple(input.shape)}")
        single = input.dim() == 2
        if single and lengths is not None:
            raise ShapeError(
                f"{type(self).__name__}: lengths go with a batch, got input {tuple(input.shape)}"
            )
        if single:
            input = input[:, None]
            hx = None if hx is None else _each(hx, lambda part: part[:, None])
        elif self.batch_first:
            input = input.transpose(0, 1)
        outputs, final = self._layers(input, self._start(hx, input, input.shape[1]), lengths)
        if single:
            return outputs[:, 0], _each(final, lambda part: part[:, 0])
        return (outputs.transpose(0, 1) if self.batch_first else outputs), final

    def _layers(
        self, inputs: Tensor | Tokens, start: tuple[Tensor, ...], lengths: Tensor | None
    ) -> tuple[Tensor, Any]:
        """inputs (T, N, C), start of (L D, N, ...) -> outputs (T, N, D P), final state in the same form."""
        if torch.compiler.is_compiling() and isinstance(inputs, Tensor):
            self._check_inputs(inputs, self._like())
            if operators.serves([inputs, *self.parameters(), *start]):
                found = self._written(inputs, start, lengths)
                if found is not None:
                    return found
        cells = self._bound_cells()
        first = cells[0][0]
        fused = lengths is None and inputs.shape.numel() > 0 and choose(first).path == "torch"
        if isinstance(inputs, Tokens) and fused:
            inputs.check(self.input_size)
            inputs = inputs.dense(self.input_size, self._like())
        if isinstance(inputs, Tensor):
            self._check_inputs(inputs, self._like())
        if isinstance(inputs, Tensor) and fused:
            weights = [
                w for row in self._directions(cells) for cell in row for w in torch_path.flat_weights(cell)
            ]
            outputs, *final = torch_path.call(
                first,
                inputs,
                start,
                weights,
                biased=self.bias,
                layers=self.num_layers,
                dropout=self.dropout,
                training=self.training,
                bidirectional=self.bidirectional,
            )
            return outputs, _form(tuple(final))
        state_type = type(first.initial_state(0))
        finals: list[State] = []
        x: Any = inputs
        for layer, row in enumerate(self._directions(cells)):
            if layer and self.dropout and self.training:
                x = nn.functional.dropout(x, self.dropout)
            sides = []
            for direction, cell in enumerate(row):
                state = state_type(*(part[layer * len(row) + direction] for part in start))
                outputs, final = scan(cell, x, state, lengths=lengths, reverse=direction == 1)
                sides.append(outputs)
                finals.append(final)
            x = torch.cat(sides, -1) if len(sides) > 1 else sides[0]
        return x, _form(tuple(torch.stack(parts) for parts in zip(*finals, strict=True)))

    def _written(
        self, inputs: Tensor, start: tuple[Tensor, ...], lengths: Tensor | None
    ) -> tuple[Tensor, Any] | None:
        """`_layers` as operators in a graph of torch.compile or export; None where they do not serve."""
        x, finals = inputs, []
        for layer, (cells, suffixes) in enumerate(zip(self._cells, self._suffixes, strict=True)):
            if layer and self.dropout and self.training:
                x = nn.functional.dropout(x, self.dropout)
            sides = []
            for direction in range(2 if self.bidirectional else 1):
                cell, suffix = cells[direction % len(cells)], suffixes[direction % len(cells)]
                place = operators.key(cell, self.training, None)
                if not place:
                    return None
                outputs, final = operators.run(
                    place,
                    cell.output_size,
                    x,
                    [getattr(self, name + suffix) for name, _ in cell.named_parameters()],
                    [part[len(finals)] for part in start],
                    lengths,
                    reverse=direction == 1,
                    recompute=False,
                )
                sides.append(outputs)
                finals.append(final)
            x = torch.cat(sides, -1) if len(sides) > 1 else sides[0]
        return x, _form(tuple(torch.stack(parts) for parts in zip(*finals, strict=True)))

    def _bound_cells(self) -> tuple[tuple[Cell, ...], ...]:
        """Copies of the cells that hold the parameters which this module has now."""
        return tuple(
            tuple(self._bound_cell(cell, suffix) for cell, suffix in zip(row, suffixes, strict=True))
            for row, suffixes in zip(self._cells, self._suffixes, strict=True)
        )

    def _bound_cell(self, cell: Cell, suffix: str) -> Cell:
        bound = copy(cell)
        bound._parameters = {
            name: None if form is None else getattr(self, name + suffix)
            for name, form in cell._parameters.items()
        }
        return bound

    def _directions(self, cells: tuple[tuple[Cell, ...], ...]) -> tuple[tuple[Cell, ...], ...]:
        """The cells of each layer, one for each direction; a shared one stands twice."""
        return tuple(row * 2 if self.shared else row for row in cells)

    def _check_inputs(self, inputs: Tensor, like: Tensor) -> None:
        name, size = type(self).__name__, inputs.shape[2]
        if inputs.layout != torch.strided:
            raise ShapeError(f"{name}: input must be dense, got {inputs.layout}; call to_dense()")
        if size != self.input_size:
            raise ShapeError(f"{name}: the last axis of input must be {self.input_size}, got {size}")
        typed = inputs.dtype == like.dtype or torch_path.autocast_type(inputs.device) is not None
        if not typed or inputs.device != like.device:
            raise ShapeError(
                f"{name}: input is {inputs.dtype} on {inputs.device}, "
                f"the parameters {like.dtype} on {like.device}"
            )

    def _like(self) -> Tensor:
        """A tensor of the type and on the device of the parameters."""
        return next(self.parameters())

    def _start(self, hx: Any, like: Tensor, batch: int) -> tuple[Tensor, ...]:
        """The initial state as a tuple of (L D, N, ...); raises ShapeError where `hx` does not fit."""
        first = self._cells[0][0]
        rows = self.num_layers * (2 if self.bidirectional else 1)
        zero = tuple(like.new_zeros(rows, *part.shape) for part in first.initial_state(batch))
        if hx is None:
            return zero
        parts = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        expected, got = [tuple(part.shape) for part in zero], [tuple(part.shape) for part in parts]
        if expected != got:
            raise ShapeError(
                f"{type(self).__name__}: initial state must have the shapes {expected}, got {got}"
            )
        own = self._like()
        for part in parts:
            typed = part.dtype == own.dtype or torch_path.autocast_type(own.device) is not None
            if not typed or part.device != own.device:
                raise ShapeError(
                    f"{type(self).__name__}: initial state is {part.dtype} on {part.device}, "
                    f"the parameters {own.dtype} on {own.device}"
                )
        return parts

    def _packed(self, packed: PackedSequence, hx: Any, lengths: Tensor | None) -> tuple[PackedSequence, Any]:
        if lengths is not None:
            raise ShapeError(
                f"{type(self).__name__}: a PackedSequence brings its own lengths; leave lengths= out"
            )
        padded, own = pad_packed_sequence(packed)
        outputs, final = self._layers(padded, self._start(hx, padded, padded.shape[1]), own.to(padded.device))
        order = packed.sorted_indices
        if order is not None:  # the one that came, not a new one: equal lengths may stand in any order
            outputs, own = outputs.index_select(1, order), own[order.cpu()]
        data = pack_padded_sequence(outputs, own).data
        return PackedSequence(data, packed.batch_sizes, order, packed.unsorted_indices), final

    def flatten_parameters(self) -> None:
        """Nothing to do here; torch.nn's layers have it, and code that calls it goes on working."""

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, " + (
            f"bidirectional={self.bidirectional}, batch_first={self.batch_first}"
        )


class RNN(Recurrent):
    """torch.nn.RNN with lengths; `nonlinearity` may also be sigmoid or identity.

    `shared` ties the weights of the two directions.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        shared: bool = False,
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            shared,
            device,
            dtype,
            nonlinearity=nonlinearity,
        )

    def _cell(self, input_size: int, bias: bool, options: dict[str, Any]) -> Cell:
        return ElmanCell(input_size, self.hidden_size, bias=bias, **options)


class LSTM(Recurrent):
    """torch.nn.LSTM with lengths, and what it lacks: peepholes, forget_bias, directions that share weights.

    Peepholes are the parameters peephole_l0 and so on, (3, H) for the gates i f o.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        peepholes: bool = False,
        forget_bias: float | None = None,
        shared: bool = False,
    ) -> None:
        self.proj_size = proj_size
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            shared,
            device,
            dtype,
            peepholes=peepholes,
            forget_bias=forget_bias,
        )

    def _cell(self, input_size: int, bias: bool, options: dict[str, Any]) -> Cell:
        return LSTMCell(input_size, self.hidden_size, bias=bias, projection=self.proj_size, **options)


class GRU(Recurrent):
    """torch.nn.GRU with lengths; `reset` and `update` choose among the published forms (elman.cells.gru)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        reset: str = "after",
        update: str = "keep",
        shared: bool = False,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            shared,
            device,
            dtype,
            reset=reset,
            update=update,
        )

    def _cell(self, input_size: int, bias: bool, options: dict[str, Any]) -> Cell:
        return GRUCell(input_size, self.hidden_size, bias=bias, **options)


class Bidirectional(nn.Module):
    """Two cells over the same inputs, one from each end; outputs side by side (Schuster and Paliwal 1997).

    y_t = [forward_t ; backward_t]. With one cell given, both directions share its weights.
    """

    def __init__(self, forward_cell: Cell, backward_cell: Cell | None = None) -> None:
        super().__init__()
        self.forward_cell = forward_cell
        self.backward_cell = forward_cell if backward_cell is None else backward_cell
        self.output_size = self.forward_cell.output_size + self.backward_cell.output_size

    def forward(
        self,
        inputs: Tensor | Tokens,
        state: tuple[State, State] | None = None,
        *,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, tuple[State, State]]:
        """inputs (T, N, C) or Tokens, a pair of states -> outputs (T, N, both H), the final states."""
        ahead, behind = (None, None) if state is None else state
        forward, ahead = scan(self.forward_cell, inputs, ahead, lengths=lengths)
        backward, behind = scan(self.backward_cell, inputs, behind, lengths=lengths, reverse=True)
        return torch.cat([forward, backward], -1), (ahead, behind)


def _each(state: Any, function: Any) -> Any:
    """`function` of a tensor or of each tensor of a tuple."""
    return function(state) if isinstance(state, Tensor) else tuple(function(part) for part in state)


def _form(parts: tuple[Tensor, ...]) -> Any:
    """A state as torch gives it: one tensor, or a pair for the LSTM."""
    return parts[0] if len(parts) == 1 else parts
