"""A cell stepped for a search: many rows in one native call, with the map to logits, weights packed once.

    output, state = step(inputs, state)        logits = W output + b

A search steps the rows of its beams: few or many, others from step to step. A row looks at the memory of its
source; rows share the memories of their sources, which are arranged once. A cell is read by elman.tracing and
planned by elman.programs as for a scan, and the engine (csrc/scan) runs its kernels on it: what a row gets
does not depend on the rows beside it. weights: float32, or bfloat16, which rounds weights and what they are
applied to, with sums in float32.

Shapes: n rows, N sources, S places, C input, D output, V symbols; inputs (n, C), logits (n, V), weights of
attention (n, S), source (n,) int64.
"""

from dataclasses import replace
from typing import Any, Literal, NamedTuple, final

import torch
from torch import Tensor

from elman import kernels, native_path
from elman.attention.base import Memory
from elman.cells import Cell, State, map_state
from elman.errors import KernelError, ShapeError
from elman.streaming.packing import read_step
from elman.tracing import REDUCTIONS, Graph, Trace, Untraceable, leaves

Weights = Literal["float32", "bfloat16"]

FEW = 48
"""Rows up to which threads divide the units: each then reads a part of the weights, and not all of them."""


class Stepped(NamedTuple):
    """logits (n, V), output (n, D), the state after the step; weights (n, S), None where nothing attends."""

    logits: Tensor
    output: Tensor
    state: State
    weights: Tensor | None


def lacks_steps(cell: Cell, memory: Memory | None) -> str | None:
    """Why the engine cannot step this cell, in words; None where it can. memory: what it is bound to."""
    if not kernels.native_available():
        return kernels.native_status()
    try:
        _read(cell, memory)
    except Untraceable as error:
        return str(error)
    return None


@final
class Stepper:
    """A cell and its head with packed weights. The parameters are copied: later changes are not seen.

    cell: bound to `memory` of one source, where it attends: any one, of which only the sizes matter. head:
    weight (V, D) and bias (V,). instructions: an instruction set by name; the widest, or that of
    ELMAN_INSTRUCTIONS, where None. Raises KernelError with the reason where the engine cannot serve the cell
    (`lacks_steps` gives it too).
    """

    def __init__(
        self,
        cell: Cell,
        head: tuple[Tensor, Tensor],
        memory: Memory | None = None,
        *,
        weights: Weights = "float32",
        instructions: str | None = None,
    ) -> None:
        if not kernels.native_available():
            raise KernelError(f"steps: {kernels.native_status()}")
        try:
            traced, self._made = _read(cell, memory)
        except Untraceable as error:
            raise KernelError(f"steps: {type(cell).__name__}: {error}") from error
        half = weights == "bfloat16"
        groups = [[None if x is None else x.detach().contiguous() for x in group]
                  for group in native_path.weights_of(traced, self._made.plan)]  # fmt: skip
        head_weight, head_bias = (tensor.detach().contiguous() for tensor in head)
        if head_weight.dtype != torch.float32 or head_weight.shape[1:] != (self._made.plan.output_width,):
            raise ShapeError(
                f"steps: expected a head ({len(head_weight)}, {self._made.plan.output_width}) in float32, "
                f"got {tuple(head_weight.shape)} in {head_weight.dtype}"
            )
        self.symbols, self.size = len(head_weight), cell.input_size
        self._looks = memory is not None and bool(self._made.plan.attends)
        self._trace = replace(traced, graph=Graph())  # without the tensors
        plan = self._made.plan
        stages = (step.op for stage in plan.forward for step in stage.code)
        self._divisible = not any(op in REDUCTIONS for op in stages)
        products = (*plan.products, *plan.hoisted)
        self._work = self.symbols * plan.output_width + sum(p.size * p.width * p.gates for p in products)
        self._net = kernels.native_module().Stepper(
            self._made.native, kernels.instructions(instructions, "scan_bf16" if half else "scan"), half,
            [self.size], *([_address(x) for x in group] for group in groups), self.symbols,
            head_weight.data_ptr(), head_bias.data_ptr(),
        )  # fmt: skip

    def over(self, memory: Memory | None) -> "Steps":
        """The steps of rows that look at these memories; None where the cell does not attend."""
        return Steps(self, self._arranged(memory) if self._looks and memory is not None else None, memory)

    def _arranged(self, memory: Memory) -> Any:
        values, keys, bias = (part.detach().contiguous() for part in memory[:3])
        look = self._made.plan.attends[0]
        n, places, _ = values.shape
        fits = values.shape[2] == look.width and keys.shape == (n, places, look.size)
        if not fits or bias.shape != (n, places) or not all(_plain(x) for x in (values, keys, bias)):
            raise ShapeError(
                f"steps: expected values (N, S, {look.width}), keys (N, S, {look.size}) and bias (N, S), all "
                f"float32 on the CPU, got {tuple(values.shape)}, {tuple(keys.shape)}, {tuple(bias.shape)}"
            )
        return self._net.memory(n, places, keys.data_ptr(), bias.data_ptr(), values.data_ptr())

    def _run(self, inputs: Tensor, state: State, source: Tensor | None, memory: Any, places: int) -> Stepped:
        rows = len(inputs)
        inputs = inputs.contiguous()
        parts = [part.contiguous() for part in self._trace.apart(leaves(state))]
        for part, width in zip(parts, self._trace.widths, strict=True):
            if part.shape != (rows, width) or not _plain(part):
                raise ShapeError(
                    f"steps: a part of the state must be ({rows}, {width}) in float32 on the CPU, got "
                    f"{tuple(part.shape)} in {part.dtype}"
                )
        final = [torch.empty_like(part) for part in parts]
        output = torch.empty(rows, self._made.plan.output_width)
        logits = kernels.storage(rows, self.symbols)
        weights = torch.empty(rows, places) if memory is not None else None
        if rows:
            threads = torch.get_num_threads() if rows * self._work >= native_path.SMALL else 1
            self._net.step(
                rows, threads, threads > 1 and self._divisible and rows <= FEW, memory, _address(source),
                [inputs.data_ptr()], [part.data_ptr() for part in parts], output.data_ptr(),
                logits.data_ptr(), [part.data_ptr() for part in final], _address(weights),
            )  # fmt: skip
        after = iter(self._trace.joined(final))
        return Stepped(logits, output, map_state(lambda _: next(after), state), weights)


@final
class Steps:
    """A Stepper over the memories of some sources: called once for each step."""

    def __init__(self, stepper: Stepper, arranged: Any, memory: Memory | None) -> None:
        self._stepper, self._arranged = stepper, arranged
        self._sources, self._places = (0, 0) if memory is None else memory.values.shape[:2]

    def __call__(self, inputs: Tensor, state: State, source: Tensor | None = None) -> Stepped:
        """One step of n rows. source: where the cell attends, whose memory each row looks at.

        Raises ShapeError for arguments that do not fit.
        """
        if inputs.dim() != 2 or inputs.shape[1] != self._stepper.size or not _plain(inputs):
            raise ShapeError(
                f"steps: expected inputs (n, {self._stepper.size}) float32 on the CPU, got {inputs.dtype} "
                f"{tuple(inputs.shape)} on {inputs.device}"
            )
        if self._arranged is None:
            return self._stepper._run(inputs, state, None, None, 0)
        if source is None or source.shape != inputs.shape[:1] or source.dtype != torch.int64:
            raise ShapeError(
                f"steps: expected the source of each of {len(inputs)} rows as int64, got {source}"
            )
        source = source.contiguous()
        if len(source):
            least, most = torch.aminmax(source)
            if int(least) < 0 or int(most) >= self._sources:
                raise ShapeError(
                    f"steps: sources lie within {int(least)} .. {int(most)}, expected 0 .. "
                    f"{self._sources - 1}"
                )
        return self._stepper._run(inputs, state, source, self._arranged, self._places)


def _read(cell: Cell, memory: Memory | None) -> tuple[Trace, native_path.Made]:
    """As `read_step`, of a cell that looks at nothing but `memory`."""
    traced, made = read_step(cell)
    for product in (*made.plan.products, *made.plan.hoisted):
        if product.size > native_path.WIDEST:
            raise Untraceable(f"has a product of more than {native_path.WIDEST} units")
    looks = [tuple(traced.graph.tensors[place] for place in look.memory) for look in made.plan.attends]
    known = memory is not None and all(k is memory.keys and v is memory.values for k, _, v in looks)
    if len(looks) > 1 or (looks and not known):
        raise Untraceable("looks at more than the one memory that it is bound to")
    return traced, made


def _plain(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu"


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
