"""Streams: a stack of cells stepped natively, one symbol or vector of each stream at a time.

    x_t -> cells -> y_t                                  a Streamer of cells
    s_t -> E[s_t] -> cells -> W y_t + b -> s_(t+1)       with Symbols: a language model draws its own input

With one stream the time of a step is that of reading the weights. They are packed once, in the order in which
they are read, and may be kept in fewer bits (elman.streaming.packing). The state is float32 always, so that
it can go from one precision to another. A cell is read by elman.tracing and planned by elman.programs; the
engine is csrc/stream. A stream's numbers do not depend on the other streams beside it, nor on where a
sequence is cut: chunks, with the state carried, are the whole to the last bit.

Shapes: T time, N streams, C input, H output, V vocabulary. inputs (T, N, C) float32, tokens (T, N) int64,
outputs (T, N, H), logits (T, N, V).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from elman import kernels
from elman.cells import Cell, StackState, State, map_state
from elman.errors import ConfigError, DivergedError, KernelError, ShapeError
from elman.search.sampling import Sampling
from elman.streaming.packing import Precision, Symbols, check_finite, check_precision, lacks, pack
from elman.tracing import leaves

PATIENCE = 0.05
"""Seconds that one native call may take before Python has a look at signals; no number depends on it."""

MOST_AT_ONCE = 1 << 14
"""Symbols for which there is room in one native call."""

_KEY = (1 << 64) - 1


@dataclass(frozen=True)
class Drawn:
    """Symbols of N streams, and where the streams then stand.

    ids (n, N), -1 past a stream's end; log_probs (n, N) float64, of each under the model itself.
    """

    ids: Tensor
    log_probs: Tensor
    logits: Tensor
    state: State


@final
class Streamer:
    """Cells (and symbols) with their weights packed. The parameters are copied: later changes are not seen.

    cell: a Cell or a Stack of cells; what it drops out in training it keeps here. weights: float32, bfloat16
    or int8. instructions: an instruction set by name; the widest, or that of ELMAN_INSTRUCTIONS, where None.

    Raises KernelError with the reason where the engine cannot serve these cells (`lacks` gives it too),
    ShapeError naming a parameter that is not finite, ConfigError for an unknown precision or instruction set.
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
        check_finite(cell, symbols, weights)
        with torch.no_grad():
            self._packed = pack(cell, symbols, weights, self.instructions)

    @property
    def bytes(self) -> int:
        """Of the packed weights: what a step reads."""
        return self._packed.net.bytes

    def initial_state(self, batch_size: int) -> State:
        """The state before the first step of so many streams."""
        return self._cell.initial_state(batch_size)

    def __call__(
        self, inputs: Tensor, state: State | None = None, *, resets: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Steps through inputs (T, N, C) -> outputs (T, N, H), or tokens (T, N) -> logits (T, N, V), and the
        state.

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
        for start, stop in pairwise(bounds):
            if resets is not None and bool(resets[start].any()):
                state = self._taken(self._cell.reset(state, resets[start]), streams)
            parts = self._parts(state)
            self._run(inputs[start:stop], parts, outputs[start:stop])
            state = self._later(state, parts, stop - start)
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
        """Draws at most `length` symbols for each stream, a piece at a time; a stream ends after one of
        `stop`.

        logits (N, V): of the first symbol; start: its position. Symbol n of stream i is chosen as
        elman.search.sampling does, by the same uniform number u(seed, start + n, i); the running sum of the
        probabilities is in float32 where the reference has float64, so that the two differ only where u is
        within some 1e-6 of a boundary between two symbols. Whatever is drawn is read: `state` and `logits`
        are those after the last one. Raises DivergedError where the model's logits are not finite.
        """
        sampling = Sampling() if sampling is None else sampling
        self._check_symbols(logits, state)
        streams = len(logits)
        state = self._taken(state, streams)
        logits = logits.detach().clone().contiguous()
        for index in stop:
            if not 0 <= index < self.vocabulary:
                raise ConfigError(f"stop: symbol {index} is not one of the {self.vocabulary} that there are")
        ends = torch.zeros(self.vocabulary, dtype=torch.uint8)
        ends[torch.tensor(list(stop), dtype=torch.int64)] = 1
        done = torch.zeros(streams, dtype=torch.uint8)
        left, parts = length, self._parts(state)
        while left > 0 and not bool(done.all()):
            most = min(left, MOST_AT_ONCE)
            ids, log_probs = (
                torch.empty(most, streams, dtype=torch.int64),
                torch.empty(most, streams).double(),
            )
            made, broken = self._packed.net.generate(
                most, streams, sampling.temperature, sampling.top_k or 0,
                1.0 if sampling.top_p is None else sampling.top_p, seed & _KEY, start, ends.data_ptr(),
                _addresses(parts), logits.data_ptr(), done.data_ptr(), ids.data_ptr(),
                log_probs.data_ptr(), torch.get_num_threads(), PATIENCE,
            )  # fmt: skip
            if broken >= 0:
                raise DivergedError(
                    f"streams: the logits before symbol {start + broken} are not finite; the model's "
                    "weights are too large for its own arithmetic"
                )
            state = self._later(state, parts, (ids[:made] >= 0).sum(0))
            yield Drawn(ids[:made].clone(), log_probs[:made].clone(), logits.clone(), _copy(state))
            left, start = left - made, start + made

    # -- the border

    def _run(self, inputs: Tensor, parts: list[Tensor], outputs: Tensor) -> None:
        time, streams = inputs.shape[:2]
        at = 0
        while at < time:
            address = inputs[at].data_ptr()
            symbols = bool(self.vocabulary)
            at += self._packed.net.run(
                time - at, streams, address if symbols else 0, 0 if symbols else address,
                _addresses(parts), outputs[at].data_ptr(), torch.get_num_threads(), PATIENCE,
            )  # fmt: skip

    def _parts(self, state: State) -> list[Tensor]:
        """The vectors that the engine steps and writes over, cell after cell: copies."""
        states = state.layers if isinstance(state, StackState) else (state,)
        return [
            part.clone(memory_format=torch.contiguous_format)
            for traced, inner in zip(self._packed.traces, states, strict=True)
            for part in traced.apart(leaves(inner))
        ]

    def _later(self, state: State, parts: list[Tensor], steps: int | Tensor) -> State:
        """The state that the vectors make after some more steps."""
        rest = iter(parts)
        states = state.layers if isinstance(state, StackState) else (state,)
        later = []
        for traced, inner in zip(self._packed.traces, states, strict=True):
            whole = iter(traced.joined([next(rest) for _ in traced.widths]))
            later.append(map_state(lambda _, whole=whole: next(whole), inner))
        return StackState(tuple(later), state.step + steps) if isinstance(state, StackState) else later[0]

    def _taken(self, state: State, streams: int) -> State:
        """A copy of a state, checked, that the engine may write over."""
        expected = self._cell.initial_state(streams)
        pairs = [(expected, state)]
        while pairs:
            mine, given = pairs.pop(0)
            if isinstance(mine, Tensor) and isinstance(given, Tensor):
                if mine.shape != given.shape or mine.dtype != given.dtype or given.device.type != "cpu":
                    raise ShapeError(
                        f"streams: a state of {type(self._cell).__name__} has {mine.dtype} "
                        f"{tuple(mine.shape)} where {given.dtype} {tuple(given.shape)} on "
                        f"{given.device} was given"
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
                    f"streams: expected tokens (T, N) int64 on the CPU, got {inputs.dtype} "
                    f"{tuple(inputs.shape)} on {inputs.device}"
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
            raise ConfigError(
                "streams: a stack of cells without symbols draws none; give the Streamer its Symbols"
            )
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


def _addresses(parts: list[Tensor]) -> list[int]:
    return [part.data_ptr() for part in parts]


def _copy(state: State) -> State:
    return map_state(lambda tensor: tensor.detach().clone(memory_format=torch.contiguous_format), state)


def _cuts(resets: Tensor | None, inputs: Tensor) -> list[int]:
    if resets is None:
        return []
    if resets.shape != inputs.shape[:2] or resets.dtype != torch.bool:
        raise ShapeError(
            f"streams: resets must be bool {tuple(inputs.shape[:2])}, got {resets.dtype} "
            f"{tuple(resets.shape)}"
        )
    return resets.any(1).nonzero()[:, 0].tolist()
