"""The Transformer, encoder and decoder, the norm before each part.

    x_t = sqrt(E) F s_t + P_t        memory = norm(encoder layers(x))
    z_t = sqrt(E) G y_(t-1) + P_t    p(y_t | y_<t, x) = softmax(W norm(decoder layers(z, memory))_t + b)

P sines and cosines of the place; Vaswani et al. 2017; pre-norm: Xiong et al. 2020, Nguyen and Salazar 2019;
tied weights: Press and Wolf 2017. Dropout of what enters, of each part's result and of the inner layer, in
training, is a function of a seed and of places (elman.counter).
Shapes: S source positions, T target time, N batch, n rows being decoded, m of the N sources that they belong
to, P valid places, V target vocabulary, E size, h heads; source Padded ids (S, N) or features (S, N, F).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from elman import counter
from elman.errors import ConfigError, ShapeError
from elman.models.encoder_decoder import EncoderDecoder, Step, Taught
from elman.models.packed import with_packed
from elman.models.rounded import RoundedLinear
from elman.models.transformer_layers import DecoderLayer, Drop, EncoderLayer, sinusoids
from elman.padded import Padded, length_mask
from elman.streaming import Weights

PLACES = 256
"""Positions that are tabulated from the start."""


class Encoded(NamedTuple):
    """A source, read: memory (N, S, E), lengths (N,)."""

    memory: Tensor
    lengths: Tensor


class Decoding(NamedTuple):
    """source (n,): which element of the batch a row decodes; weights (n, S): where it looked last.

    past: of each decoder layer the keys and values (n, 2, h, t, E / h) of the t symbols so far.
    """

    source: Tensor
    past: tuple[Tensor, ...]
    weights: Tensor


class Transformer(EncoderDecoder):
    """An encoder, a decoder that attends to it and to itself, and a linear map to logits.

    source: size of the source vocabulary; 0 where the source is features (S, N, `features`).
    inner: units of the inner layers, 4 `size` by default. layers: of the encoder, and of the decoder unless
    decoder_layers tells. tied: the head's weight is the target embedding's. shared: both sides have one
    embedding. compute: torch.bfloat16 lets products be made of rounded numbers in training; weights, norms
    and evaluation stay as they are. The attention that is told is the mean over the heads of the last decoder
    layer but one, which aligns best (Garg et al. 2019).
    Raises ConfigError where names or sizes do not fit together.
    """

    encoder: Any  # an nn.ModuleList, of which torch cannot say what it holds
    decoder: Any
    table: Tensor

    def __init__(
        self,
        source: int,
        target: int,
        *,
        features: int = 0,
        size: int = 256,
        heads: int = 4,
        inner: int | None = None,
        layers: int = 3,
        decoder_layers: int | None = None,
        tied: bool = False,
        shared: bool = False,
        dropout: float = 0.0,
        compute: torch.dtype | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        above = layers if decoder_layers is None else decoder_layers
        if (source > 0) == (features > 0):
            raise ConfigError(
                f"Transformer: the source is ids or features, one of the two; got {source}, {features}"
            )
        if shared and source != target:
            raise ConfigError(f"shared: the vocabularies must be one, got {source} and {target} symbols")
        if not 0 <= dropout < 1:
            raise ConfigError(f"Transformer: dropout must be at least 0 and below 1, got {dropout}")
        if min(layers, above, heads, size) < 1 or size % heads:
            raise ConfigError(
                f"Transformer: expected layers of at least 1 and a size that the heads divide, got layers "
                f"{layers} and {above}, size {size}, heads {heads}"
            )
        self.dropout, self.compute, self.size, self.heads = dropout, compute, size, heads
        self.target_embedding = _embedding(target, size)
        self.source_embedding = None
        if source:
            self.source_embedding = self.target_embedding if shared else _embedding(source, size)
        self.reader = nn.Linear(features, size) if features else None
        wide = 4 * size if inner is None else inner
        self.encoder = nn.ModuleList(EncoderLayer(size, heads, wide, compute) for _ in range(layers))
        self.decoder = nn.ModuleList(DecoderLayer(size, heads, wide, compute) for _ in range(above))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.head = RoundedLinear(size, target, compute)
        nn.init.zeros_(self.head.bias)
        if tied:
            self.head.weight = self.target_embedding.weight
        else:
            nn.init.normal_(self.head.weight, std=size**-0.5)
        self.register_buffer("table", sinusoids(PLACES, size).float(), persistent=False)
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Draws the next dropout masks from a new key."""
        self._seed = seed

    def encode(self, source: Padded) -> Encoded:
        """Reads the sources, ids (S, N) or features (S, N, F); ShapeError where they are of another kind."""
        bias = _bias(source.lengths, len(source.data), self.table.dtype)
        x = self._dropped(0)(self._embedded_source(source), 0)
        for place, layer in enumerate(self.encoder):
            x = layer(x, bias, self._dropped(1 + place))
        return Encoded(self.encoder_norm(x), source.lengths)

    def forward(self, source: Padded, inputs: Tensor, lengths: Tensor) -> Taught:
        encoded = self.encode(source)
        bias = _bias(encoded.lengths, encoded.memory.shape[1], self.table.dtype)
        mask = length_mask(lengths, len(inputs))
        places = mask.flatten().nonzero()[:, 0]
        ids = torch.where(mask, inputs, 0).t()
        first = 1 + len(self.encoder)
        x = self._dropped(first)(self._placed(self._symbols(ids, self.target_embedding)), 0)
        for place, layer in enumerate(self.decoder, first + 1):
            x = layer(x, encoded.memory, bias, self._dropped(place))
        rows = x.transpose(0, 1).flatten(0, 1).index_select(0, places)
        return Taught(self._logits(rows))

    def start(self, encoded: Encoded, weights: Weights = "float32") -> tuple[Step, Decoding]:
        memory, lengths = encoded
        n, places, _ = memory.shape
        bias = _bias(lengths, places, memory.dtype)
        bound = [layer.cross.bind(memory) for layer in self.decoder]
        seen = max(len(self.decoder) - 2, 0)
        groups = _Groups(n, bound, bias)

        def step(ids: Tensor, state: Decoding) -> tuple[Tensor, Decoding]:
            time = state.past[0].shape[3]
            x = self._symbols(ids, self.target_embedding) + self._places(time + 1)[time]
            keys, masks = groups.of(state.source)
            past, weights = [], state.weights
            for place, layer in enumerate(self.decoder):
                x, kept, looked = layer.step(x, state.past[place], keys[place], masks)
                past.append(kept)
                weights = looked if place == seen else weights
            return self._logits(x), Decoding(state.source, tuple(past), weights)

        empty = memory.new_zeros(n, 2, self.heads, 0, self.size // self.heads)
        sources = torch.arange(n, device=memory.device)
        begin = Decoding(sources, (empty,) * len(self.decoder), memory.new_zeros(n, places))
        return with_packed(step, weights), begin

    def attention(self, state: Decoding) -> Tensor:
        return state.weights

    def places(self, encoded: Encoded) -> Tensor:
        return encoded.lengths

    def _embedded_source(self, source: Padded) -> Tensor:
        """(N, S, E), zeros and what stands there past the end of an element."""
        wanted = 3 if self.reader is not None else 2
        if source.data.dim() != wanted or source.data.is_floating_point() != (wanted == 3):
            kind = "features (S, N, F)" if wanted == 3 else "ids (S, N)"
            raise ShapeError(
                f"Transformer: the source must be {kind}, got {source.data.dtype} {tuple(source.data.shape)}"
            )
        if len(source.lengths) and not int(source.lengths.min()):
            row = int((source.lengths == 0).nonzero()[0])
            raise ShapeError(f"Transformer: element {row} of the source is empty")
        if self.reader is not None:
            data = torch.where(source.mask[:, :, None], source.data, 0)
            return self._placed(self.reader(data).transpose(0, 1))
        assert self.source_embedding is not None
        return self._placed(
            self._symbols(torch.where(source.mask, source.data, 0).t(), self.source_embedding)
        )

    def _symbols(self, ids: Tensor, table: nn.Embedding) -> Tensor:
        """ids (...) -> (..., E): their rows, of length sqrt(E) on average."""
        return embedding(ids, table.weight) * self.size**0.5

    def _placed(self, x: Tensor) -> Tensor:
        return x + self._places(x.shape[1])

    def _places(self, count: int) -> Tensor:
        """P, (count, E)."""
        if count > len(self.table):
            self.table = sinusoids(2 * count, self.size).to(self.table)
        return self.table[:count]

    def _logits(self, rows: Tensor) -> Tensor:
        return self.head(self.decoder_norm(rows))

    def _dropped(self, layer: int) -> Drop:
        """Dropout in a layer, each of its places with a key of its own."""
        if not self.training or not self.dropout:
            return _kept
        key = counter.child(self._seed, layer)

        def drop(x: Tensor, place: int) -> Tensor:
            # (N, T, E): the counter's element is the time, its step the element.
            steps = torch.arange(len(x), device=x.device)[:, None].expand(x.shape[:2])
            return counter.dropout(x.to(self.table.dtype), self.dropout, counter.child(key, place), steps)

        return drop


class _Groups:
    """The memory as rows need it: once for a source, however many rows it has; kept for the same rows."""

    def __init__(self, n: int, bound: list[Tensor], bias: Tensor | None) -> None:
        self._all = bound, bias
        self._sources = torch.arange(n, device=bound[0].device)
        self._now = self._all

    def of(self, sources: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Keys and values (m, 2, h, S, d) and bias (m, 1, 1, S) for rows that stand in m groups of one size.

        Rows of a source that do not stand together, or groups of several sizes, are taken one by one.
        """
        if not torch.equal(sources, self._sources):
            elements, counts = sources.unique_consecutive(return_counts=True)
            elements = elements if bool((counts == counts[:1]).all()) else sources
            bound, bias = self._all
            self._now = [part[elements] for part in bound], None if bias is None else bias[elements]
            self._sources = sources
        return self._now


def _embedding(symbols: int, size: int) -> nn.Embedding:
    """A table of symbols whose rows have length one on average."""
    table = nn.Embedding(symbols, size)
    nn.init.normal_(table.weight, std=size**-0.5)
    return table


def _bias(lengths: Tensor, places: int, dtype: torch.dtype) -> Tensor | None:
    """(N, 1, 1, S): 0, -inf past the end of an element; None where all elements end together."""
    if bool((lengths == places).all()):
        return None
    mask = length_mask(lengths, places).t()[:, None, None]
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -torch.inf)


def _kept(x: Tensor, place: int) -> Tensor:
    return x
