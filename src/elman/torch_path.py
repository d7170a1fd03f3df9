"""torch's own recurrent kernels over a whole sequence, made to respect lengths without PackedSequence.

A batch of unequal lengths runs padded. Outputs need no more than a mask. The final h of an element is its
output at its own last step. The final c of an LSTM is not among the outputs: the input gets one more feature,
1 where a step is padding, whose weight closes the input gate (sigmoid(-1e4) = 0) and opens the forget gate
(sigmoid(1e4) = 1), so that c' = 1 c + 0 g is carried unchanged to the end, and no gradient passes through the
padding. A relu network could grow to inf in the padding, and a gradient of zero times inf is NaN: there the
same feature pushes all units below zero.

Shapes: inputs (T, N, C), outputs (T, N, H or P), lengths (N,) int64.
"""

import torch
from torch import Tensor

from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell, State
from elman.padded import expand_to, length_mask

HOLD = 1e4
"""Preactivation at which a sigmoid is 0 or 1 in every float type."""

BLOCKS = 8
"""In how many parts the gradient of an LSTM's bias is summed."""


def lacks(cell: Cell) -> str | None:
    """Why torch has no kernel for this cell; None where it has one."""
    if type(cell) is ElmanCell:
        return None if cell.nonlinearity in ("tanh", "relu") else f"torch has no {cell.nonlinearity} network"
    if type(cell) is LSTMCell:
        return None if cell.peephole is None else "torch's LSTM has no peepholes"
    if type(cell) is GRUCell:
        if (cell.reset_gate, cell.update_gate) == ("after", "keep"):
            return None
        return "torch's GRU resets after the product and keeps with z"
    return f"torch has no kernel for {type(cell).__name__}"


def run(
    cell: Cell, inputs: Tensor, state: State, lengths: Tensor | None, compute: torch.dtype | None = None
) -> tuple[Tensor, State]:
    """One cell over all time on torch's kernel: outputs, zero past an element's end, and the last state.

    compute: the type of the kernel's arithmetic, where it is not that of the inputs, whose type comes back.
    """
    kind = compute or inputs.dtype
    fixed = lengths is None or bool((lengths == inputs.shape[0]).all())
    weights, biased = flat_weights(cell), cell.bias_ih is not None
    if not fixed and isinstance(cell, LSTMCell):
        inputs, weights[:] = _hold_memory(cell, inputs, lengths, weights)
        biased = False
    elif not fixed and isinstance(cell, ElmanCell) and cell.nonlinearity == "relu":
        inputs, weights[0] = _hold_at_zero(cell, inputs, lengths, kind)
    weights = [weight.to(kind) for weight in weights]
    start = tuple(part[None].contiguous().to(kind) for part in state)
    outputs, *final = call(
        cell,
        inputs.to(kind),
        start,
        weights,
        biased=biased,
        layers=1,
        dropout=0.0,
        training=False,
        bidirectional=False,
    )
    outputs, final = outputs.to(inputs.dtype), [part[0].to(inputs.dtype) for part in final]
    if not fixed:
        mask = length_mask(lengths, inputs.shape[0])
        outputs = torch.where(expand_to(mask, outputs), outputs, 0)
        last = outputs[(lengths - 1).clamp(min=0), torch.arange(len(lengths), device=lengths.device)]
        final[0] = last
        final = [torch.where((lengths > 0)[:, None], new, old) for new, old in zip(final, state, strict=True)]
    return outputs, type(state)(*final)


def autocast_type(device: torch.device) -> torch.dtype | None:
    """The type in which autocast lets operations on this device compute; None where it is off."""
    kind = device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if on else None


def call(
    cell: Cell,
    inputs: Tensor,
    state: tuple[Tensor, ...],
    weights: list[Tensor],
    *,
    biased: bool,
    layers: int,
    dropout: float,
    training: bool,
    bidirectional: bool,
) -> tuple[Tensor, ...]:
    """torch.lstm, torch.gru, torch.rnn_tanh or torch.rnn_relu for the kind and options of `cell`."""
    options = (biased, layers, dropout, training, bidirectional, False)
    if isinstance(cell, LSTMCell):
        return torch.lstm(inputs, state, weights, *options)
    if isinstance(cell, GRUCell):
        return torch.gru(inputs, state[0], weights, *options)
    function = torch.rnn_tanh if cell.nonlinearity == "tanh" else torch.rnn_relu
    return function(inputs, state[0], weights, *options)


def flat_weights(cell: Cell) -> list[Tensor]:
    """A cell's parameters in torch's order; a recurrent bias that the cell does not have is zero."""
    assert isinstance(cell, (ElmanCell, GRUCell, LSTMCell)), "a cell that `lacks` lets through"
    weights = [cell.weight_ih, cell.weight_hh]
    if cell.bias_ih is not None:
        weights += [cell.bias_ih, torch.zeros_like(cell.bias_ih) if cell.bias_hh is None else cell.bias_hh]
    if isinstance(cell, LSTMCell) and cell.weight_hr is not None:
        weights.append(cell.weight_hr)
    return weights


def _hold_memory(
    cell: LSTMCell, inputs: Tensor, lengths: Tensor, weights: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Inputs with the padding flag and BLOCKS more features, and weight_ih with their columns; no biases.

    The biases are columns of weight_ih too, one for each block of time, in which its feature is one. Thus the
    gradient of a bias is summed in parts, by products; oneDNN's own sum over time and batch was seen 4 to 12
    times further from float64 than that of torch's PackedSequence.
    """
    time, batch = inputs.shape[:2]
    hold = cell.weight_ih.new_zeros(len(cell.weight_ih), 1)
    hold[: cell.hidden_size], hold[cell.hidden_size : 2 * cell.hidden_size] = -HOLD, HOLD
    features, columns = [inputs, _flag(inputs, lengths)], [weights[0], hold]
    if cell.bias_ih is not None:
        steps = torch.arange(time, device=inputs.device)[:, None]
        blocks = steps * BLOCKS // time == torch.arange(BLOCKS, device=inputs.device)
        features.append(blocks.to(inputs.dtype)[:, None].expand(-1, batch, -1))
        columns.append((weights[2] + weights[3])[:, None].expand(-1, BLOCKS))
    rest = weights[1:2] + ([] if cell.weight_hr is None else weights[-1:])
    return torch.cat(features, -1), [torch.cat(columns, 1), *rest]


def _hold_at_zero(
    cell: ElmanCell, inputs: Tensor, lengths: Tensor, kind: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Inputs with the padding flag, and weight_ih with its column, which is finite in the type `kind`."""
    low = -torch.finfo(autocast_type(inputs.device) or kind).max / 2
    column = cell.weight_ih.new_full((len(cell.weight_ih), 1), low)
    return torch.cat([inputs, _flag(inputs, lengths)], -1), torch.cat([cell.weight_ih, column], 1)


def _flag(inputs: Tensor, lengths: Tensor) -> Tensor:
    """(T, N, 1), 1 where a step is padding."""
    return (~length_mask(lengths, inputs.shape[0])).to(inputs.dtype)[..., None]
