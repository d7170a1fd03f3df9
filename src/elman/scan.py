"""The one time loop: a cell over a batch of sequences.

    s_0 = state        y_t, s_(t+1) = step(x_t, s_t)        t = 0 .. length - 1, backwards in x where reverse

This is the only place that knows time, lengths and direction. `ELMAN_KERNELS` or `kernels=` names the way:
`reference` steps the cell in Python (the specification), `torch` uses torch's own kernel for the cells it
has, `native` elman's, `auto` the fastest of these that there is for the cell. `choose` says which and why.

Shapes: T time, N batch, C input, V symbols. inputs (T, N, C), or Tokens of ids (T, N); outputs (T, N, H),
lengths (N,) int64, resets (T, N) bool.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from elman import kernels as native
from elman import native_path, operators, torch_path
from elman.cells.base import Cell, Combinator, Record, State, map_state, where_state
from elman.errors import ConfigError, KernelError, ShapeError
from elman.padded import check_lengths, expand_to, length_mask, reverse_by_length
from elman.tokens import Tokens, at_positions
from elman.tracing import leaves


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
    cell: Cell,
    kernels: str | None,
    inputs: Tensor,
    state: State | None,
    compute: torch.dtype | None = None,
    tokens: torch.Size | None = None,
    recompute: bool = False,
) -> tuple[Choice, native_path.Trace | None]:
    """The choice for these tensors, and for "native" the cell's equations as they were read.

    tokens: (T, N) where the inputs are the rows (V, 1, C) of symbols.
    """
    mode = native.mode() if kernels is None else kernels
    if mode not in native.MODES:
        raise ConfigError(f"kernels: expected one of {', '.join(native.MODES)}, got {mode!r}")
    if isinstance(cell, Combinator):
        return Choice("layers", "each of its cells is chosen for itself"), None
    if mode == "reference":
        return Choice("reference", "asked for"), None
    lack = torch_path.lacks(cell)
    slow = mode == "auto" and compute == torch.bfloat16 and not native.multiplies_bfloat16()
    if lack is None and (mode == "torch" or (slow and not recompute)):
        return Choice("torch", "torch has a kernel for it"), None
    if mode == "torch":
        raise KernelError(f"{type(cell).__name__}: {lack}; use auto, native or reference")
    # The engine comes first also where torch has a kernel: it was faster in training at every shape that
    # benchmarks/scan_training.py has been run with, in bfloat16 where the processor multiplies in it.
    try:
        return Choice("native", "its step was read and cut into stages"), _read(
            cell, mode, inputs, state, compute, inputs.shape[:2] if tokens is None else tokens
        )
    except native_path.Untraceable as error:
        if mode == "native":
            raise KernelError(f"{type(cell).__name__}: {error}; use auto, torch or reference") from error
        if lack is None:
            return Choice("torch", f"torch has a kernel for it; native: {error}"), None
        return Choice("reference", f"{lack}; native: {error}"), None


def _read(
    cell: Cell,
    mode: str,
    inputs: Tensor,
    state: State | None,
    compute: torch.dtype | None,
    shape: torch.Size,
) -> native_path.Trace:
    """The cell's equations for the native engine, or Untraceable with the reason why it does not serve."""
    if compute not in (None, inputs.dtype, torch.bfloat16):
        raise native_path.Untraceable(f"the native engine computes in float32 or bfloat16, not {compute}")
    if mode == "auto" and shape[0] == 1:
        raise native_path.Untraceable("a single step has nothing to gain")
    lack = native_path.lacks(cell, inputs, shape)
    if lack is not None:
        raise native_path.Untraceable(lack)
    state = cell.initial_state(shape[1]) if state is None else state
    return native_path.read(cell, inputs, state, shape[1])


def scan(
    cell: Cell,
    inputs: Tensor | Tokens,
    state: State | None = None,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
    resets: Tensor | None = None,
    record: Sequence[str] = (),
    kernels: str | None = None,
    compute: torch.dtype | None = None,
    recompute: bool = False,
) -> Any:
    """Runs `cell` over `inputs` (T, N, C), or over Tokens, whose symbols are prepared once each.

    state: the state before the first step; None for the cell's initial state. lengths (N,): steps of each
    element, T where None. reverse: from each element's last step to its first. resets (T, N): True where an
    element's state is the initial one before that step. record: names of intermediates (the cell's `records`)
    to return over time. compute: the type in which torch's kernels compute, where it is not that of the
    inputs; what comes back is of the inputs' type. recompute: for the derivative keep the state at some
    steps only and compute the rest again, on the native engine: less memory, a third more time.

    Returns outputs (T, N, H), zero past an element's end, and the state of each element after its own last
    step (an empty element's is the one it came with); with `record` also a dict of tensors (T, N, ...).
    The numbers of a sequence run in chunks, with the state carried, are those of the whole.

    Raises ShapeError for arguments that do not fit, ConfigError for a name in `record` that the cell does not
    have, KernelError as `choose` does, where `compute` is asked of a cell that torch has no kernel for, and
    where `recompute` is asked of one that the native engine cannot run.
    """
    _check_inputs(cell, inputs, resets)
    _check_record(cell, record)
    time, batch = inputs.shape[:2]
    if state is None:
        state = cell.initial_state(batch)
    else:
        _check_state(cell, state, batch)
    if torch.compiler.is_compiling() and resets is None and not record and compute is None:
        found = _written(cell, inputs, state, lengths, kernels, reverse, recompute)
        if found is not None:
            return found
    if lengths is not None:
        lengths = check_lengths(lengths, time, batch, inputs.device)
    inputs = _arranged(cell, inputs, lengths, reverse)
    if reverse:
        resets = None if resets is None else reverse_by_length(resets, lengths)

    pieces: list[Tensor] = []
    shown: list[Record] = []
    for start, stop in pairwise(_bounds(resets, time)):
        left = None if lengths is None else (lengths - start).clamp(0, stop - start)
        if resets is not None and start < time:
            again = resets[start] if left is None else resets[start] & (left > 0)
            state = cell.reset(state, again) if bool(again.any()) else state
        if record:
            part = _masked(inputs[start:stop], left)
            outputs, state, recorded = _reference(cell, part, state, left, record)
            shown.append(recorded)
        else:
            # The whole is not sliced: torch copies the gradient of a slice.
            part = inputs if stop - start == time else inputs[start:stop]
            outputs, state = _run(cell, part, state, left, kernels, compute, recompute)
        pieces.append(outputs)

    outputs = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    recorded = {name: torch.cat([part[name] for part in shown]) for name in record}
    if reverse:
        outputs = reverse_by_length(outputs, lengths)
        recorded = {name: reverse_by_length(values, lengths) for name, values in recorded.items()}
    return (outputs, state, recorded) if record else (outputs, state)


def _written(
    cell: Cell,
    inputs: Tensor | Tokens,
    state: State,
    lengths: Tensor | None,
    kernels: str | None,
    reverse: bool,
    recompute: bool,
) -> tuple[Tensor, State] | None:
    """A scan as an operator in the graph of torch.compile or torch.export; None where it cannot be one."""
    parameters, start = [p for _, p in cell.named_parameters()], leaves(state)
    if not isinstance(inputs, Tensor) or not operators.serves([inputs, *parameters, *start]):
        return None
    place = operators.key(cell, cell.training, kernels)
    if not place:
        return None
    outputs, final = operators.run(
        place, cell.output_size, inputs, parameters, start, lengths, reverse=reverse, recompute=recompute
    )
    return outputs, _rebuilt(state, final)


def _rebuilt(state: State, parts: list[Tensor]) -> State:
    """A state of this structure from its tensors, which are used up."""
    if isinstance(state, Tensor):
        return parts.pop(0)
    inner = [_rebuilt(part, parts) for part in state]
    return type(state)(*inner) if hasattr(state, "_fields") else tuple(inner)


def _arranged(cell: Cell, inputs: Tensor | Tokens, lengths: Tensor | None, reverse: bool) -> Tensor | Tokens:
    """Inputs in the order of the scan; ids are looked at here, and are zero in the padding."""
    if not isinstance(inputs, Tokens):
        return reverse_by_length(inputs, lengths) if reverse else inputs
    ids = _masked(inputs.ids, lengths)
    inputs.with_ids(ids).check(cell.input_size)
    tokens = inputs.with_ids(reverse_by_length(ids, lengths) if reverse else ids)
    return tokens if ids.numel() else _dense(cell, tokens)


def _masked(inputs: Any, lengths: Tensor | None) -> Any:
    """Inputs with zero in the padding; those of Tokens have it.

    What stands in the padding may be anything, NaN too; as zero it cannot reach a sum or a gradient.
    """
    if lengths is None or isinstance(inputs, Tokens):
        return inputs
    return torch.where(expand_to(length_mask(lengths, len(inputs)), inputs), inputs, 0)


def _dense(cell: Cell, inputs: Tensor | Tokens) -> Tensor:
    return inputs.dense(cell.input_size, _like(cell)) if isinstance(inputs, Tokens) else inputs


def _like(cell: Cell) -> Tensor:
    """A tensor of the type and on the device of the cell."""
    return next(cell.parameters(), torch.empty(0))


def _run(
    cell: Cell,
    inputs: Tensor | Tokens,
    state: State,
    lengths: Tensor | None,
    kernels: str | None,
    compute: torch.dtype | None,
    recompute: bool = False,
    *,
    masked: bool = False,
) -> tuple[Tensor, State]:
    """A stretch without resets, the way that `choose` names. masked: the padding is known to be zero."""
    padding = None if masked else lengths
    if isinstance(cell, Combinator):
        choose(cell, kernels)
        return cell.whole(
            lambda c, x, s: _run(c, x, s, lengths, kernels, compute, recompute, masked=True),
            _masked(inputs, padding), state, lengths,
        )  # fmt: skip
    ids, shape = None, None
    if isinstance(inputs, Tokens):
        ids, rows = inputs.rows(cell.input_size, _like(cell))
        given, shape = rows[:, None], ids.shape
    else:
        given = inputs
    choice, traced = _choose(cell, kernels, given, state, compute, shape, recompute)
    # The engine itself reads no padding; what torch prepares for it is computed from all of the inputs.
    if padding is not None and (traced is None or len(traced.graph.inputs) > 1):
        inputs = _masked(inputs, padding)
        return _run(cell, inputs, state, lengths, kernels, compute, recompute, masked=True)
    if choice.path == "torch" and given.numel() and not recompute:
        return torch_path.run(cell, _dense(cell, inputs), state, lengths, compute)
    if choice.path == "reference" and compute not in (None, given.dtype):
        raise KernelError(
            f"{type(cell).__name__}: only kernels compute in {compute}, and here the reference "
            f"steps the cell ({choice.reason}); use {given.dtype}"
        )
    if traced is not None and given.numel():
        return native_path.run(traced, state, lengths, ids=ids, recompute=recompute, compute=compute)
    if recompute and given.numel() and inputs.shape[0] > 1:
        raise KernelError(f"recompute: {type(cell).__name__} is not computed natively here ({choice.reason})")
    outputs, state, _ = _reference(cell, inputs, state, lengths, ())
    return outputs, state


def _reference(
    cell: Cell, inputs: Tensor | Tokens, state: State, lengths: Tensor | None, record: Sequence[str]
) -> tuple[Tensor, State, Record]:
    """The loop itself: one `step` after the other, an element's state held from its end on."""
    time = inputs.shape[0]
    if not time:  # a step on zeros tells the shapes
        inputs = _dense(cell, inputs)
        one, _, shown = _reference(cell, inputs.new_zeros(1, *inputs.shape[1:]), state, None, record)
        return one[:0], state, {name: values[:0] for name, values in shown.items()}
    steps = _steps(_prepare(cell, inputs), time)
    shortest = time if lengths is None or not len(lengths) else int(lengths.min())
    outputs: list[Tensor] = []
    recorded: dict[str, list[Tensor]] = {name: [] for name in record}
    for t, x in enumerate(steps):
        intermediates: Record = {}
        output, new = cell.step(x, state, intermediates) if record else cell.step(x, state)
        live = None if lengths is None or t < shortest else t < lengths
        state = new if live is None else where_state(live, new, state)
        outputs.append(_live(output, live))
        for name in record:
            recorded[name].append(_live(intermediates[name], live))
    return torch.stack(outputs), state, {name: torch.stack(values) for name, values in recorded.items()}


def _prepare(cell: Cell, inputs: Tensor | Tokens) -> Any:
    """What the cell prepares, for each position."""
    if not isinstance(inputs, Tokens):
        return cell.prepare(inputs)
    ids, rows = inputs.rows(cell.input_size, _like(cell))
    return map_state(lambda part: at_positions(ids, part), cell.prepare(rows[:, None]))


def _live(values: Tensor, live: Tensor | None) -> Tensor:
    """`values` with the elements that have ended set to zero."""
    return values if live is None else torch.where(expand_to(live, values), values, 0)


def _steps(prepared: Any, time: int) -> Iterator[Any]:
    """The slices (N, ...) along time, by one `unbind`: a single slice's derivative is of the whole's size."""
    parts = [part.unbind(0) for part in leaves(prepared)]
    for t in range(time):
        at_t = iter([part[t] for part in parts])
        yield map_state(lambda _, at_t=at_t: next(at_t), prepared)


def _bounds(resets: Tensor | None, time: int) -> list[int]:
    """Where time has to be cut: at 0, at every step that resets an element, and at the end."""
    cuts = [] if resets is None else resets.any(1).nonzero()[:, 0].tolist()
    return [0, *(t for t in cuts if t), time]


def _check_inputs(cell: Cell, inputs: Tensor | Tokens, resets: Tensor | None) -> None:
    tokens = isinstance(inputs, Tokens)
    given = inputs.table if isinstance(inputs, Tokens) else inputs
    what, are, axes = ("the table", "is", "V") if tokens else ("inputs", "are", "T, N")
    if given is not None:
        if given.layout != torch.strided:
            raise ShapeError(f"scan: {what} must be dense, got {given.layout}; call to_dense()")
        if (not tokens and given.dim() < 3) or given.shape[-1] != cell.input_size:
            raise ShapeError(
                f"scan: {what} must be ({axes}, {cell.input_size}) for this {type(cell).__name__}, "
                f"got {tuple(given.shape)}"
            )
        like = next(cell.parameters(), given)
        typed = given.dtype == like.dtype or torch_path.autocast_type(given.device) is not None
        if not typed or given.device != like.device:
            raise ShapeError(
                f"scan: {what} {are} {given.dtype} on {given.device}, "
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
    """The state must have the structure of the cell's initial state, its shapes, types and device."""
    name = type(cell).__name__
    pairs = [(cell.initial_state(batch), state)]
    while pairs:
        expected, got = pairs.pop(0)
        if isinstance(expected, Tensor) and isinstance(got, Tensor):
            if expected.shape != got.shape:
                wanted = tuple(expected.shape)
                raise ShapeError(f"scan: a state of {name} must be {wanted}, got {tuple(got.shape)}")
            typed = expected.dtype == got.dtype or torch_path.autocast_type(expected.device) is not None
            if not typed or expected.device != got.device:
                raise ShapeError(
                    f"scan: a state of {name} must be {expected.dtype} on {expected.device}, "
                    f"got {got.dtype} on {got.device}"
                )
        elif isinstance(expected, Tensor) or type(got) is not type(expected) or len(got) != len(expected):
            raise ShapeError(
                f"scan: state must be built as the initial state of {name} is, "
                f"with {type(expected).__name__} where it has {type(got).__name__}"
            )
        else:
            pairs.extend(zip(expected, got, strict=True))
