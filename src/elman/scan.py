"""The one time loop: a cell over a batch of sequences.

    s_0 = state        y_t, s_(t+1) = step(x_t, s_t)        t = 0 .. length - 1, backwards in x where reverse

This is the only place that knows time, lengths and direction. `ELMAN_KERNELS` or `kernels=` names the way:
`reference` steps the cell in Python (the specification), `torch` uses torch's own kernel for the cells it
has, `native` elman's, `auto` the fastest of these that there is for the cell. `choose` says which and why.

Shapes: T time, N batch, C input. inputs (T, N, C), outputs (T, N, H), lengths (N,) int64, resets (T, N) bool.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from elman import kernels as native
from elman import native_path, torch_path
from elman.cells.base import Cell, Combinator, Record, State, map_state, where_state
from elman.errors import ConfigError, KernelError, ShapeError
from elman.padded import check_lengths, expand_to, length_mask, reverse_by_length


@dataclass(frozen=True)
class Choice:
    """The way a cell is computed ("native", "torch", "reference", or "layers"), and the reason in words."""

    path: str
    reason: str


def choose(cell: Cell, kernels: str | None = None) -> Choice:
    """The way in which `scan` computes this cell over sequences of its parameters' type.

    Raises KernelError where the way that was asked for (`kernels`, else ELMAN_KERNELS) is not to be had.
    """
    like = next(cell.parameters(), torch.empty(0))
    probe = torch.zeros(2, 1, cell.input_size, dtype=like.dtype, device=like.device)
    return _choose(cell, kernels, probe, None)[0]


def _choose(
    cell: Cell, kernels: str | None, inputs: Tensor, state: State | None, compute: torch.dtype | None = None
) -> tuple[Choice, native_path.Trace | None]:
    """The choice for these tensors, and for "native" the cell's equations as they were read."""
    mode = native.mode() if kernels is None else kernels
    if mode not in native.MODES:
        raise ConfigError(f"kernels: expected one of {', '.join(native.MODES)}, got {mode!r}")
    if isinstance(cell, Combinator):
        return Choice("layers", "each of its cells is chosen for itself"), None
    if mode == "reference":
        return Choice("reference", "asked for"), None
    lack = torch_path.lacks(cell)
    # What torch has stays with torch on auto until the engine is shown to be faster at every shape.
    if mode in ("auto", "torch") and lack is None:
        return Choice("torch", "torch has a kernel for it"), None
    if mode == "torch":
        raise KernelError(f"{type(cell).__name__}: {lack}; use auto, native or reference")
    try:
        return Choice("native", "its step was read and cut into stages"), _read(
            cell, mode, inputs, state, compute
        )
    except native_path.Untraceable as error:
        if mode == "native":
            raise KernelError(f"{type(cell).__name__}: {error}; use auto, torch or reference") from error
        return Choice("reference", f"{lack}; native: {error}"), None


def _read(
    cell: Cell, mode: str, inputs: Tensor, state: State | None, compute: torch.dtype | None
) -> native_path.Trace:
    """The cell's equations for the native engine, or Untraceable with the reason why it does not serve."""
    if compute not in (None, inputs.dtype):
        raise native_path.Untraceable(f"only torch's kernels compute in {compute}")
    if mode == "auto" and inputs.shape[0] == 1:
        raise native_path.Untraceable("a single step has nothing to gain")
    lack = native_path.lacks(cell, inputs)
    if lack is not None:
        raise native_path.Untraceable(lack)
    return native_path.read(cell, inputs, cell.initial_state(inputs.shape[1]) if state is None else state)


def scan(
    cell: Cell,
    inputs: Tensor,
    state: State | None = None,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
    resets: Tensor | None = None,
    record: Sequence[str] = (),
    kernels: str | None = None,
    compute: torch.dtype | None = None,
) -> Any:
    """Runs `cell` over `inputs` (T, N, C).

    state: the state before the first step; None for the cell's initial state. lengths (N,): steps of each
    element, T where None. reverse: from each element's last step to its first. resets (T, N): True where an
    element's state is the initial one before that step. record: names of intermediates (the cell's `records`)
    to return over time. compute: the type in which torch's kernels compute, where it is not that of the
    inputs; what comes back is of the inputs' type.

    Returns outputs (T, N, H), zero past an element's end, and the state of each element after its own last
    step (an empty element's is the one it came with); with `record` also a dict of tensors (T, N, ...).
    The numbers of a sequence run in chunks, with the state carried, are those of the whole.

    Raises ShapeError for arguments that do not fit, ConfigError for a name in `record` that the cell does not
    have, KernelError as `choose` does and where `compute` is asked of a cell that torch has no kernel for.
    """
    _check_inputs(cell, inputs, resets)
    _check_record(cell, record)
    time, batch = inputs.shape[:2]
    state = cell.initial_state(batch) if state is None else state
    _check_state(cell, state, batch)
    if lengths is not None:
        lengths = check_lengths(lengths, time, batch, inputs.device)
        # What stands in the padding may be anything, NaN too; as zero it cannot reach a sum or a gradient.
        inputs = torch.where(expand_to(length_mask(lengths, time), inputs), inputs, 0)
    if reverse:
        inputs = reverse_by_length(inputs, lengths)
        resets = None if resets is None else reverse_by_length(resets, lengths)

    pieces: list[Tensor] = []
    shown: list[Record] = []
    for start, stop in pairwise(_bounds(resets, time)):
        left = None if lengths is None else (lengths - start).clamp(0, stop - start)
        if resets is not None and start < time:
            again = resets[start] if left is None else resets[start] & (left > 0)
            state = cell.reset(state, again) if bool(again.any()) else state
        if record:
            outputs, state, recorded = _reference(cell, inputs[start:stop], state, left, record)
            shown.append(recorded)
        else:
            outputs, state = _run(cell, inputs[start:stop], state, left, kernels, compute)
        pieces.append(outputs)

    outputs = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    recorded = {name: torch.cat([part[name] for part in shown]) for name in record}
    if reverse:
        outputs = reverse_by_length(outputs, lengths)
        recorded = {name: reverse_by_length(values, lengths) for name, values in recorded.items()}
    return (outputs, state, recorded) if record else (outputs, state)


def _run(
    cell: Cell,
    inputs: Tensor,
    state: State,
    lengths: Tensor | None,
    kernels: str | None,
    compute: torch.dtype | None,
) -> tuple[Tensor, State]:
    """A stretch without resets, the way that `choose` names."""
    if isinstance(cell, Combinator):
        choose(cell, kernels)
        return cell.whole(lambda c, x, s: _run(c, x, s, lengths, kernels, compute), inputs, state, lengths)
    choice, traced = _choose(cell, kernels, inputs, state, compute)
    if choice.path == "torch" and inputs.numel():
        return torch_path.run(cell, inputs, state, lengths, compute)
    if choice.path != "torch" and compute not in (None, inputs.dtype):
        raise KernelError(
            f"{type(cell).__name__}: only torch's kernels compute in {compute}, "
            f"and here the reference does ({choice.reason}); use {inputs.dtype}"
        )
    if traced is not None and inputs.numel():
        return native_path.run(traced, state, lengths)
    outputs, state, _ = _reference(cell, inputs, state, lengths, ())
    return outputs, state


def _reference(
    cell: Cell, inputs: Tensor, state: State, lengths: Tensor | None, record: Sequence[str]
) -> tuple[Tensor, State, Record]:
    """The loop itself: one `step` after the other, an element's state held from its end on."""
    time = inputs.shape[0]
    if not time:  # a step on zeros tells the shapes
        one, _, shown = _reference(cell, inputs.new_zeros(1, *inputs.shape[1:]), state, None, record)
        return one[:0], state, {name: values[:0] for name, values in shown.items()}
    prepared = cell.prepare(inputs)
    outputs: list[Tensor] = []
    recorded: dict[str, list[Tensor]] = {name: [] for name in record}
    for t in range(time):
        intermediates: Record = {}
        arguments = (_slice(prepared, t), state, intermediates) if record else (_slice(prepared, t), state)
        output, new = cell.step(*arguments)
        live = None if lengths is None else t < lengths
        state = new if live is None else where_state(live, new, state)
        outputs.append(_live(output, live))
        for name in record:
            recorded[name].append(_live(intermediates[name], live))
    return torch.stack(outputs), state, {name: torch.stack(values) for name, values in recorded.items()}


def _live(values: Tensor, live: Tensor | None) -> Tensor:
    """`values` with the elements that have ended set to zero."""
    return values if live is None else torch.where(expand_to(live, values), values, 0)


def _slice(prepared: Any, t: int) -> Any:
    return map_state(lambda part: part[t], prepared)


def _bounds(resets: Tensor | None, time: int) -> list[int]:
    """Where time has to be cut: at 0, at every step that resets an element, and at the end."""
    cuts = [] if resets is None else resets.any(1).nonzero()[:, 0].tolist()
    return [0, *(t for t in cuts if t), time]


def _check_inputs(cell: Cell, inputs: Tensor, resets: Tensor | None) -> None:
    if inputs.dim() < 3 or inputs.shape[2] != cell.input_size:
        raise ShapeError(
            f"scan: inputs must be (T, N, {cell.input_size}) for this {type(cell).__name__}, "
            f"got {tuple(inputs.shape)}"
        )
    like = next(cell.parameters(), inputs)
    typed = inputs.dtype == like.dtype or torch_path.autocast_type(inputs.device) is not None
    if not typed or inputs.device != like.device:
        raise ShapeError(
            f"scan: inputs are {inputs.dtype} on {inputs.device}, "
            f"the cell's parameters {like.dtype} on {like.device}"
        )
    if resets is not None and (resets.shape != inputs.shape[:2] or resets.dtype != torch.bool):
        raise ShapeError(
            f"scan: resets must be bool {tuple(inputs.shape[:2])}, got {resets.dtype} {tuple(resets.shape)}"
        )


def _check_record(cell: Cell, record: Sequence[str]) -> None:
    for name in record:
        if name not in cell.records:
            known = ", ".join(cell.records) or "nothing"
            raise ConfigError(f"record: {type(cell).__name__} shows {known}, not {name!r}")


def _check_state(cell: Cell, state: State, batch: int) -> None:
    """The state must have the types, structure and shapes of the cell's initial state."""
    name = type(cell).__name__
    pairs = [(cell.initial_state(batch), state)]
    while pairs:
        expected, got = pairs.pop(0)
        if isinstance(expected, Tensor) and isinstance(got, Tensor):
            if expected.shape != got.shape:
                wanted = tuple(expected.shape)
                raise ShapeError(f"scan: a state of {name} must be {wanted}, got {tuple(got.shape)}")
        elif isinstance(expected, Tensor) or type(got) is not type(expected) or len(got) != len(expected):
            raise ShapeError(
                f"scan: state must be built as the initial state of {name} is, "
                f"with {type(expected).__name__} where it has {type(got).__name__}"
            )
        else:
            pairs.extend(zip(expected, got, strict=True))
