"""Recurrent sequence to sequence, with attention or through one vector.

    memory = encoder(E x)        s_0 from the encoder        s_t = decoder(F y_(t-1), s_(t-1), memory)
    p(y_t | y_<t, x) = softmax(V readout_t + b)

    luong       readout = a, the attentional vector        Luong, Pham and Manning 2015, with input feeding
    bahdanau    readout = tanh(W [h; c; F y])              Bahdanau, Cho and Bengio 2015, tanh for its maxout
    none        readout = h; the source is s_0 alone       Sutskever, Vinyals and Le 2014

Tied weights: Press and Wolf 2017. Dropout of embeddings, of what goes from layer to layer, of the memory and
of the readout, in training, is a function of a seed and of places (elman.counter).
Shapes: S source positions, T target time, N batch, n rows being decoded, P valid places, V target vocabulary,
E embedding, H hidden, M memory; source Padded ids (S, N) or features (S, N, F).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from elman import counter
from elman.attention import ATTENTIONS
from elman.cells import Stack, StackState, State, map_state
from elman.cells.decoder import AttentionCell, AttentionState
from elman.errors import ConfigError, ShapeError
from elman.models.encoder_decoder import EncoderDecoder, Step, Taught
from elman.models.recurrent_encoder import RecurrentEncoder, computed_in, joined, named_cell
from elman.padded import Padded, length_mask
from elman.scan import scan
from elman.tokens import Tokens

STARTS = ("mean", "last", "states")


class Encoded(NamedTuple):
    """A source, read: memory (S, N, M), lengths (N,), the decoder's state before its first step."""

    memory: Tensor
    lengths: Tensor
    start: tuple[State, ...]


class Decoding(NamedTuple):
    """source (n,): which element of the batch a row decodes; weights (n, S), () for none."""

    source: Tensor
    cell: State
    weights: Any


class Seq2Seq(EncoderDecoder):
    """An encoder, a decoder that attends to it or not, and a linear map to logits.

    source: size of the source vocabulary; 0 where the source is features (S, N, `features`).
    cell, layers, decoder_layers: of elman.cells.CELLS; as many in the decoder as in the encoder by default.
    hidden: H of the decoder; the encoder's M too, in each direction a half, unless encoder_hidden tells the
    units of a direction.
    attention: a name of elman.attention.ATTENTIONS with its `attention_options`, or None for no attention.
    start: the decoder's first state: tanh(W m + b) of the memory's "mean" or of the encoder's "last" outputs
    (its first backwards), or the encoder's last "states" themselves, layer by layer (the default without
    attention).
    tied: the head's weight is the target embedding's. shared: both sides have one embedding.
    dropout_source, dropout_target: of the embeddings; dropout: from layer to layer and of the memory;
    dropout_output: of the readout. compute: torch.bfloat16 lets kernels and the head's product round what
    they multiply, in training; weights, sums and evaluation stay as they are.
    Raises ConfigError where names or sizes do not fit together.
    """

    def __init__(
        self,
        source: int,
        target: int,
        *,
        features: int = 0,
        cell: str = "gru",
        embedding: int = 256,
        hidden: int = 512,
        encoder_hidden: int | None = None,
        layers: int = 1,
        decoder_layers: int | None = None,
        bidirectional: bool = True,
        attention: str | None = "additive",
        attention_options: dict[str, Any] | None = None,
        order: str = "luong",
        start: str | None = None,
        tied: bool = False,
        shared: bool = False,
        dropout: float = 0.0,
        dropout_source: float = 0.0,
        dropout_target: float = 0.0,
        dropout_output: float = 0.0,
        compute: torch.dtype | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.compute = compute
        self.probabilities = (dropout_source, dropout_target, dropout, dropout_output)
        for value in self.probabilities:
            if not 0 <= value < 1:
                raise ConfigError(f"Seq2Seq: dropout must be at least 0 and below 1, got {value}")
        if (source > 0) == (features > 0):
            raise ConfigError(
                f"Seq2Seq: the source is ids or features, one of the two; got {source}, {features}"
            )
        if shared and source != target:
            raise ConfigError(f"shared: the vocabularies must be one, got {source} and {target} symbols")
        self.target_embedding = _embedding(target, embedding)
        self.source_embedding = None
        if source:
            self.source_embedding = self.target_embedding if shared else _embedding(source, embedding)
        directions = 2 if bidirectional else 1
        if encoder_hidden is None and hidden % directions:
            raise ConfigError(f"Seq2Seq: hidden must be even for two directions, got {hidden}")
        self.encoder = RecurrentEncoder(
            embedding if source else features,
            hidden // directions if encoder_hidden is None else encoder_hidden,
            cell=cell, layers=layers, bidirectional=bidirectional, dropout=dropout, compute=compute,
        )  # fmt: skip
        kind = named_cell(cell)
        upper = layers if decoder_layers is None else decoder_layers
        cells = [kind(hidden if layer else embedding, hidden) for layer in range(upper)]
        self.order = order if attention else None
        size = embedding if tied else hidden
        self.decoder = _decoder(
            cells, self.encoder.output_size, attention, attention_options or {}, order, size, dropout
        )
        self.readout = _readout(self.decoder.output_size, self.order, embedding, size)
        self.start_with = start or ("mean" if attention else "states")
        self.bridge = self._bridge()
        self.head = nn.Linear(size, target)
        if tied:
            self.head.weight = self.target_embedding.weight
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Draws the next dropout masks from a new key."""
        self._keys = tuple(counter.child(seed, place) for place in range(len(self.probabilities)))
        self.encoder.reseed(counter.child(seed, len(self._keys)))
        self.decoder.reseed(counter.child(seed, len(self._keys) + 1))

    def encode(self, source: Padded) -> Encoded:
        """Reads the sources, ids (S, N) or features (S, N, F); ShapeError where they are of another kind."""
        read = self.encoder(self._embedded_source(source), source.lengths)
        outputs = read.outputs.data
        return Encoded(self._drop(outputs, 2), read.outputs.lengths, self._start(read.outputs, read.states))

    def forward(self, source: Padded, inputs: Tensor, lengths: Tensor) -> Taught:
        encoded = self.encode(source)
        cell, state = self._bind(encoded)
        table = self.target_embedding.weight
        x: Any = Tokens(inputs, table)
        if self.training and self.probabilities[1]:
            x = self._drop(x.dense(0, table), 1)
        compute = computed_in(cell, self.compute if self.training else None)
        outputs, _ = scan(cell, x, state, lengths=lengths, compute=compute)
        places = length_mask(lengths, len(inputs)).flatten().nonzero()[:, 0]
        rows = outputs.flatten(0, 1).index_select(0, places)
        if self.order == "bahdanau":
            x = x.dense(0, table) if isinstance(x, Tokens) else x
            rows = self._read(rows, x.flatten(0, 1).index_select(0, places))
        else:
            rows = self._read(rows, None)
        return Taught(self._logits(self._drop(rows, 3)))

    def start(self, encoded: Encoded) -> tuple[Step, Decoding]:
        cell, state = self._bind(encoded)
        sources = torch.arange(len(encoded.lengths), device=encoded.memory.device)
        weights = () if self.order is None else encoded.memory.new_zeros(len(sources), len(encoded.memory))

        def step(ids: Tensor, state: Decoding) -> tuple[Tensor, Decoding]:
            x = self.target_embedding(ids)
            shown: dict[str, Tensor] = {}
            if isinstance(cell, AttentionCell):
                bound = cell.rows(state.source)
                prepared = map_state(lambda part: part[0], bound.prepare(x[None]))
                output, inner = bound.step(prepared, state.cell, shown)
            else:
                output, inner = cell.step(x, state.cell)
            logits = self._logits(self._read(output, x))
            return logits, Decoding(state.source, inner, shown.get("attention", ()))

        return step, Decoding(sources, state, weights)

    def attention(self, state: Decoding) -> Tensor | None:
        return state.weights if isinstance(state.weights, Tensor) else None

    def places(self, encoded: Encoded) -> Tensor:
        return encoded.lengths

    def _embedded_source(self, source: Padded) -> Tensor | Tokens:
        if self.source_embedding is None:
            if source.data.dim() != 3:
                raise ShapeError(
                    f"Seq2Seq: the source must be features (S, N, F), got {tuple(source.data.shape)}"
                )
            return self._drop(source.data, 0)
        table = self.source_embedding.weight
        ids = torch.where(source.mask, source.data, 0) if source.data.dim() == 2 else source.data
        tokens = Tokens(ids, table)
        tokens.check(0)
        return self._drop(tokens.dense(0, table), 0) if self.training and self.probabilities[0] else tokens

    def _start(self, memory: Padded, states: tuple[tuple[State, ...], ...]) -> tuple[State, ...]:
        """The decoder's cells before their first step."""
        if self.bridge is None:
            return tuple(joined(layer) for layer in states)
        if self.start_with == "mean":
            summary = memory.data.sum(0) / memory.lengths.clamp(min=1)[:, None]
        else:
            summary = torch.cat([side.h for side in states[-1]], -1)
        given = iter(torch.tanh(self.bridge(summary)).split(self._sizes(), -1))
        zero = tuple(cell.initial_state(len(summary)) for cell in self.decoder.cells)
        return map_state(lambda _: next(given), zero)

    def _sizes(self) -> list[int]:
        """Units of each tensor of the decoder's cells' states, in order."""
        found: list[int] = []
        states = tuple(cell.initial_state(1) for cell in self.decoder.cells)
        map_state(lambda part: (found.append(part.shape[1]), part)[1], states)
        return found

    def _bridge(self) -> nn.Linear | None:
        if self.start_with not in STARTS:
            raise ConfigError(f"start: expected one of {', '.join(STARTS)}, got {self.start_with!r}")
        if self.start_with != "states":
            return nn.Linear(self.encoder.output_size, sum(self._sizes()))
        layers = [tuple(cell.initial_state(1) for cell in row) for row in self.encoder.cells]
        wanted = tuple(cell.initial_state(1) for cell in self.decoder.cells)
        given = tuple(joined(layer) for layer in layers)
        if _shapes(given) != _shapes(wanted):
            raise ConfigError(
                "start: the encoder's states have the units "
                f"{_shapes(given)}, the decoder's {_shapes(wanted)}; use start='mean' or like layers"
            )
        return None

    def _bind(self, encoded: Encoded) -> tuple[Stack | AttentionCell, Any]:
        """The decoder over these sources, and its state before the first step."""
        if isinstance(self.decoder, Stack):
            zero = self.decoder.initial_state(len(encoded.lengths))
            return self.decoder, StackState(encoded.start, zero.step)
        cell = self.decoder.bind(encoded.memory, encoded.lengths)
        zero = cell.initial_state(len(encoded.lengths))
        carried = zero.carried if self.order == "luong" else encoded.start[-1].h
        return cell, AttentionState(encoded.start, carried, zero.past)

    def _read(self, output: Tensor, x: Tensor | None) -> Tensor:
        """Outputs of the decoder (n, ...) and the embedded symbols before them -> readouts (n, D)."""
        if self.readout is None:
            return output
        if self.order == "bahdanau" and x is not None:
            return torch.tanh(self.readout(torch.cat([output, x], -1)))
        return self.readout(output)

    def _logits(self, rows: Tensor) -> Tensor:
        weight, bias = self.head.weight, self.head.bias
        if self.compute is None or not self.training:
            return linear(rows, weight, bias)
        # torch multiplies bfloat16 twice as fast as float32 where the processor can, with sums in float32.
        half = linear(rows.to(self.compute), weight.to(self.compute), bias.to(self.compute))
        return half.to(rows.dtype)

    def _drop(self, x: Tensor, place: int) -> Tensor:
        """Dropout of (P, H) or (T, N, H), at the steps that are its first axis."""
        if not self.training or not self.probabilities[place]:
            return x
        steps = torch.arange(len(x), device=x.device)[:, None].expand(x.shape[:2]) if x.dim() == 3 else None
        steps = torch.zeros(len(x), dtype=torch.int64, device=x.device) if steps is None else steps
        return counter.dropout(x, self.probabilities[place], self._keys[place], steps)


def _embedding(symbols: int, size: int) -> nn.Embedding:
    """A table of symbols whose rows have length one on average."""
    table = nn.Embedding(symbols, size)
    nn.init.normal_(table.weight, std=size**-0.5)
    return table


def _decoder(
    cells: list[Any],
    memory: int,
    attention: str | None,
    options: dict[str, Any],
    order: str,
    size: int,
    dropout: float,
) -> Any:
    """An AttentionCell, or a Stack where there is no attention."""
    if attention is None:
        return Stack(cells, dropout=dropout)
    if attention not in ATTENTIONS:
        raise ConfigError(f"attention: expected one of {', '.join(ATTENTIONS)}, got {attention!r}")
    looks = ATTENTIONS[attention](cells[-1].output_size, memory, **options)
    return AttentionCell(cells, looks, order=order, size=size if order == "luong" else None, dropout=dropout)


def _readout(given: int, order: str | None, embedding: int, size: int) -> nn.Linear | None:
    """The map to what the head takes, where the decoder's output is not that already."""
    if order == "bahdanau":
        return nn.Linear(given + embedding, size)
    return None if given == size else nn.Linear(given, size, bias=False)


def _shapes(states: Any) -> list[int]:
    found: list[int] = []
    map_state(lambda part: (found.append(part.shape[-1]), part)[1], states)
    return found
