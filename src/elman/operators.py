"""The native scan as operators of torch, so that torch.compile and torch.export see one node of their graph.

    elman::scan(inputs, parameters, state, lengths, ...) -> [outputs, *final state, token]
    elman::scan_backward(token, ...) -> derivatives of inputs, parameters and state

Only while torch compiles or exports is a scan written down as these operators; an eager call goes to the
engine without them, since passing through them costs more than a short sequence. A graph holds tensors and
numbers, and a cell is neither: it stands in a table of this process, under the key that the graph holds.
Hence a program that was exported, saved and loaded by another process finds no cell there and says so.
The token stands in a graph for what forward keeps for backward, and ends its life with it; where it was
copied on the way (an offloaded activation, say), backward runs forward again.

A cell stands in the table as it was when it was compiled: what is changed of its equations afterwards (an
attribute, a method) is not seen, what is changed of its parameters is.
Shapes: T time, N batch, C input, H hidden; inputs (T, N, C), lengths (N,), outputs (T, N, H).
"""

import secrets
import weakref
from array import array
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from elman import kernels as native
from elman import native_path
from elman.cells.base import Cell, Combinator, map_state
from elman.errors import KernelError
from elman.padded import check_lengths, expand_to, length_mask, reverse_by_length
from elman.tracing import Untraceable, leaves

_PLAIN = (torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set())
"""What torch dispatches to outside of an operator. Inside of one autograd is left out, and the cell's own
operations need it."""


@dataclass(frozen=True)
class _Form:
    """A cell without its numbers. several: torch prepares something beside the inputs."""

    cell: Cell
    several: bool


_forms: dict[int, _Form] = {}
_runs: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
"""By the address of a token: tensors and results of a forward pass, with the history between them."""


@torch.compiler.assume_constant_result
def key(cell: Cell, training: bool, kernels: str | None) -> int:
    """The place of a cell in the table; 0 where the engine does not serve it. Called while torch traces."""
    mode = native.mode() if kernels is None else kernels
    if mode not in ("auto", "native") or not native.native_available():
        return 0
    if isinstance(cell, Combinator) or next(cell.buffers(), None) is not None:
        return 0
    # No torch.no_grad here: export would write it into the program. Nothing in it asks for a gradient.
    with _disable_current_modes():
        whole = _filled(cell, lambda p: torch.zeros(p.shape), training)
        inputs = torch.zeros(2, 1, cell.input_size)
        try:
            traced = native_path.read(whole, inputs, whole.initial_state(1))
        except Untraceable:
            return 0
        if any(node.op == "attend" for node in traced.graph.nodes):
            return 0  # a memory is neither a parameter nor an input
        form = _filled(cell, lambda p: torch.empty(p.shape, device="meta"), training)
    place = secrets.randbits(62) + 1
    _forms[place] = _Form(form, len(traced.graph.inputs) > 1)
    return place


def serves(tensors: Sequence[Tensor]) -> bool:
    """Whether these tensors are what the operators take; as `native_path.lacks` has it."""
    plain = all(x.dtype == torch.float32 and x.device.type == "cpu" for x in tensors)
    return plain and tensors[0].dim() == 3 and not torch.is_autocast_enabled("cpu")


def run(
    place: int,
    width: int,
    inputs: Tensor,
    parameters: list[Any],
    state: list[Tensor],
    lengths: Tensor | None,
    *,
    reverse: bool,
    recompute: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Outputs (T, N, width) and the tensors of the final state of the cell at this place of the table.

    parameters: in the order of `named_parameters`. Raises ShapeError for lengths that do not fit, when run.
    """
    train = torch.is_grad_enabled() and any(x.requires_grad for x in (inputs, *parameters, *state))
    outputs, *final, _ = scan(inputs, parameters, state, lengths, place, width, reverse, recompute, train)
    return outputs, final


def _filled(cell: Cell, value: Callable[[Tensor], Tensor], training: bool | None = None) -> Cell:
    """A copy of a cell with other parameters, taken in the order of `named_parameters`."""
    return _with(
        cell, {id(parameter): value(parameter) for _, parameter in cell.named_parameters()}, training
    )


def _with(module: Any, found: dict[int, Tensor], training: bool | None) -> Any:
    new = copy(module)
    new._parameters = {name: None if p is None else found[id(p)] for name, p in module._parameters.items()}
    new._modules = {
        name: None if child is None else _with(child, found, training)
        for name, child in module._modules.items()
    }
    new.training = module.training if training is None else training
    return new


def _compute(
    tensors: list[Tensor],
    parameters: int,
    lengths: Tensor | None,
    place: int,
    width: int,
    reverse: bool,
    recompute: bool,
) -> list[Tensor]:
    """The scan itself, over (inputs, *parameters, *state)."""
    if place not in _forms:
        raise KernelError(
            "elman::scan: this process has no cell under the program's key; a program that uses it runs in "
            "the process that compiled or exported it: export it again here"
        )
    form = _forms[place]
    inputs, given, parts = tensors[0], iter(tensors[1 : parameters + 1]), tensors[parameters + 1 :]
    time, batch = inputs.shape[:2]
    if lengths is not None:
        lengths = check_lengths(lengths, time, batch, inputs.device)
    if not inputs.numel():
        return [inputs.new_zeros(time, batch, width), *(part.clone() for part in parts)]
    cell = _filled(form.cell, lambda _: next(given))
    left: Iterator[Tensor] = iter(parts)
    state = map_state(lambda _: next(left), cell.initial_state(batch))
    if lengths is not None and form.several:
        inputs = torch.where(expand_to(length_mask(lengths, time), inputs), inputs, 0)
    inputs = reverse_by_length(inputs, lengths) if reverse else inputs
    traced = native_path.read(cell, inputs, state)
    outputs, final = native_path.run(traced, state, lengths, recompute=recompute)
    return [reverse_by_length(outputs, lengths) if reverse else outputs, *leaves(final)]


def _run_with_history(tensors: list[Tensor], *arguments: object) -> tuple[list[Tensor], list[Tensor]]:
    with torch._C._ForceDispatchKeyGuard(*_PLAIN), torch.enable_grad():
        own = [x.detach().requires_grad_() for x in tensors]
        return own, _compute(own, *arguments)  # pyrefly: ignore[bad-argument-type]


@torch.library.custom_op("elman::scan", mutates_args=())
def scan(
    inputs: Tensor,
    parameters: list[Tensor],
    state: list[Tensor],
    lengths: Tensor | None,
    place: int,
    width: int,
    reverse: bool,
    recompute: bool,
    train: bool,
) -> list[Tensor]:
    """Outputs, final state and a token; train: whether derivatives will be asked for."""
    tensors, arguments = [inputs, *parameters, *state], (lengths, place, width, reverse, recompute)
    if not train:
        results = _compute(tensors, len(parameters), *arguments)
        return [*(x.contiguous() for x in results), inputs.new_zeros(1, dtype=torch.int64)]
    own, results = _run_with_history(tensors, len(parameters), *arguments)
    storage = array("q", [0])
    token = torch.frombuffer(storage, dtype=torch.int64)
    _runs[token.data_ptr()] = own, results
    weakref.finalize(storage, _runs.pop, token.data_ptr(), None)  # the token's storage is what keeps it
    return [*(x.detach().contiguous() for x in results), token]


@scan.register_fake
def _(
    inputs: Tensor, parameters: list[Tensor], state: list[Tensor], lengths: Tensor | None, place: int,
    width: int, reverse: bool, recompute: bool, train: bool,
) -> list[Tensor]:  # fmt: skip
    outputs = inputs.new_empty(*inputs.shape[:2], width)
    return [outputs, *(x.new_empty(x.shape) for x in state), inputs.new_empty(1, dtype=torch.int64)]


@torch.library.custom_op("elman::scan_backward", mutates_args=())
def scan_backward(
    token: Tensor,
    tensors: list[Tensor],
    gradients: list[Tensor],
    parameters: int,
    lengths: Tensor | None,
    place: int,
    width: int,
    reverse: bool,
    recompute: bool,
    first: bool,
) -> list[Tensor]:
    """Derivatives of (inputs, *parameters, *state); those of the inputs are zero where `first` is False."""
    known = _runs.get(token.data_ptr())
    if known is None:
        known = _run_with_history(tensors, parameters, lengths, place, width, reverse, recompute)
    own, results = known
    with torch._C._ForceDispatchKeyGuard(*_PLAIN):
        found = (
            torch.autograd.grad(
                [x for x in results if x.requires_grad],
                own if first else own[1:],
                [d for x, d in zip(results, gradients, strict=True) if x.requires_grad],
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            if any(x.requires_grad for x in results)
            else [torch.zeros_like(x) for x in own[not first :]]
        )
    whole = found if first else [torch.zeros_like(tensors[0]), *found]
    return [d.detach().contiguous() for d in whole]


@scan_backward.register_fake
def _(
    token: Tensor, tensors: list[Tensor], gradients: list[Tensor], parameters: int, lengths: Tensor | None,
    place: int, width: int, reverse: bool, recompute: bool, first: bool,
) -> list[Tensor]:  # fmt: skip
    return [x.new_empty(x.shape) for x in tensors]


def _keep(ctx, inputs, output) -> None:  # pyrefly: ignore
    x, parameters, state, lengths, place, width, reverse, recompute, _ = inputs
    ctx.save_for_backward(output[-1], lengths, x, *parameters, *state)
    ctx.parameters, ctx.arguments = len(parameters), (place, width, reverse, recompute)


def _differentiate(ctx, gradients):  # pyrefly: ignore
    token, lengths, *tensors = ctx.saved_tensors
    count, (place, width, reverse, recompute) = ctx.parameters, ctx.arguments
    x, state = tensors[0], tensors[count + 1 :]
    d_outputs, *d_state = gradients[:-1]
    given = [x.new_zeros(*x.shape[:2], width) if d_outputs is None else d_outputs]
    given += [torch.zeros_like(s) if d is None else d for s, d in zip(state, d_state, strict=True)]
    first = bool(ctx.needs_input_grad[0])
    d_x, *others = scan_backward(
        token, list(tensors), given, count, lengths, place, width, reverse, recompute, first
    )
    return d_x, others[:count], others[count:], None, None, None, None, None, None


scan.register_autograd(_differentiate, setup_context=_keep)
