"""Streams: a stack of cells stepped natively, one symbol or vector of each stream at a time.

    x_t -> cells -> y_t                                  a Streamer of cells
    s_t -> E[s_t] -> cells -> W y_t + b -> s_(t+1)       with Symbols: a language model that draws its own input

With one stream the time of a step is that of reading the weights. They are packed once, in the order in which
they are read, and may be kept in fewer bits:

    float32    as they are
    bfloat16   rounded to 8 bits of mantissa; activations and sums float32
    int8       w = q s, q whole within +-127, s the largest |w| of a row over 127; activations are whole numbers of
               up to 16 bits with one scale a vector, chosen anew at each product; sums are exact

The row of a symbol's input products, biases, vectors of parameters and the state are float32 always, so that a
state can go from one precision to another. A cell is read by elman.tracing and planned by elman.programs; the
engine is csrc/stream. A stream's numbers do not depend on the other streams beside it, nor on where a sequence is
cut: chunks, with the state carried, are the whole to the last bit.

Shapes: T time, N streams, C input, H output, V vocabulary. inputs (T, N, C) float32, tokens (T, N) int64, outputs
(T, N, H), logits (T, N, V).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final, get_args

import torch
from torch import Tensor

from elman import kernels, native_path
from elman.cells import Cell, Stack, StackState, State, map_state
from elman.errors import ConfigError, DivergedError, KernelError, ShapeError
from elman.search.sampling import Sampling
from elman.tracing import Trace, Untraceable, leaves, trace

Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

PATIENCE = 0.05
"""Seconds that one native call may take before Python has a look at signals; no number depends on it."""

MOST_TABLE_BYTES = 64 << 20
"""Of the products of every symbol's row; a larger vocabulary has them computed at each step."""

_KEY = (1 << 64) - 1


class Symbols(NamedTuple):
    """What makes a stack of cells a language model: embedding (V, C), None for one-hot; head (V, H) and (V,)."""

    embedding: Tensor | None
    head_weight: Tensor
    head_bias: Tensor


@dataclass(frozen=True)
class Drawn:
    """Symbols of N streams: ids (n, N), -1 past a stream's end; log_probs (n, N) float64; where they stand."""

    ids: Tensor
    log_probs: Tensor
    logits: Tensor
    state: State


@final
class Streamer:
    """Cells (and symbols) with their weights packed. The parameters are copied: later changes are not seen.

    cell: a Cell or a Stack of cells; what it drops out in training it keeps here. weights: float32, bfloat16 or
    int8. instructions: an instruction set by name; the widest, or that of ELMAN_INSTRUCTIONS, where None.

    Raises KernelError with the reason where the engine cannot serve these cells (`lacks` gives it too), ShapeError
    naming a parameter that is not finite, ConfigError for an unknown precision or instruction set.
    """

    def __init__(
        self,
        cell: Cell,
        symbols: Symbols | None = None,
        *,
        weights: Precision = "float32",
        instructions: str | None = None,
    ) -> None:
        check_precision(weights)
        reason = lacks(cell)
        if reason is not None:
            raise KernelError(f"streams: {type(cell).__name__}: {reason}")
        self.weights: Precision = weights
        self.instructions = kernels.instructions(instructions, "stream")
        self.vocabulary = 0 if symbols is None else len(symbols.head_weight)
        self._cell = cell
        _check_finite(cell, symbols, weights)
        with torch.no_grad():
            self._made, self._net = _build(cell, symbols, weights, self.instructions)

    @property
    def bytes(self) -> int:
        """Of the packed weights: what a step reads."""
        return self._net.bytes

    def initial_state(self, batch_size: int) -> State:
        """The state before the first step of so many streams."""
        return self._cell.initial_state(batch_size)

    def __call__(
        self, inputs: Tensor, state: State | None = None, *, resets: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Steps through inputs (T, N, C) -> outputs (T, N, H), or tokens (T, N) -> logits (T, N, V), and the state.

        resets (T, N): True where a stream's state is the initial one before that step. Raises ShapeError for
        arguments that do not fit.
        """
        self._check_inputs(inputs)
        time, streams = inputs.shape[:2]
        state = self._taken(self.initial_state(streams) if state is None else state, streams)
        width = self.vocabulary or self._cell.output_size
        outputs = torch.empty(time, streams, width)
        if not outputs.numel():
            return outputs, state
        inputs = inputs.detach().contiguous()
        bounds = [0, *(t for t in _cuts(resets, inputs) if t), time]
        for start, stop in zip(bounds, bounds[1:], strict=False):
            if resets is not None and bool(resets[start].any()):
                state = self._taken(self._cell.reset(state, resets[start]), streams)
            self._run(inputs[start:stop], state, outputs[start:stop])
            state = _later(state, stop - start)
        return outputs, state

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: (N, C) -> (N, H), or tokens (N,) -> logits (N, V)."""
        outputs, state = self(inputs[None], state)
        return outputs[0], state

    def generate(
        self,
        logits: Tensor,
        state: State,
        length: int,
        sampling: Sampling | None = None,
        *,
        seed: int = 0,
        start: int = 0,
        stop: Sequence[int] = (),
    ) -> Drawn:
        """All that `draw` gives, in one."""
        parts = list(self.draw(logits, state, length, sampling, seed=seed, start=start, stop=stop))
        if not parts:
            self._check_symbols(logits, state)
            empty = torch.empty(0, len(logits))
            return Drawn(empty.long(), empty.double(), logits, state)
        ids = torch.cat([part.ids for part in parts])
        return Drawn(ids, torch.cat([part.log_probs for part in parts]), parts[-1].logits, parts[-1].state)

    def draw(
        self,
        logits: Tensor,
        state: State,
        length: int,
        sampling: Sampling | None = None,
        *,
        seed: int = 0,
        start: int = 0,
        stop: Sequence[int] = (),
    ) -> Iterator[Drawn]:
        """Draws at most `length` symbols for each stream, a piece at a time; a stream ends after one of `stop`.

        logits (N, V): of the first symbol; start: its position. Symbol n of stream i is chosen as
        elman.search.sampling does, by the same uniform number u(seed, start + n, i); the running sum of the
        probabilities is in float32 where the reference has float64, so that the two differ only where u is within
        some 1e-6 of a boundary between two symbols. Whatever is drawn is read: `state` and `logits` are those after
        the last one. Raises DivergedError where the model's logits are not finite.
        """
        sampling = Sampling() if sampling is None else sampling
        self._check_symbols(logits, state)
        streams = len(logits)
        state = self._taken(state, streams)
        logits = logits.detach().clone().contiguous()
        ends = torch.zeros(self.vocabulary, dtype=torch.uint8)
        ends[torch.tensor(list(stop), dtype=torch.int64)] = 1
        done = torch.zeros(streams, dtype=torch.uint8)
        left = length
        while left > 0 and not bool(done.all()):
            ids, log_probs = torch.empty(left, streams, dtype=torch.int64), torch.empty(left, streams).double()
            made, broken = self._net.generate(
                left, streams, sampling.temperature, sampling.top_k or 0,
                1.0 if sampling.top_p is None else sampling.top_p, seed & _KEY, start, ends.data_ptr(),
                self._addresses(state), logits.data_ptr(), done.data_ptr(), ids.data_ptr(), log_probs.data_ptr(),
                PATIENCE,
            )  # fmt: skip
            if broken >= 0:
                raise DivergedError(
                    f"streams: the logits before symbol {start + broken} are not finite; the model's weights are too "
                    "large for its own arithmetic"
                )
            state = _later(state, (ids[:made] >= 0).sum(0))
            yield Drawn(ids[:made].clone(), log_probs[:made].clone(), logits.clone(), _copy(state))
            left, start = left - made, start + made

    # -- the border ---------------------------------------------------------------------------------------------

    def _run(self, inputs: Tensor, state: State, outputs: Tensor) -> None:
        time, streams = inputs.shape[:2]
        at = 0
        while at < time:
            address = inputs[at].data_ptr()
            symbols = bool(self.vocabulary)
            at += self._net.run(
                time - at, streams, address if symbols else 0, 0 if symbols else address, self._addresses(state),
                outputs[at].data_ptr(), PATIENCE,
            )  # fmt: skip

    def _addresses(self, state: State) -> list[int]:
        return [tensor.data_ptr() for tensor in leaves(_layers(state))]

    def _taken(self, state: State, streams: int) -> State:
        """A copy of a state, checked, that the engine may write over."""
        expected = self._cell.initial_state(streams)
        pairs = [(expected, state)]
        while pairs:
            mine, given = pairs.pop()
            if isinstance(mine, Tensor) and isinstance(given, Tensor):
                if mine.shape != given.shape or mine.dtype != given.dtype or given.device.type != "cpu":
                    raise ShapeError(
                        f"streams: a state of {type(self._cell).__name__} has {mine.dtype} {tuple(mine.shape)} where "
                        f"{given.dtype} {tuple(given.shape)} on {given.device} was given"
                    )
            elif isinstance(mine, Tensor) or type(mine) is not type(given) or len(mine) != len(given):
                raise ShapeError(
                    f"streams: expected a state built as that of {type(self._cell).__name__}, with "
                    f"{type(mine).__name__} where it has {type(given).__name__}"
                )
            else:
                pairs.extend(zip(mine, given, strict=True))
        return _copy(state)

    def _check_inputs(self, inputs: Tensor) -> None:
        if self.vocabulary:
            if inputs.dim() != 2 or inputs.dtype != torch.int64 or inputs.device.type != "cpu":
                raise ShapeError(
                    f"streams: expected tokens (T, N) int64 on the CPU, got {inputs.dtype} {tuple(inputs.shape)} on "
                    f"{inputs.device}"
                )
            if inputs.numel() and not 0 <= int(inputs.min()) <= int(inputs.max()) < self.vocabulary:
                raise ShapeError(
                    f"streams: tokens lie within {int(inputs.min())} .. {int(inputs.max())}, expected 0 .. "
                    f"{self.vocabulary - 1}"
                )
            return
        size = self._cell.input_size
        if (
            inputs.dim() != 3
            or inputs.shape[2] != size
            or inputs.dtype != torch.float32
            or inputs.device.type != "cpu"
        ):
            raise ShapeError(
                f"streams: expected inputs (T, N, {size}) float32 on the CPU, got {inputs.dtype} "
                f"{tuple(inputs.shape)} on {inputs.device}"
            )

    def _check_symbols(self, logits: Tensor, state: State) -> None:
        if not self.vocabulary:
            raise ConfigError("streams: a stack of cells without symbols draws none; give the Streamer its Symbols")
        if (
            logits.dim() != 2
            or logits.shape[1] != self.vocabulary
            or logits.dtype != torch.float32
            or logits.device.type != "cpu"
        ):
            raise ShapeError(
                f"streams: expected logits (N, {self.vocabulary}) float32 on the CPU, got {logits.dtype} "
                f"{tuple(logits.shape)} on {logits.device}"
            )
        self._taken(state, len(logits))


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


def check_precision(weights: str) -> None:
    """Raises ConfigError for a word that is no precision."""
    if weights not in PRECISIONS:
        raise ConfigError(f"weights: expected one of {', '.join(PRECISIONS)}, got {weights!r}")


def _cells(cell: Cell) -> list[Cell]:
    return list(cell.cells) if type(cell) is Stack else [cell]


def _read(cell: Cell) -> Trace:
    """The trace of a cell that can be stepped; raises Untraceable with the reason otherwise."""
    with torch.no_grad():
        traced = trace(cell, torch.zeros(1, 1, cell.input_size), cell.initial_state(1))
        if len(traced.graph.inputs) > 1:
            raise Untraceable("prepares its input by more than the tracer reads")
        for tensor in (*traced.graph.tensors, *leaves(cell.initial_state(1))):
            if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
                raise Untraceable(f"has a tensor {tensor.dtype} on {tensor.device}; streams are float32 on the CPU")
        for stage in native_path.forward_plan(traced).plan.forward:
            if native_path.count_operands(stage) > native_path.MOST_OPERANDS:
                raise Untraceable(f"has a step with more than {native_path.MOST_OPERANDS} vectors")
    return traced


def _build(cell: Cell, symbols: Symbols | None, weights: str, instructions: str) -> tuple[list[Any], Any]:
    """The plans, which must live as long as the network, and the network."""
    module = kernels.native_module()
    alive: list[Any] = []  # until the network has copied them

    def address(tensor: Tensor | None) -> int:
        if tensor is None:
            return 0
        alive.append(tensor.detach().contiguous())
        return alive[-1].data_ptr()

    made, cells, table = [], [], None
    residual = type(cell) is Stack and cell.residual
    for inner in _cells(cell):
        traced = _read(inner)
        made.append(native_path.forward_plan(traced))
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
    return made, net


def _table(plan: Any, weights: list[Tensor], biases: list[Tensor | None], symbols: Symbols) -> Tensor | None:
    """(V, columns): the products of each symbol's row with the lowest cell's weights, where they are not too many."""
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


def _check_finite(cell: Cell, symbols: Symbols | None, weights: str) -> None:
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
                f"streams: {name} holds {float(tensor[place])} at {place}, which {weights} cannot stream; "
                "take a checkpoint from before it diverged"
            )


def _layers(state: State) -> State:
    """The tensors that the engine steps: all of a state but a stack's count of steps."""
    return state.layers if isinstance(state, StackState) else state


def _later(state: State, steps: int | Tensor) -> State:
    return state._replace(step=state.step + steps) if isinstance(state, StackState) else state


def _copy(state: State) -> State:
    return map_state(lambda tensor: tensor.detach().clone(memory_format=torch.contiguous_format), state)


def _cuts(resets: Tensor | None, inputs: Tensor) -> list[int]:
    if resets is None:
        return []
    if resets.shape != inputs.shape[:2] or resets.dtype != torch.bool:
        raise ShapeError(
            f"streams: resets must be bool {tuple(inputs.shape[:2])}, got {resets.dtype} {tuple(resets.shape)}"
        )
    return resets.any(1).nonzero()[:, 0].tolist()

