"""What writes a sequence, as one cell: a decoder's cells, and the readout of what they give.

    x -> cells, which may attend -> [output; x] -> readout -> head -> logits

As a cell it can be read by elman.tracing, and elman.streaming steps it: one native call for all rows of a
search. Its weights are packed at the first search, and again when they have changed. Where the engine does
not serve, the model's own step in torch is taken, and `choose_steps` tells why.
Shapes: N sources, S places, M memory; x (n, E), output (n, D), logits (n, V).
"""

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from elman import kernels
from elman.attention.base import Memory
from elman.cells import Cell, Stack, StackState, State
from elman.cells.base import Record
from elman.cells.decoder import AttentionCell
from elman.errors import ConfigError, KernelError
from elman.scan import Choice
from elman.streaming import Stepper, Steps, Weights, lacks_steps

WEIGHTS: tuple[Weights, ...] = ("float32", "bfloat16")


class Writing(Cell):
    """A decoder with its readout. readout: of [output; x] by tanh where `reads_input`, of output otherwise.

    The state is the decoder's own; of a Stack the states of its layers.
    """

    def __init__(self, decoder: Cell, readout: nn.Linear | None = None, *, reads_input: bool = False) -> None:
        super().__init__(decoder.input_size, decoder.hidden_size)
        self.decoder = decoder
        self.readout = readout
        self.reads_input = reads_input

    @property
    def output_size(self) -> int:
        return self.decoder.output_size if self.readout is None else self.readout.out_features

    def initial_state(self, batch_size: int) -> State:
        state = self.decoder.initial_state(batch_size)
        return state.layers if isinstance(state, StackState) else state

    def prepare(self, inputs: Tensor) -> Any:
        prepared = self.decoder.prepare(inputs)
        if self.readout is None or not self.reads_input:
            return prepared
        weight = self.readout.weight[:, self.decoder.output_size :]
        return prepared, linear(inputs, weight, self.readout.bias)

    def step(self, x: Any, state: State, record: Record | None = None) -> tuple[Tensor, State]:
        if self.readout is None:
            return self._decode(x, state)
        if not self.reads_input:
            output, state = self._decode(x, state)
            return linear(output, self.readout.weight, self.readout.bias), state
        output, state = self._decode(x[0], state)
        known = linear(output, self.readout.weight[:, : self.decoder.output_size])
        return torch.tanh(known + x[1]), state

    def _decode(self, x: Any, state: State) -> tuple[Tensor, State]:
        if not isinstance(self.decoder, Stack):
            return self.decoder.step(x, state)
        count = torch.zeros(0, dtype=torch.int64)  # of steps: for masks in training alone
        output, after = self.decoder.step(x, StackState(state, count))
        return output, after.layers


def choose_steps(cell: Cell, weights: Weights = "float32", lack: str | None = None) -> Choice:
    """The way in which a search steps an AttentionCell, a Stack or a Writing: "native" or "torch", and why.

    lack: why the engine cannot, where the model knows that. ELMAN_KERNELS has its say. Raises ConfigError for
    weights of another name, KernelError where the engine is asked for and does not serve.
    """
    if weights not in WEIGHTS:
        raise ConfigError(f"weights: expected {' or '.join(WEIGHTS)}, got {weights!r}")
    mode = kernels.mode()
    if mode in ("torch", "reference"):
        return Choice("torch", f"{kernels.VARIABLE}={mode}")
    reason = lack or _lack(cell)
    if reason is None:
        return Choice("native", f"the engine steps it, with weights in {weights}")
    if mode == "native":
        raise KernelError(f"steps of a search: {reason}; {kernels.VARIABLE}=auto takes torch's operations")
    return Choice("torch", reason)


def native_steps(
    owner: nn.Module,
    cell: Writing,
    head: nn.Linear,
    memory: Memory | None,
    weights: Weights,
    lack: str | None = None,
) -> Steps | None:
    """The steps of a search over these memories; None where `choose_steps` says that torch makes them.

    Nor are they native where they are to be differentiated. owner: the model, which keeps the packed weights
    as long as it lives. Raises as `choose_steps`.
    """
    if torch.is_grad_enabled() and any(p.requires_grad for p in (*cell.parameters(), *head.parameters())):
        return None
    key = weights, kernels.mode()
    mark = _mark(cell, head, memory)
    known = _packed.setdefault(owner, {}).get(key)
    if known is None or known.mark != mark:
        stepper = None
        if choose_steps(cell, weights, lack).path == "native":
            own = _bound(cell)
            stepper = Stepper(own, (head.weight, _bias(head)), _memory(own), weights=weights)
        known = _Known(mark, stepper)
        _packed[owner][key] = known
    return None if known.stepper is None else known.stepper.over(memory)


class _Known(NamedTuple):
    mark: tuple[Any, ...]
    stepper: Stepper | None


_packed: WeakKeyDictionary[nn.Module, dict[tuple[str, str], _Known]] = WeakKeyDictionary()


def _mark(cell: Writing, head: nn.Linear, memory: Memory | None) -> tuple[Any, ...]:
    """All that what is packed depends on: which state of which parameters, and what the tracer reads."""
    parameters = (*cell.parameters(), *head.parameters())
    states = [(p.data_ptr(), 0 if p.is_inference() else p._version, p.shape, p.dtype) for p in parameters]
    sizes = None if memory is None else (memory.values.shape[2], memory.keys.shape[2])
    return cell.training, cell.decoder.training, sizes, tuple(states), _instructions()


def _instructions() -> str:
    return kernels.instructions() if kernels.native_available() else ""


def _lack(cell: Cell) -> str | None:
    """Why the engine does not step this decoder; None where it does."""
    if not kernels.native_available():
        return kernels.native_status()
    decoder = cell.decoder if isinstance(cell, Writing) else cell
    if decoder.training and (getattr(decoder, "dropout", 0) or any(getattr(decoder, "probabilities", ()))):
        return "it draws masks in training"
    own = _bound(cell if isinstance(cell, Writing) else Writing(cell))
    return lacks_steps(own, _memory(own))


def _bound(cell: Writing) -> Writing:
    """The same over a memory of one place, for its equations to be read."""
    decoder = cell.decoder
    if not isinstance(decoder, AttentionCell):
        return cell
    like = next(decoder.parameters())
    with torch.no_grad():
        blank = torch.zeros(1, 1, decoder.attention.memory_size, dtype=like.dtype, device=like.device)
        return Writing(decoder.bind(blank), cell.readout, reads_input=cell.reads_input).train(cell.training)


def _memory(cell: Writing) -> Memory | None:
    return cell.decoder.memory if isinstance(cell.decoder, AttentionCell) else None


def _bias(head: nn.Linear) -> Tensor:
    return head.weight.new_zeros(head.out_features) if head.bias is None else head.bias
