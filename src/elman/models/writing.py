"""What writes a sequence, as one cell: a decoder's cells, and the readout of what they give.

    x -> cells, which may attend -> [output; x] -> readout -> head -> logits

As a cell it can be read by elman.tracing, and elman.streaming steps it: one native call for all rows of a
search. Its weights are packed at the first search, and again when they have changed; what a symbol prepares
is computed when it is first written, and kept where the vocabulary is not too large. Where the engine does
not serve, the model's own step in torch is taken, and `choose_steps` tells why.
Shapes: N sources, S places, M memory; x (n, E), output (n, D), logits (n, V).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from elman import kernels
from elman.attention.base import Memory
from elman.cells import Cell, Stack, StackState, State, map_state
from elman.cells.base import Record
from elman.cells.decoder import AttentionCell
from elman.errors import ConfigError, KernelError
from elman.models.marks import Mark, all_unchanged, mark
from elman.scan import Choice
from elman.streaming import Stepped, Stepper, Steps, Weights, lacks_steps
from elman.streaming.packing import MOST_TABLE_BYTES
from elman.tracing import leaves

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
        self.training = decoder.training  # of itself alone: the decoder's parts are the model's too

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


@final
class Symbolwise:
    """Native steps that read symbols. Raises IndexError for an id that there is none of."""

    def __init__(self, rows: Callable[[Tensor], Tensor], steps: Steps) -> None:
        self._rows, self._steps = rows, steps

    def __call__(self, ids: Tensor, state: State, source: Tensor | None) -> Stepped:
        """ids (n,), the state of n rows, and the source of each."""
        return self._steps(self._rows(ids), state, source)


def native_steps(
    owner: nn.Module,
    cell: Writing,
    embedding: nn.Embedding,
    head: nn.Linear,
    memory: Memory | None,
    weights: Weights,
    lack: str | None = None,
) -> Symbolwise | None:
    """The steps of a search over these memories; None where `choose_steps` says that torch makes them.

    Nor are they native where they are to be differentiated. owner: the model, which keeps the packed weights
    as long as it lives. Raises as `choose_steps`.
    """
    parameters = (*cell.parameters(), *embedding.parameters(), *head.parameters())
    if torch.is_grad_enabled() and any(p.requires_grad for p in parameters):
        return None
    key = weights, kernels.mode()
    form = _form(cell, memory)
    known = _packed.setdefault(owner, {}).get(key)
    if known is None or known.form != form or not all_unchanged(parameters, known.marks):
        marks = tuple(map(mark, parameters))
        known = _Known(form, marks, embedding, None)
        if choose_steps(cell, weights, lack).path == "native":
            own, rows = _bound(cell), embedding
            if _table_bytes(cell, embedding) <= MOST_TABLE_BYTES:
                own, rows = Prepared(own), _Table(cell, embedding)
            stepper = Stepper(own, (head.weight, _bias(head)), _memory(own), weights=weights)
            known = _Known(form, marks, rows, stepper)
        _packed[owner][key] = known
    return None if known.stepper is None else Symbolwise(known.rows, known.stepper.over(memory))


class Prepared(Cell):
    """A cell whose inputs were prepared before: all parts of what its `prepare` gives, side by side."""

    def __init__(self, cell: Writing) -> None:
        like = _prepared(cell, torch.zeros(1, cell.input_size))
        sizes = [part.shape[-1] for part in leaves(like)]
        super().__init__(sum(sizes), cell.hidden_size)
        self.cell, self.like, self.sizes = cell, like, sizes

    @property
    def output_size(self) -> int:
        return self.cell.output_size

    def initial_state(self, batch_size: int) -> State:
        return self.cell.initial_state(batch_size)

    def step(self, x: Any, state: State, record: Record | None = None) -> tuple[Tensor, State]:
        parts = iter(x.split(self.sizes, -1))
        return self.cell.step(map_state(lambda _: next(parts), self.like), state)


@final
class _Table:
    """What is prepared of each symbol (V, G), computed when it is first asked for."""

    def __init__(self, cell: Writing, embedding: nn.Embedding) -> None:
        self._cell, self._embedding = cell, embedding
        size = sum(part.shape[-1] for part in leaves(_prepared(cell, embedding.weight[:1])))
        self._rows = torch.empty(embedding.num_embeddings, size)
        self._known = torch.zeros(embedding.num_embeddings, dtype=torch.bool)

    def __call__(self, ids: Tensor) -> Tensor:
        new = ids[~self._known.index_select(0, ids)]
        if len(new):
            new = new.unique()
            with torch.no_grad():
                self._rows[new] = torch.cat(leaves(_prepared(self._cell, self._embedding(new))), -1)
            self._known[new] = True  # last: another thread may be reading
        return self._rows.index_select(0, ids)


def _prepared(cell: Cell, x: Tensor) -> Any:
    """What the cell prepares of x (n, E): a tree of (n, .)."""
    with torch.no_grad():
        return map_state(lambda part: part[0], cell.prepare(x[None]))


def _table_bytes(cell: Writing, embedding: nn.Embedding) -> int:
    return (
        4
        * embedding.num_embeddings
        * sum(part.shape[-1] for part in leaves(_prepared(cell, embedding.weight[:1])))
    )


class _Known(NamedTuple):
    form: tuple[Any, ...]
    marks: tuple[Mark, ...]
    rows: Callable[[Tensor], Tensor]
    stepper: Stepper | None


_packed: WeakKeyDictionary[nn.Module, dict[tuple[str, str], _Known]] = WeakKeyDictionary()


def _form(cell: Writing, memory: Memory | None) -> tuple[Any, ...]:
    """What is packed depends on, beside the parameters: what the tracer reads, how it is computed."""
    sizes = None if memory is None else (memory.values.shape[2], memory.keys.shape[2])
    return cell.training, sizes, _instructions()


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
        return Writing(decoder.bind(blank), cell.readout, reads_input=cell.reads_input)


def _memory(cell: Writing | Prepared) -> Memory | None:
    cell = cell.cell if isinstance(cell, Prepared) else cell
    return cell.decoder.memory if isinstance(cell.decoder, AttentionCell) else None


def _bias(head: nn.Linear) -> Tensor:
    return head.weight.new_zeros(head.out_features) if head.bias is None else head.bias
