"""A traced cell over a whole sequence on the native engine, with gradients.

    trace (elman.tracing) -> plan (elman.programs) -> csrc/scan: one call forward, one call backward

Everything that the engine is given is checked here: it trusts pointers and sizes. Plans are kept by what a
cell computes, so that only its first call pays for making one. Gradients of gradients: where the graph of a
gradient is asked for (create_graph), the gradient is computed by torch, step by step, over the same tensors.
Shapes: T time, N batch, C input, H hidden; inputs (T, N, C), outputs (T, N, H), lengths (N,) int64.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from elman import kernels as native
from elman.cells import Cell, State, map_state
from elman.programs import Plan, Product, count_operands, encode, listing, plan
from elman.tracing import REDUCTIONS, Step, Trace, Untraceable, keep, leaves, recall, trace

WIDEST = 16384
"""Most units that a product may read or give: the engine's lists of blocks are that long."""
MOST_OPERANDS = 256
SMALL = 1 << 20
"""Multiplications below which a second thread costs more than it brings."""
MEETING = 1 << 14
"""Multiplications in the time that two threads take to meet, roughly."""


def lacks(cell: Cell, inputs: Tensor, shape: torch.Size) -> str | None:
    """Why the engine does not serve these tensors; None where it does. Equations are not read here.

    shape: (T, N), that of the inputs or of the ids which name their rows.
    """
    if not native.native_available():
        return native.native_status()
    for name, tensor in (("inputs", inputs), *cell.named_parameters(), *cell.named_buffers()):
        if tensor.device.type != "cpu":
            return f"{name}: the native engine is for the CPU, not {tensor.device}"
        if tensor.dtype != torch.float32 and tensor.is_floating_point():
            return f"{name}: the native engine computes in float32, not {tensor.dtype}"
    plain = type(inputs) in (Tensor, torch.nn.Parameter) and not torch.compiler.is_compiling()
    # vmap, grad and the like wrap tensors that have no address.
    plain = plain and not torch._C._are_functorch_transforms_active()
    for wanted, reason in (
        (inputs.dim() == 3, f"the native engine takes inputs (T, N, C), not {tuple(inputs.shape)}"),
        (shape.numel() < 1 << 31, "the native engine counts rows (T * N) in 32 bits"),
        (plain, "a step that torch itself traces is left to torch"),
        (not torch.is_autocast_enabled("cpu"), "autocast is on; the native engine computes in float32"),
    ):
        if not wanted:
            return reason
    return None


def read(cell: Cell, inputs: Tensor, state: State, batch: int | None = None) -> Trace:
    """The trace of a cell that the engine can run; inputs and batch as `trace` takes them.

    Raises Untraceable with the reason otherwise.
    """
    traced = recall(cell, inputs, state)
    if traced is None:
        traced = trace(cell, inputs, state, batch)
        _check_sizes(_plan(traced, train=True).plan)
        keep(cell, inputs, state, traced)
    for tensor in (*traced.graph.inputs, *traced.graph.tensors, *leaves(state)):
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise Untraceable(f"has a tensor {tensor.dtype} on {tensor.device}")
    return traced


def _check_sizes(made: Plan) -> None:
    for product in (*made.products, *made.hoisted):
        if max(product.size, product.gates * product.width) > WIDEST:
            raise Untraceable(f"has a product of more than {WIDEST} units")
    for stage in (*made.forward, *made.backward):
        if count_operands(stage) > MOST_OPERANDS:
            raise Untraceable(f"has a step with more than {MOST_OPERANDS} vectors")


def run(
    traced: Trace,
    state: State,
    lengths: Tensor | None = None,
    *,
    reverse: bool = False,
    ids: Tensor | None = None,
    recompute: bool = False,
    instructions: str | None = None,
    compute: torch.dtype | None = None,
    units: bool | None = None,
) -> tuple[Tensor, State]:
    """A traced cell over all time: outputs (T, N, H), zero past an element's end, and the state at its last
    step.

    lengths (N,) int64 within 0 .. T. ids (T, N) int64: where the inputs are the rows (V, 1, C) of V symbols,
    the symbol at each position, within 0 .. V - 1 also in the padding. recompute: keep the state at some
    steps, compute the rest again for the derivative (not with reverse). instructions: an instruction set by
    name; ELMAN_INSTRUCTIONS where None. compute: torch.bfloat16 rounds what products multiply (inputs,
    states, weights, derivatives) to bfloat16; sums, everything else and what is kept are float32. units:
    whether threads divide the hidden units and not the sequences, where the plan allows it; None chooses.
    """
    graph = traced.graph
    train = torch.is_grad_enabled() and any(
        tensor.requires_grad for tensor in (*graph.inputs, *graph.tensors, *leaves(state))
    )
    made = _plan(traced, train=train)
    products = (*made.plan.products, *made.plan.hoisted)
    memories = [graph.tensors[place] for look in made.plan.attends for place in look.memory]
    groups = [list(graph.inputs), *weights_of(traced, made.plan), memories, traced.apart(leaves(state))]
    sizes = tuple(len(group) for group in groups)
    tensors = [None if tensor is None else tensor.contiguous() for group in groups for tensor in group]
    time, batch = graph.inputs[0].shape[:2] if ids is None else ids.shape
    if ids is not None:
        ids = ids.contiguous()
    if lengths is not None:
        lengths = lengths.to("cpu", torch.int64).contiguous()
    work = time * batch * sum(p.size * p.width * p.gates for p in products)
    threads = 1 if work < SMALL else torch.get_num_threads()
    half = compute == torch.bfloat16
    sequence = Sequences(
        made,
        sizes,
        time,
        batch,
        threads,
        reverse,
        lengths,
        ids,
        half,
        divides_units(made, batch, threads) if units is None else units and made.divisible,
        native.instructions(instructions, "scan_bf16" if half else "scan"),
        Step.of(traced) if train else None,
    )
    if not train:  # no history, and none of what autograd costs
        (outputs, *final), _ = sequence.forward(tensors)
        places = iter(traced.joined(final))
        return outputs, map_state(lambda _: next(places), state)
    way = _Again if recompute and time > 1 else _Scan
    # The engine does not read the graph's own tensors; the gradient of a gradient goes through them.
    outputs, *final = way.apply(sequence, *tensors, *graph.tensors)
    places = iter(traced.joined(final))
    return outputs, map_state(lambda _: next(places), state)


def divides_units(made: "Made", batch: int, threads: int) -> bool:
    """Whether threads divide the units and not the sequences.

    So few sequences that reading the weights is what a step takes, and so many weights that a part of them is
    worth a meeting of the threads after each stage.
    """
    weights = sum(p.size * p.width * p.gates for p in made.plan.products)
    many = weights >= MEETING * max(batch, threads / 2)
    return threads > 1 and made.divisible and batch <= 2 * threads and many


def forward_plan(traced: Trace) -> "Made":
    """The plan that runs a trace forward, without what only a derivative needs."""
    return _plan(traced, train=False)


def weights_of(traced: Trace, made: Plan) -> tuple[list[Tensor], list[Tensor | None], list[Tensor]]:
    """Weights and biases of a plan's products, then of its hoisted ones; its vectors of parameters."""
    tensors = traced.graph.tensors
    products = (*made.products, *made.hoisted)
    return (
        [_rows(tensors, [(w, row) for w, _, row in p.columns], p.width) for p in products],
        [_biases(tensors, p) for p in products],
        [tensors[place] for place in made.params],
    )


def program(cell: Cell) -> tuple[list[str], str | None]:
    """What the engine would run for a cell, in lines; or none, and the reason why it cannot."""
    like = next(cell.parameters(), torch.empty(0))
    inputs = torch.zeros(2, 1, cell.input_size, dtype=like.dtype, device=like.device)
    try:
        lack = lacks(cell, inputs, inputs.shape[:2])
        if lack is not None:
            return [], lack
        return listing(plan(read(cell, inputs, cell.initial_state(1)), train=True)), None
    except Untraceable as error:
        return [], str(error)


@dataclass(frozen=True)
class Made:
    """A plan and its native twin."""

    plan: Plan
    native: Any

    @cached_property
    def divisible(self) -> bool:
        """Whether threads can divide its units: no row is reduced over all of them."""
        stages = (*self.plan.forward, *self.plan.backward)
        return not any(step.op in REDUCTIONS for stage in stages for step in stage.code)


@dataclass(frozen=True)
class Sequences:
    """What one call runs. sizes: how many inputs, weights, biases, params, memories, states there are."""

    made: Made
    sizes: tuple[int, ...]
    time: int
    batch: int
    threads: int
    reverse: bool
    lengths: Tensor | None
    ids: Tensor | None
    half: bool
    units: bool
    instructions: str
    step: Step | None

    def split(self, tensors: Sequence[Any]) -> list[list[Any]]:
        """The inputs, weights, biases, params, memories, states; not the tensors of the trace's graph."""
        parts, at = [], 0
        for size in self.sizes:
            parts.append(list(tensors[at : at + size]))
            at += size
        return parts

    def chunks(self) -> list[tuple[int, int]]:
        """Bounds of stretches of time: few, for the states between, and short, for one kept whole."""
        size = math.isqrt(2 * self.time - 1) + 1
        return [(start, min(start + size, self.time)) for start in range(0, self.time, size)]

    def part(
        self, tensors: Sequence[Tensor | None], states: Sequence[Tensor], start: int, stop: int
    ) -> tuple["Sequences", list[Tensor | None]]:
        """The steps start .. stop from these states: what runs, and its tensors."""
        inputs, *others, _ = self.split(tensors)
        if self.ids is None:
            inputs = [x[start:stop] for x in inputs]
        lengths = None if self.lengths is None else (self.lengths - start).clamp(0, stop - start)
        ids = None if self.ids is None else self.ids[start:stop]
        part = replace(self, time=stop - start, lengths=lengths, ids=ids)
        return part, [*inputs, *(tensor for group in others for tensor in group), *states]

    def forward(self, tensors: Sequence[Tensor | None]) -> tuple[list[Tensor], Any]:
        inputs, weights, biases, params, memories, states = self.split(tensors)
        output = torch.empty(self.time, self.batch, self.made.plan.output_width)
        final = [state.clone() for state in states]
        saved = native.native_module().scan_forward(
            self.made.native, self.time, self.batch, self.threads, self.reverse, _address(self.lengths),
            [x.shape[2] for x in inputs], _address(self.ids), len(inputs[0]), self.half, self.units,
            [keys.shape[1] for keys in memories[::3]], self.instructions,
            *map(_addresses, (inputs, weights, biases, params, memories, states)),
            _address(output), _addresses(final),
        )  # fmt: skip
        return [output, *final], saved

    def backward(
        self,
        saved: Any,
        tensors: Sequence[Tensor | None],
        wanted: Sequence[bool],
        d_outputs: Sequence[Tensor],
    ) -> list[Tensor | None]:
        """The derivatives of the tensors; None where one is not wanted or there is no tensor."""
        inputs, weights, _, params, _, _ = self.split(tensors)
        d_output, *d_final = [d.contiguous() for d in d_outputs]
        # Inputs' may be left out; the others' are never.
        given = [want or place >= len(inputs) for place, want in enumerate(wanted)]
        results = [
            torch.empty_like(tensor) if give and tensor is not None else None
            for give, tensor in zip(given, tensors, strict=True)
        ]
        native.native_module().scan_backward(
            self.made.native, saved, *map(_addresses, (inputs, weights, params)), _address(d_output),
            _addresses(d_final), *map(_addresses, self.split(results)),
        )  # fmt: skip
        return [d if want else None for d, want in zip(results, wanted, strict=True)]

    def differentiable(
        self, tensors: Sequence[Tensor | None], wanted: Sequence[bool], d_outputs: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """The derivatives with a graph of their own, by torch.

        Those of inputs and states, and of the tensors of the trace's graph, which the weights are rows of.
        """
        count = sum(self.sizes)
        first, last = self.sizes[0], count - self.sizes[-1]
        places = [*range(first), *range(last, len(tensors))]
        # New names for the tensors, of which one may be computed from another.
        own = [x.view_as(x) for place in places if (x := tensors[place]) is not None]
        states, others = own[first : first + self.sizes[-1]], own[first + self.sizes[-1] :]
        assert self.step is not None, "kept where there is something to differentiate"
        results = self.step.over_time(
            own[:first], others, states, self.lengths, self.ids, reverse=self.reverse
        )
        pairs = [(out, d) for out, d in zip(results, d_outputs, strict=True) if out.requires_grad]
        asked = [(place, x) for place, x in zip(places, own, strict=True) if wanted[place]]
        gradients = torch.autograd.grad(
            [out for out, _ in pairs],
            [x for _, x in asked],
            [d for _, d in pairs],
            create_graph=True,
            allow_unused=True,
        )
        found: list[Tensor | None] = [None] * len(tensors)
        for (place, _), gradient in zip(asked, gradients, strict=True):
            found[place] = gradient
        return found


class _Scan(torch.autograd.Function):
    """The engine as one operation of autograd: (sequences, *tensors) -> (outputs, *final state).

    The tensors are those that the engine reads, then those of the trace's graph.
    """

    @staticmethod
    def forward(ctx: Any, sequences: Sequences, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        results, ctx.saved = sequences.forward(tensors)
        ctx.sequences = sequences
        ctx.save_for_backward(*tensors)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        sequences, tensors = ctx.sequences, ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *sequences.differentiable(tensors, ctx.needs_input_grad[1:], grad_outputs)
        count = sum(sequences.sizes)
        graph, tensors = tensors[count:], tensors[:count]
        # Backward writes over what forward saved; a second pass over a retained graph begins with a second
        # forward.
        saved = ctx.saved if ctx.saved is not None else sequences.forward(tensors)[1]
        ctx.saved = None
        wanted = ctx.needs_input_grad[1 : count + 1]
        return None, *sequences.backward(saved, tensors, wanted, grad_outputs), *(None for _ in graph)


class _Again(torch.autograd.Function):
    """_Scan in stretches of time, of which only the states between them are kept for the derivative."""

    @staticmethod
    def forward(ctx: Any, sequences: Sequences, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        states = sequences.split(tensors)[-1]
        kept, outputs = [], []
        for start, stop in sequences.chunks():
            kept.append(states)
            part, given = sequences.part(tensors, states, start, stop)
            (output, *states), _ = part.forward(given)
            outputs.append(output)
        ctx.sequences, ctx.kept = sequences, kept
        ctx.save_for_backward(*tensors)
        return torch.cat(outputs), *states

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        sequences, tensors = ctx.sequences, ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *sequences.differentiable(tensors, ctx.needs_input_grad[1:], grad_outputs)
        count = sum(sequences.sizes)
        graph, tensors = tensors[count:], tensors[:count]
        own = sequences.sizes[-1]
        wanted = [*ctx.needs_input_grad[1 : len(tensors) + 1 - own], *(True for _ in range(own))]
        d_outputs, *d_states = grad_outputs
        total: list[Tensor | None] = [None] * len(tensors)
        pieces: list[list[Tensor | None]] = []
        for states, (start, stop) in zip(reversed(ctx.kept), reversed(sequences.chunks()), strict=True):
            part, given = sequences.part(tensors, states, start, stop)
            _, saved = part.forward(given)
            found = part.backward(saved, given, wanted, [d_outputs[start:stop], *d_states])
            d_states = found[len(tensors) - own :]
            pieces.insert(0, found[: sequences.sizes[0]])
            first = sequences.sizes[0] if sequences.ids is None else 0  # inputs have each steps of their own
            for place, d in enumerate(found[first : len(tensors) - own], first):
                known = total[place]
                total[place] = d if known is None or d is None else known.add_(d)
        if sequences.ids is None:
            for place, ds in enumerate(zip(*pieces, strict=True)):
                total[place] = torch.cat([d for d in ds if d is not None]) if ds[0] is not None else None
        return None, *total[: len(tensors) - own], *d_states, *(None for _ in graph)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _addresses(tensors: Sequence[Tensor | None]) -> list[int]:
    return [_address(tensor) for tensor in tensors]


def _rows(tensors: Sequence[Tensor], places: Sequence[tuple[int, int]], width: int) -> Tensor:
    """`width` rows of a tensor for each (which, first row); a view where they are neighbours."""
    which, first = places[0]
    if all(place == (which, first + i * width) for i, place in enumerate(places)):
        rows = tensors[which]
        # All of them are not sliced: torch copies the gradient of a slice.
        return rows if len(rows) == len(places) * width else rows[first : first + len(places) * width]
    return torch.cat([tensors[which][row : row + width] for which, row in places])


def _biases(tensors: Sequence[Tensor], product: Product) -> Tensor | None:
    places = [(bias, row) for _, bias, row in product.columns]
    if all(bias < 0 for bias, _ in places):
        return None
    if all(bias >= 0 for bias, _ in places):
        return _rows(tensors, places, product.width)
    zero = tensors[0].new_zeros(product.width)
    return torch.cat([zero if bias < 0 else tensors[bias][row : row + product.width] for bias, row in places])


class _Keyed:
    """A trace that is equal to others by what it computes, for the cache of plans."""

    def __init__(self, traced: Trace, train: bool) -> None:
        self.traced: Trace | None = traced
        self.train = train
        self.key = (*traced.key, train)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and self.key == other.key


def _plan(traced: Trace, *, train: bool) -> Made:
    if train not in traced.plans:
        keyed = _Keyed(traced, train)
        traced.plans[train] = _make(keyed)
        keyed.traced = None  # the cache keeps what the cell computes and not its tensors
    return traced.plans[train]


@lru_cache(maxsize=256)
def _make(keyed: _Keyed) -> Made:
    if keyed.traced is None:
        raise AssertionError("a plan is made while its trace is there")
    made = plan(keyed.traced, train=keyed.train)
    return Made(made, native.native_module().ScanPlan(encode(made), made.consts))
