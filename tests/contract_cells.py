"""Cells that exist for the tests alone: each asks something of the contract which those of the table do not.

Shapes: N batch, C input, H hidden, y output, S slots.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from elman.attend import attend_additive, attend_dot
from elman.attention import named_attention
from elman.cells import Cell, GRUCell, LSTMCell
from elman.cells.base import Record
from elman.cells.decoder import AttentionCell, AttentionState


def weight(*sizes: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(sizes) / sizes[-1] ** 0.5)


class TwoProductsState(NamedTuple):
    h: Tensor


class TwoProducts(Cell):
    """u = tanh(x + A h), h' = h / 2 + tanh(B u): the second product needs the first one's result."""

    records = ("u",)

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = weight(2 * hidden_size, input_size)
        self.a = weight(2 * hidden_size, hidden_size)
        self.b = weight(hidden_size, 2 * hidden_size)

    def initial_state(self, batch_size: int) -> TwoProductsState:
        return TwoProductsState(self.zeros(batch_size, self.hidden_size))

    def prepare(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih)

    def step(
        self, x: Tensor, state: TwoProductsState, record: Record | None = None
    ) -> tuple[Tensor, TwoProductsState]:
        u = torch.tanh(x + linear(state.h, self.a))
        h = state.h / 2 + torch.tanh(linear(u, self.b))
        if record is not None:
            record.update(u=u)
        return h, TwoProductsState(h)


class NormState(NamedTuple):
    h: Tensor
    c: Tensor


class NormLSTM(Cell):
    """An LSTM whose preactivations and memory are normalised over the units: row reductions in a step."""

    records = ("c",)

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = weight(4 * hidden_size, input_size)
        self.weight_hh = weight(4 * hidden_size, hidden_size)
        self.gain = nn.Parameter(torch.rand(hidden_size) + 0.5)
        self.bias = weight(hidden_size)

    def initial_state(self, batch_size: int) -> NormState:
        return NormState(self.zeros(batch_size, self.hidden_size), self.zeros(batch_size, self.hidden_size))

    def prepare(self, inputs: Tensor) -> Tensor:
        return layer_norm(linear(inputs, self.weight_ih), (4 * self.hidden_size,), eps=1e-2)

    def step(self, x: Tensor, state: NormState, record: Record | None = None) -> tuple[Tensor, NormState]:
        recurrent = layer_norm(linear(state.h, self.weight_hh), (4 * self.hidden_size,), eps=1e-2)
        i, f, g, o = (x + recurrent).chunk(4, -1)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)
        normalised = layer_norm(c, (self.hidden_size,), self.gain, self.bias, eps=1e-2)
        h = torch.sigmoid(o) * torch.tanh(normalised)
        if record is not None:
            record.update(c=c)
        return h, NormState(h, c)


class JordanState(NamedTuple):
    y: Tensor


class Jordan(Cell):
    """h = tanh(W x + U y), y' = sigmoid(V h): the output is fed back, and its size is not the hidden one."""

    records = ("h",)

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = weight(hidden_size, input_size)
        self.u = weight(hidden_size, self.output_size)
        self.v = weight(self.output_size, hidden_size)

    @property
    def output_size(self) -> int:
        return self.hidden_size + 2

    def initial_state(self, batch_size: int) -> JordanState:
        return JordanState(self.zeros(batch_size, self.output_size))

    def prepare(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.w)

    def step(self, x: Tensor, state: JordanState, record: Record | None = None) -> tuple[Tensor, JordanState]:
        h = torch.tanh(x + linear(state.y, self.u))
        y = torch.sigmoid(linear(h, self.v))
        if record is not None:
            record.update(h=h)
        return y, JordanState(y)


class Plain(Cell):
    """The least that a user writes: no `record`, one tensor as state; and `prepare` gives nested parts."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = weight(hidden_size, input_size)
        self.gate = weight(hidden_size, input_size)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.zeros(batch_size, self.hidden_size)

    def prepare(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return torch.sigmoid(linear(inputs, self.gate)), (torch.tanh(linear(inputs, self.w)), inputs.sum(-1))

    # The base class has `record`; a cell without intermediates may leave it out.
    def step(self, x: tuple[Tensor, tuple[Tensor, Tensor]], state: Tensor) -> tuple[Tensor, Tensor]:  # pyrefly: ignore[bad-override]
        gate, (new, total) = x
        h = gate * state + (1 - gate) * new + 0.1 * torch.sin(total)[:, None]
        return h, h


class LearnedState(NamedTuple):
    h: Tensor
    count: Tensor


class LearnedStart(Cell):
    """Starts from a learned state, counts its steps in integers, and writes every second step only."""

    records = ("written",)

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = weight(hidden_size, input_size)
        self.u = weight(hidden_size, hidden_size)
        self.start = weight(hidden_size)

    def initial_state(self, batch_size: int) -> LearnedState:
        count = torch.zeros(batch_size, dtype=torch.int64, device=self.start.device)
        return LearnedState(self.start.expand(batch_size, -1), count)

    def prepare(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.w)

    def step(
        self, x: Tensor, state: LearnedState, record: Record | None = None
    ) -> tuple[Tensor, LearnedState]:
        written = (state.count % 2 == 0)[:, None]
        h = torch.where(written, torch.tanh(x + linear(state.h, self.u)), state.h)
        if record is not None:
            record.update(written=written)
        return h, LearnedState(h, state.count + 1)


class MemoryState(NamedTuple):
    memory: Tensor
    inner: TwoProductsState


class Memory(Cell):
    """Slots (N, S, H) that are read and written, with a cell as controller: nested states of more axes."""

    records = ("weighting",)
    slots = 4

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.controller = TwoProducts(hidden_size, hidden_size)
        self.w = weight(hidden_size, input_size)
        self.address = weight(self.slots, hidden_size)

    def initial_state(self, batch_size: int) -> MemoryState:
        memory = self.zeros(batch_size, self.slots * self.hidden_size) + 0.1
        inner = self.controller.initial_state(batch_size)
        return MemoryState(memory.view(batch_size, self.slots, self.hidden_size), inner)

    def prepare(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.w)

    def step(self, x: Tensor, state: MemoryState, record: Record | None = None) -> tuple[Tensor, MemoryState]:
        weighting = torch.softmax(linear(state.inner.h, self.address), -1)
        read = (weighting[..., None] * state.memory).sum(-2)
        h, inner = self.controller.step(self.controller.prepare((x + read)[None])[0], state.inner)
        memory = state.memory * (1 - weighting[..., None]) + weighting[..., None] * h[:, None]
        if record is not None:
            record.update(weighting=weighting)
        return h, MemoryState(memory, inner)


class AttendingState(NamedTuple):
    h: Tensor
    seen: Tensor


class Attending(Cell):
    """h' = tanh(x + A h + F seen) looks at a memory, which is a parameter.

    score: "additive" through a projection, "dot" with h' itself, "before" with h, "sum" additive with what is
    no product, "twice" one look after the other. out: "mixed" tanh(W [c; h']), or "context" itself.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        batch: int = 4,
        places: int = 3,
        size: int = 6,
        width: int = 7,
        score: str = "additive",
        out: str = "mixed",
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.score, self.out, self.width = score, out, width
        size = hidden_size if score in ("dot", "before", "sum") else size
        fed = width if out == "context" else hidden_size
        self.weight_ih = weight(hidden_size, input_size)
        self.weight_hh = weight(hidden_size, hidden_size)
        self.weight_feed = weight(hidden_size, fed)
        self.weight_query = weight(size, width if score == "twice" else hidden_size)
        self.weight_out = weight(hidden_size, width + hidden_size)
        self.vector = nn.Parameter(torch.randn(size))
        self.keys = weight(batch, places, size)
        self.more = weight(batch, places, hidden_size)
        self.values = nn.Parameter(torch.randn(batch, places, width))
        lengths = torch.randint(1, places + 1, (batch, 1))
        bias = torch.zeros(batch, places)
        self.register_buffer("bias", bias.masked_fill(torch.arange(places) >= lengths, -torch.inf))

    @property
    def output_size(self) -> int:
        return self.width if self.out == "context" else self.hidden_size

    def initial_state(self, batch_size: int) -> AttendingState:
        return AttendingState(
            self.zeros(batch_size, self.hidden_size), self.zeros(batch_size, self.output_size)
        )

    def prepare(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight_ih)

    def step(
        self, x: Tensor, state: AttendingState, record: Record | None = None
    ) -> tuple[Tensor, AttendingState]:
        h = torch.tanh(x + linear(state.h, self.weight_hh) + linear(state.seen, self.weight_feed))
        memory = self.bias, self.values
        match self.score:
            case "additive":
                query = linear(h, self.weight_query)
                context, _ = attend_additive(query, self.keys, self.vector, *memory)
            case "sum":
                context, _ = attend_additive(h - state.h * x, self.keys, self.vector, *memory)
            case "twice":
                first, _ = attend_dot(h, self.more, *memory)
                query = linear(torch.sigmoid(first), self.weight_query)
                second, _ = attend_additive(query, self.keys, self.vector, *memory)
                context = first * second
            case _:
                context, _ = attend_dot(h if self.score == "dot" else state.h, self.keys, *memory)
        output = context
        if self.out == "mixed":
            output = torch.tanh(linear(torch.cat([context, h], -1), self.weight_out))
        return output, AttendingState(h, output)


class Decoding(Cell):
    """An AttentionCell with one memory, a parameter, for all its elements: it can be asked for any number."""

    records = ("attention",)
    places, width = 4, 2

    def __init__(self, input_size: int, hidden_size: int, *, attention: str, order: str) -> None:
        super().__init__(input_size, hidden_size)
        looks = named_attention(attention, hidden_size, self.width)
        cells = [GRUCell(input_size, hidden_size), LSTMCell(hidden_size, hidden_size)]
        self.decoder = AttentionCell(cells, looks, order=order)
        self.memory = weight(self.places, self.width)

    @property
    def output_size(self) -> int:
        return self.decoder.output_size

    def bound(self, batch_size: int) -> AttentionCell:
        return self.decoder.bind(self.memory[:, None].expand(-1, batch_size, -1))

    def initial_state(self, batch_size: int) -> AttentionState:
        return self.bound(batch_size).initial_state(batch_size)

    def prepare(self, inputs: Tensor) -> Tensor:
        return self.decoder.prepare(inputs)

    def step(
        self, x: Tensor, state: AttentionState, record: Record | None = None
    ) -> tuple[Tensor, AttentionState]:
        return self.bound(len(x)).step(x, state, record)
