"""Weights for streams: what the engine can step, and its network with the weights packed.

    float32    as they are
    bfloat16   rounded to 8 bits of mantissa; activations and sums float32
    int8       w = q s, q whole within +-127, s the largest |w| of a row over 127; activations are whole
               numbers of up to 16 bits with one scale a vector, chosen anew at each product; sums are exact

The row of a symbol's input products, biases, vectors of parameters and the state are float32 always.
Shapes: V vocabulary, C input, H output.
"""

from dataclasses import replace
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from elman import kernels, native_path
from elman.cells import Cell, Stack
from elman.errors import ConfigError, KernelError, ShapeError
from elman.programs import count_operands
from elman.scan import Choice
from elman.tracing import Graph, Trace, Untraceable, leaves, trace

Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

MOST_TABLE_BYTES = 64 << 20
"""Of the products of every symbol's row; a larger vocabulary has them computed at each step."""


class Symbols(NamedTuple):
    """What makes a stack of cells a language model: embedding (V, C), None for one-hot; head (V, H) and
    (V,).
    """

    embedding: Tensor | None
    head_weight: Tensor
    head_bias: Tensor


def lacks(cell: Cell) -> str | None:
    """Why the engine cannot step these cells, in words; None where it can."""
    if not kernels.native_available():
        return kernels.native_status()
    for inner in _cells(cell):
        try:
            _read(inner)
        except Untraceable as error:
            return f"{type(inner).__name__} {error}"
    return None


def choose_streams(cell: Cell, weights: Precision = "float32") -> Choice:
    """The way in which symbols are stepped, "native" or "reference", and why; ELMAN_KERNELS has its say.

    Raises KernelError where what is asked for is not to be had: the engine, or weights that it alone has.
    """
    check_precision(weights)
    mode = kernels.mode()
    reason = f"{kernels.VARIABLE}={mode}" if mode in ("torch", "reference") else lacks(cell)
    if reason is None:
        return Choice("native", f"the engine steps it, with weights in {weights}")
    if mode == "native" or weights != "float32":
        raise KernelError(
            f"streams with weights in {weights}: only the native engine has them, and here {reason}"
        )
    return Choice("reference", reason)


def check_precision(weights: str) -> None:
    """Raises ConfigError for a word that is no precision."""
    if weights not in PRECISIONS:
        raise ConfigError(f"weights: expected one of {', '.join(PRECISIONS)}, got {weights!r}")


def _cells(cell: Cell) -> list[Cell]:
    return list(cell.cells) if type(cell) is Stack else [cell]


def read_step(cell: Cell) -> tuple[Trace, native_path.Made]:
    """The trace of a cell that the engine can step, and its plan; Untraceable with the reason otherwise."""
    with torch.no_grad():
        traced = trace(cell, torch.zeros(1, 1, cell.input_size), cell.initial_state(1))
        if len(traced.graph.inputs) > 1:
            raise Untraceable("prepares its input by more than the tracer reads")
        for tensor in (*traced.graph.tensors, *leaves(cell.initial_state(1))):
            if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
                raise Untraceable(
                    f"has a tensor {tensor.dtype} on {tensor.device}; float32 on the CPU is stepped"
                )
        made = native_path.forward_plan(traced)
    if any(count_operands(stage) > native_path.MOST_OPERANDS for stage in made.plan.forward):
        raise Untraceable(f"has a step with more than {native_path.MOST_OPERANDS} vectors")
    return traced, made


def _read(cell: Cell) -> Trace:
    """The trace of a cell that can be streamed; raises Untraceable with the reason otherwise."""
    traced, made = read_step(cell)
    if any(stage.attend >= 0 for stage in made.plan.forward):
        raise Untraceable("looks at a memory, which streams do not have")
    return traced


class Packed(NamedTuple):
    """A native network, the plans that must live as long as it does, and how each cell's state is read."""

    net: Any
    plans: list[native_path.Made]
    traces: list[Trace]


def pack(cell: Cell, symbols: Symbols | None, weights: str, instructions: str) -> Packed:
    """The network of these cells and symbols with its weights in that precision."""
    module = kernels.native_module()
    alive: list[Any] = []  # until the network has copied them

    def address(tensor: Tensor | None) -> int:
        if tensor is None:
            return 0
        alive.append(tensor.detach().contiguous())
        return alive[-1].data_ptr()

    made, traces, cells, table = [], [], [], None
    residual = type(cell) is Stack and cell.residual
    for inner in _cells(cell):
        traced = _read(inner)
        made.append(native_path.forward_plan(traced))
        traces.append(replace(traced, graph=Graph()))  # without the tensors
        groups = native_path.weights_of(traced, made[-1].plan)
        if symbols is not None and len(made) == 1:
            table = _table(made[0].plan, groups[0], groups[1], symbols)
        joined = residual and inner.input_size == inner.output_size
        cells.append(
            module.StreamCell(
                made[-1].native, inner.input_size, inner.output_size, joined,
                *([address(tensor) for tensor in group] for group in groups),
            )
        )  # fmt: skip
    vocabulary, embedding, head_weight, head_bias = 0, None, None, None
    if symbols is not None:
        embedding, head_weight, head_bias = symbols
        vocabulary = len(head_weight)
    net = module.StreamNet(
        instructions, weights, cells, vocabulary, address(embedding), address(table), address(head_weight),
        address(head_bias),
    )  # fmt: skip
    return Packed(net, made, traces)


def _table(plan: Any, weights: list[Tensor], biases: list[Tensor | None], symbols: Symbols) -> Tensor | None:
    """(V, columns): the products of each symbol's row with the lowest cell's weights, where they are not too
    many.
    """
    vocabulary = len(symbols.head_weight)
    columns = sum(product.gates * product.width for product in plan.hoisted)
    if not columns or vocabulary * columns * 4 > MOST_TABLE_BYTES:
        return None
    parts = []
    for place, product in enumerate(plan.hoisted, len(plan.products)):
        _, start, size = plan.sequences[product.source[1]]
        weight, bias = weights[place].detach(), biases[place]
        if symbols.embedding is None:
            part = torch.zeros(vocabulary, len(weight))
            part[start : start + size] = weight.T
        else:
            part = symbols.embedding.detach()[:, start : start + size] @ weight.T
        parts.append(part if bias is None else part + bias.detach())
    return torch.cat(parts, 1)


def check_finite(cell: Cell, symbols: Symbols | None, weights: str) -> None:
    """Raises ShapeError naming a parameter that is not finite when it is kept in `weights`."""
    named = [(name, tensor) for name, tensor in (*cell.named_parameters(), *cell.named_buffers())]
    named += [] if symbols is None else [pair for pair in symbols._asdict().items() if pair[1] is not None]
    for name, tensor in named:
        if not tensor.is_floating_point():
            continue
        kept = tensor.bfloat16() if weights == "bfloat16" else tensor
        wrong = (~torch.isfinite(kept)).nonzero()
        if len(wrong):
            place = tuple(wrong[0].tolist())
            raise ShapeError(
                f"streams: {name} holds {float(tensor.detach()[place])} at {place}, which {weights} cannot "
                "stream; take a checkpoint from before it diverged"
            )
