"""Recurrent sequence to sequence, with attention or through one vector.

    memory = encoder(E x)        s_0 from the encoder        s_t = decoder(F y_(t-1), s_(t-1), memory)
    p(y_t | y_<t, x) = softmax(V readout_t + b)

    luong       readout = a, the attentional vector        Luong, Pham and Manning 2015, with input feeding
    bahdanau    readout = tanh(W [h; c; F y])              Bahdanau, Cho and Bengio 2015, tanh for its maxout
    none        readout = h; the source is s_0 alone       Sutskever, Vinyals and Le 2014

Tied weights: Press and Wolf 2017. Beside this file: the first state in `bridge`, copying in `pointer`, own
symbols at times while learning in `scheduled`, what is added to the loss in `attention_loss`. Dropout of
embeddings, of what goes from layer to layer, of the memory and of the readout, in training, is a function of
a seed and of places (elman.counter).
Shapes: S source positions, T target time, N batch, n rows being decoded, P valid places, V target vocabulary,
E embedding, H hidden, M memory; source Padded ids (S, N) or features (S, N, F).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from elman import counter
from elman.attention import named_attention
from elman.cells import Stack, StackState, State, map_state
from elman.cells.base import Record
from elman.cells.decoder import AttentionCell, AttentionState
from elman.errors import ConfigError, ShapeError
from elman.models.attention_loss import AttentionLoss
from elman.models.bridge import Bridge
from elman.models.encoder_decoder import EncoderDecoder, Step, Taught
from elman.models.packed import with_packed
from elman.models.pointer import PointerHead
from elman.models.recurrent_encoder import RecurrentEncoder, computed_in, named_cell
from elman.models.rounded import rounded_linear
from elman.models.scheduled import ScheduledCell
from elman.models.writing import Writing, native_steps
from elman.padded import Padded, length_mask
from elman.scan import scan
from elman.streaming import Weights
from elman.tokens import Tokens


class Encoded(NamedTuple):
    """A source, read: memory (S, N, M), lengths (N,), the decoder's cells before their first step.

    ids (N, S), 0 in the padding, and how many unknown words they number (`extra`), where they can be copied.
    """

    memory: Tensor
    lengths: Tensor
    start: tuple[State, ...]
    ids: Tensor | None = None
    extra: int = 0


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
    pyramid: each layer of the encoder but the first has half the places of the one below.
    copy: source symbols can be copied; one vocabulary for both sides; ids from V on are words that it has
    not, numbered within their source, and read as `unknown`.
    doubly_stochastic, coverage, entropy, baseline, end: of what elman.models.attention_loss adds.
    `teacher`: the probability with which the true last symbol is read in training, 1 at first; see
    elman.models.scheduled.
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
        pyramid: bool = False,
        copy: bool = False,
        unknown: int | None = None,
        end: int | None = None,
        doubly_stochastic: float = 0.0,
        coverage: float = 0.0,
        entropy: float = 0.0,
        baseline: float = 0.9,
        dropout: float = 0.0,
        dropout_source: float = 0.0,
        dropout_target: float = 0.0,
        dropout_output: float = 0.0,
        compute: torch.dtype | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.compute = compute
        self.teacher = 1.0
        self.unknown = unknown
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
            cell=cell, layers=layers, bidirectional=bidirectional, pyramid=pyramid, dropout=dropout,
            compute=compute,
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
        self.pointer = None
        if copy:
            if source != target or attention is None or pyramid or unknown is None:
                raise ConfigError(
                    "copy: needs attention to every place of a source of ids in the target's vocabulary, and "
                    f"the unknown word; got {source} and {target} symbols, attention={attention}, "
                    f"pyramid={pyramid}, unknown={unknown}"
                )
            self.pointer = PointerHead(self.decoder.output_size + embedding)
        if (doubly_stochastic or coverage) and attention is None:
            raise ConfigError("doubly_stochastic, coverage: are about an attention, and there is none")
        draws = isinstance(self.decoder, AttentionCell) and self.decoder.attention.draws
        self.attention_loss = AttentionLoss(
            doubly_stochastic, coverage, entropy, baseline, draws=draws, symbols=target, end=end
        )
        way = start or ("mean" if attention else "states")
        self.bridge = Bridge(way, self.encoder, self._zero(1))
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
        memory, lengths = self._drop(read.outputs.data, 2), read.outputs.lengths
        start = self.bridge(read, self._zero(len(lengths)))
        if self.pointer is None:
            return Encoded(memory, lengths, start)
        ids = torch.where(source.mask, source.data, 0).t()
        extra = max(0, int(ids.max()) + 1 - self.head.out_features) if ids.numel() else 0
        return Encoded(memory, lengths, start, ids, extra)

    def forward(self, source: Padded, inputs: Tensor, lengths: Tensor) -> Taught:
        encoded = self.encode(source)
        outputs, x, shown = self._taught(encoded, inputs, lengths)
        places = length_mask(lengths, len(inputs)).flatten().nonzero()[:, 0]
        rows = {name: values.flatten(0, 1).index_select(0, places) for name, values in shown.items()}
        logits = self._predict(
            outputs.flatten(0, 1).index_select(0, places),
            None if x is None else x.flatten(0, 1).index_select(0, places),
            rows,
            encoded,
            places % inputs.shape[1],
            drop=True,
        )
        if not self.training or not self.attention_loss.wanted:
            return Taught(logits)
        looked, choices = shown["attention"], shown.get("choice")
        return Taught(logits, self.attention_loss(looked, lengths, encoded.lengths, choices, logits, inputs))

    def start(self, encoded: Encoded, weights: Weights = "float32") -> tuple[Step, Decoding]:
        cell, state = self._bind(encoded)
        sources = torch.arange(len(encoded.lengths), device=encoded.memory.device)
        unseen = () if self.order is None else encoded.memory.new_zeros(len(sources), len(encoded.memory))
        begin = Decoding(sources, state, unseen)
        native = self._native(cell, encoded, weights)
        if native is not None:
            return native, begin

        def step(ids: Tensor, state: Decoding) -> tuple[Tensor, Decoding]:
            x = self.target_embedding(self._known(ids))
            shown: Record = {}
            if isinstance(cell, AttentionCell):
                bound = cell.rows(state.source)
                prepared = map_state(lambda part: part[0], bound.prepare(x[None]))
                output, inner = bound.step(prepared, state.cell, shown)
            else:
                output, inner = cell.step(x, state.cell)
            logits = self._predict(output, x, shown, encoded, state.source)
            return logits, Decoding(state.source, inner, shown.get("attention", ()))

        return with_packed(step, weights), begin

    def _native(self, cell: Any, encoded: Encoded, weights: Weights) -> Step | None:
        """The step on the engine, of a decoder that is bound to its sources, where that can make it."""
        lack = None
        if self.pointer is not None and self.readout is not None:
            lack = "copying takes what stands before the readout, which stays inside the engine"
        writing = Writing(self.decoder, self.readout, reads_input=self.order == "bahdanau")
        memory = cell.memory if isinstance(cell, AttentionCell) else None
        steps = native_steps(self, writing, self.target_embedding, self.head, memory, weights, lack)
        if steps is None:
            return None

        def step(ids: Tensor, state: Decoding) -> tuple[Tensor, Decoding]:
            ids, inner = self._known(ids), state.cell
            stacked = isinstance(inner, StackState)
            told = steps(ids, inner.layers if stacked else inner, state.source)
            looked = () if told.weights is None else told.weights
            x = None if self.pointer is None else self.target_embedding(ids)
            logits = self._copying(told.logits, told.output, x, looked, encoded, state.source)
            after = StackState(told.state, inner.step + 1) if stacked else told.state
            return logits, Decoding(state.source, after, looked)

        return step

    def _taught(
        self, encoded: Encoded, inputs: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor | None, Record]:
        """The decoder over its inputs: outputs (T, N, .), x (T, N, E) where it is needed, what it shows."""
        cell, state = self._bind(encoded)
        needs_x = self.order == "bahdanau" or self.pointer is not None
        record = list(cell.records) if self.pointer or (self.training and self.attention_loss.wanted) else []
        if self.training and self.teacher < 1:
            return self._with_own_symbols(encoded, cell, state, inputs, lengths)
        table = self.target_embedding.weight
        x: Any = Tokens(self._known(inputs), table)
        if needs_x or (self.training and self.probabilities[1]):
            x.check(0)
            x = self._drop(x.dense(0, table), 1)
        if record:
            outputs, _, shown = scan(cell, x, state, lengths=lengths, record=record)
        else:
            # A cell is asked about with one element; a bound one has those of its memory.
            one = cell.rows(lengths.new_zeros(1)) if isinstance(cell, AttentionCell) else cell
            compute = computed_in(one, self.compute if self.training else None)
            outputs, _ = scan(cell, x, state, lengths=lengths, compute=compute)
            shown = {}
        return outputs, x if needs_x else None, shown

    def _with_own_symbols(
        self, encoded: Encoded, cell: Any, state: State, inputs: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Record]:
        """`_taught` where the true last symbol is read with probability `teacher` only."""
        sources = torch.arange(inputs.shape[1], device=inputs.device)

        def embed(ids: Tensor, steps: Tensor) -> Tensor:
            x = self.target_embedding(self._known(ids))
            odds = self.probabilities[1] if self.training else 0.0
            return counter.dropout(x, odds, self._keys[1], steps)

        def predict(output: Tensor, x: Tensor, shown: Record) -> Tensor:
            return self._predict(output, x, shown, encoded, sources)

        own = ScheduledCell(
            cell, embed, predict, probability=self.teacher, seed=counter.child(self._keys[1], 0)
        )
        begin = own.initial_state(inputs.shape[1])._replace(cell=state)
        ids = inputs[:, :, None].to(encoded.memory.dtype)
        outputs, _, shown = scan(own, ids, begin, lengths=lengths, record=own.records)
        x = shown.pop("embedded")
        shown.pop("told")
        return outputs, x, shown

    def _predict(
        self,
        output: Tensor,
        x: Tensor | None,
        shown: Record,
        encoded: Encoded,
        sources: Tensor,
        *,
        drop: bool = False,
    ) -> Tensor:
        """logits (n, V or V + X) after outputs (n, .) and x (n, E) of the elements `sources` (n,)."""
        rows = self._read(output, x)
        logits = self._logits(self._drop(rows, 3) if drop else rows)
        return self._copying(logits, output, x, shown.get("attention"), encoded, sources)

    def _copying(
        self, logits: Tensor, output: Tensor, x: Tensor | None, looked: Any, encoded: Encoded, sources: Tensor
    ) -> Tensor:
        """The logits, with those of symbols that can be copied from where the weights (n, S) look."""
        if self.pointer is None or x is None or encoded.ids is None:
            return logits
        seen = torch.cat([output, x], -1)
        return self.pointer(logits, seen, looked, encoded.ids[sources], encoded.extra)

    def _known(self, ids: Tensor) -> Tensor:
        """Words that no vocabulary has are read as the unknown one."""
        if self.pointer is None or self.unknown is None:
            return ids
        return torch.where(ids < self.head.out_features, ids, self.unknown)

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
        ids = torch.where(source.mask, self._known(source.data), 0) if source.data.dim() == 2 else source.data
        tokens = Tokens(ids, table)
        tokens.check(0)
        return self._drop(tokens.dense(0, table), 0) if self.training and self.probabilities[0] else tokens

    def _zero(self, batch_size: int) -> tuple[State, ...]:
        """The zero states of the decoder's cells."""
        return tuple(cell.initial_state(batch_size) for cell in self.decoder.cells)

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
        return rounded_linear(rows, weight, bias)

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
    looks = named_attention(attention, cells[-1].output_size, memory, options)
    return AttentionCell(cells, looks, order=order, size=size if order == "luong" else None, dropout=dropout)


def _readout(given: int, order: str | None, embedding: int, size: int) -> nn.Linear | None:
    """The map to what the head takes, where the decoder's output is not that already."""
    if order == "bahdanau":
        return nn.Linear(given + embedding, size)
    return None if given == size else nn.Linear(given, size, bias=False)
