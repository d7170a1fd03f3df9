"""Sentences about what is seen: an image, features computed elsewhere, or a clip of frames.

    regions r_1 .. r_S = encoder(image)          s_0 = tanh(W_s summary + b_s), summary = mean of the regions
    p(y_t | y_<t, image) = softmax(W o_t + b)    o_t, s_t = decoder(E y_(t-1), s_(t-1)), which attends to r

With an attention this is Show, Attend and Tell (Xu et al. 2015). Without one the decoder sees the mean of the
regions alone, at every step, as in NeuralTalk (Karpathy and Fei-Fei 2015) and Show and Tell (Vinyals et al.
2015). A clip's frames, each an image or a vector of features, pass through a recurrent encoder first, as in
S2VT (Venugopalan et al. 2015): a sentence about the clip attends to its outputs, and begins from the last; a
sentence about each frame attends to the regions of that frame and to the output there, which knows the frames
before it.

What is added to the loss because of where it looked is in elman.models.attention_loss.
Shapes: N pictures, S regions of M features, n sentences, T time, V vocabulary; source: a View of images
(N, C, height, width), of features Padded (S, N, F), or of clips Padded (T, N, C, height, width).
"""

from functools import partial
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from elman import counter
from elman.attention import ATTENTIONS, Attention, named_attention
from elman.cells import CELLS, Cell, State, map_state
from elman.cells.decoder import AttentionCell
from elman.errors import ConfigError, ShapeError
from elman.models.attention_loss import AttentionLoss
from elman.models.encoder_decoder import EncoderDecoder, Step, Taught
from elman.models.image_encoder import ImageEncoder
from elman.models.packed import with_packed
from elman.models.writing import Symbolwise, Writing, native_steps
from elman.padded import Padded, length_mask
from elman.scan import scan
from elman.streaming import Weights
from elman.tokens import Tokens

NOTHING = -1
"""The picture of a sentence that has none: what is learnt from it is language alone."""


class View(NamedTuple):
    """Pictures, and what the sentences are about.

    about (n,) int64: the picture of each sentence, by its place, or NOTHING; one for each where None. Where
    every frame is described, the places are those of the frames, clip by clip.
    """

    pictures: Tensor | Padded
    about: Tensor | None = None


class Seen(NamedTuple):
    """What was made of a view: regions (S, N, M), lengths (N,), and a summary (N, M) of each picture.

    The last of the N is the picture of a sentence that has none.
    """

    regions: Padded
    summary: Tensor
    about: Tensor


class Words(NamedTuple):
    """What teacher forcing gives: logits (P, V), where each word was looked at (T, n, S), zero past its
    sentence's end, over how many places (n,), and what a hard attention chose (T, n), or None.
    """

    logits: Tensor
    weights: Tensor
    places: Tensor
    choices: Tensor | None


class CaptionState(NamedTuple):
    """Of n rows: the decoder's state, the picture that a row is about, and where it looked last (n, S)."""

    cells: State
    about: Tensor
    weights: Tensor


@final
class Captioner(EncoderDecoder):
    """An encoder of images or features, one of clips where there are any, and a decoder that attends.

    encoder: of images; features: F, where they come computed. frames: for clips, the cell of the recurrent
    encoder; each_frame: a sentence about every frame in place of one about the clip. attention: a name of
    ATTENTIONS, or None. doubly_stochastic, entropy, baseline, end: of elman.models.attention_loss. dropout_*:
    of the regions, of the embedding and of what the output's weight is applied to. Raises ConfigError for
    settings that do not go together.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        encoder: ImageEncoder | None = None,
        features: int | None = None,
        frames: Cell | None = None,
        each_frame: bool = False,
        attention: str | None = "additive",
        attention_options: dict[str, Any] | None = None,
        cell: str = "lstm",
        hidden: int = 256,
        embedding: int = 128,
        order: str = "luong",
        doubly_stochastic: float = 0.0,
        entropy: float = 0.0,
        baseline: float = 0.9,
        end: int | None = None,
        dropout_regions: float = 0.0,
        dropout_embedding: float = 0.0,
        dropout_output: float = 0.0,
    ) -> None:
        super().__init__()
        if (encoder is None) == (features is None):
            raise ConfigError("Captioner: expected an encoder of images or the size of features, one of them")
        if each_frame and frames is None:
            raise ConfigError(
                "Captioner: each_frame describes the frames of clips; give frames, their encoder"
            )
        if doubly_stochastic and attention is None:
            raise ConfigError("Captioner: doubly_stochastic is about an attention, and there is none")
        if cell not in CELLS:
            raise ConfigError(f"model.cell: expected one of {', '.join(CELLS)}, got {cell!r}")
        self.vocabulary, self.each_frame, self.attends = vocabulary, each_frame, attention is not None
        self.dropouts = dropout_regions, dropout_embedding, dropout_output
        self.encoder, self.frames = encoder, frames
        self.adapt = None if features is None else nn.Linear(features, hidden)
        below = hidden if encoder is None else encoder.features
        size = below
        if frames is not None:
            if frames.input_size != below:
                raise ShapeError(f"Captioner: frames takes {frames.input_size}, a frame has {below} features")
            size = frames.output_size
            if each_frame and size != below:
                raise ShapeError(
                    f"Captioner: each_frame attends to regions of {below} features and outputs of {size}; "
                    f"make them the same"
                )
        self.blank = nn.Parameter(torch.zeros(size))
        self.embedding = nn.Embedding(vocabulary, embedding)
        nn.init.normal_(self.embedding.weight, std=embedding**-0.5)
        inner = CELLS[cell](embedding, hidden)
        self.decoder = AttentionCell(
            [inner], _attention(attention, hidden, size, attention_options), order=order
        )
        self.head = nn.Linear(self.decoder.output_size, vocabulary)
        self.attention_loss = AttentionLoss(
            doubly_stochastic,
            0.0,
            entropy,
            baseline,
            draws=self.decoder.attention.draws,
            symbols=vocabulary,
            end=end,
        )
        self.begin = nn.ModuleList(nn.Linear(size, part) for part in self._state_sizes())
        self.reseed(0)

    def reseed(self, seed: int) -> None:
        """Draws the next masks, and where a hard attention looks, from a new key."""
        self._keys = [counter.child(seed, place) for place in range(4)]
        self.decoder.reseed(self._keys[3])

    def encode(self, source: View) -> Seen:
        """The regions of each picture, of each frame where every one is described, and of none at all.

        Raises ShapeError for a view of another kind than the model was made for, or a place outside of it.
        """
        regions, summary = (
            self._clips(source.pictures) if self.frames is not None else self._still(source.pictures)
        )
        count = len(summary)
        about = torch.arange(count, device=summary.device) if source.about is None else source.about
        if len(about) and not -1 <= int(about.min()) <= int(about.max()) < count:
            raise ShapeError(f"Captioner: a sentence about picture {int(about.max())} of {count}")
        if not self.attends:
            regions = Padded(summary[None], torch.ones(count, dtype=torch.int64, device=summary.device))
        blank = self.blank.expand(len(regions.data), 1, -1)
        both = Padded(
            torch.cat([regions.data, blank], 1), torch.cat([regions.lengths, regions.lengths.new_ones(1)])
        )
        dropped = Padded(self._drop(both.data, 0), both.lengths)
        return Seen(dropped, torch.cat([summary, self.blank[None]]), torch.where(about < 0, count, about))

    def forward(self, source: View, inputs: Tensor, lengths: Tensor) -> Taught:
        if self.training and self.attention_loss.wanted:
            told = self.taught(source, inputs, lengths)
            term = self.attention_loss(told.weights, lengths, told.places, told.choices, told.logits, inputs)
            return Taught(told.logits, term)
        cell, tokens, seen = self._bound(source, inputs)
        outputs, _ = scan(cell, tokens, self._start(cell, seen), lengths=lengths)
        return Taught(self._logits(outputs, lengths), None)

    def taught(self, source: View, inputs: Tensor, lengths: Tensor) -> Words:
        """As `forward`, with where it looked, which only the reference records."""
        cell, tokens, seen = self._bound(source, inputs)
        start = self._start(cell, seen)
        outputs, _, records = scan(cell, tokens, start, lengths=lengths, record=cell.records)
        places = seen.regions.lengths[seen.about]
        return Words(self._logits(outputs, lengths), records["attention"], places, records.get("choice"))

    def _bound(self, source: View, inputs: Tensor) -> tuple[AttentionCell, Tokens, Seen]:
        """The decoder over what is seen, a row for each sentence, and what it reads."""
        seen = self.encode(source)
        if inputs.shape[1] != len(seen.about):
            raise ShapeError(f"Captioner: {inputs.shape[1]} sentences, the view is of {len(seen.about)}")
        cell = self.decoder.bind(seen.regions.data, seen.regions.lengths).rows(seen.about)
        return cell, Tokens(inputs, self._drop(self.embedding.weight[None], 1)[0]), seen

    def _logits(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        return self.head(self._drop(outputs, 2)[length_mask(lengths, len(outputs))])

    def start(self, encoded: Seen, weights: Weights = "float32") -> tuple[Step, State]:
        cell = self.decoder.bind(encoded.regions.data, encoded.regions.lengths)
        unseen = encoded.summary.new_zeros(len(encoded.about), len(encoded.regions.data))
        begin = CaptionState(self._start(cell.rows(encoded.about), encoded), encoded.about, unseen)
        steps = native_steps(self, Writing(self.decoder), self.embedding, self.head, cell.memory, weights)
        if steps is not None:
            return partial(_native_step, steps), begin

        def step(ids: Tensor, state: CaptionState) -> tuple[Tensor, CaptionState]:
            bound, record = cell.rows(state.about), {}
            x = map_state(lambda part: part[0], bound.prepare(self.embedding(ids)[None]))
            output, cells = bound.step(x, state.cells, record)
            return self.head(output), CaptionState(cells, state.about, record["attention"])

        return with_packed(step, weights), begin

    def places(self, encoded: Seen) -> Tensor:
        return encoded.regions.lengths[encoded.about]

    def attention(self, state: CaptionState) -> Tensor | None:
        return state.weights if self.attends else None

    def _still(self, pictures: Tensor | Padded) -> tuple[Padded, Tensor]:
        """Images or features -> regions, and their mean."""
        if self.encoder is not None:
            if not isinstance(pictures, Tensor):
                raise ShapeError("Captioner: expected images (N, C, height, width), got padded sequences")
            regions = self.encoder(pictures)
        else:
            regions = self._features(pictures)
        mask = regions.mask[:, :, None]
        return regions, (regions.data * mask).sum(0) / regions.lengths[:, None].clamp(min=1)

    def _features(self, pictures: Tensor | Padded) -> Padded:
        if not isinstance(pictures, Padded) or pictures.data.dim() != 3 or self.adapt is None:
            raise ShapeError("Captioner: expected features, padded (S, N, F)")
        if pictures.data.shape[2] != self.adapt.in_features:
            raise ShapeError(
                f"Captioner: expected {self.adapt.in_features} features, got {pictures.data.shape[2]}"
            )
        data = torch.where(
            pictures.mask[:, :, None], pictures.data, 0
        )  # what is past the end may be anything
        return Padded(torch.relu(self.adapt(data)), pictures.lengths)

    def _clips(self, pictures: Tensor | Padded) -> tuple[Padded, Tensor]:
        """Clips -> the recurrent encoder's outputs and its last one, or what each frame is described from."""
        if not isinstance(pictures, Padded) or not bool((pictures.lengths > 0).all()):
            raise ShapeError("Captioner: expected clips (T, N, ...) of at least one frame each")
        assert self.frames is not None
        if self.encoder is None:
            vectors, regions = self._features(pictures), None
        else:
            inside = pictures.mask
            regions, means = self._still(pictures.data[inside])  # padding is not worth a convolution
            vectors = Padded(means.new_zeros(*inside.shape, means.shape[1]), pictures.lengths)
            vectors.data[inside] = means
        outputs, _ = scan(self.frames, vectors.data, lengths=vectors.lengths)
        told = Padded(outputs, vectors.lengths)
        if not self.each_frame:
            return told, told.last()
        # Clip by clip: the frames of the first, then those of the second.
        by_clip = vectors.mask.T
        each = outputs.transpose(0, 1)[by_clip]
        if regions is None:
            looks = vectors.data.transpose(0, 1)[by_clip][None]
        else:
            places = torch.zeros(pictures.mask.shape, dtype=torch.int64)
            places[pictures.mask] = torch.arange(len(each))
            looks = regions.data[:, places.T[by_clip]]
        frames = torch.cat([looks, each[None]])
        return Padded(frames, torch.full((len(each),), len(frames))), each

    def _start(self, cell: AttentionCell, seen: Seen) -> State:
        """The decoder's state before the begin symbol, of every sentence."""
        summary = seen.summary[seen.about]
        fresh = cell.initial_state(len(summary))
        parts = iter(self.begin)
        cells, carried = map_state(
            lambda part: torch.tanh(next(parts)(summary)), (fresh.cells, fresh.carried)
        )
        return fresh._replace(cells=cells, carried=carried)

    def _state_sizes(self) -> list[int]:
        """The sizes of the parts of the decoder's state that the summary begins: its cells', and a or h."""
        found: list[int] = []
        for cell in self.decoder.cells:
            map_state(lambda part: (found.append(part.shape[1]), part)[1], cell.initial_state(1))
        carried = self.decoder.output_size if self.decoder.order == "luong" else self.decoder.query_size
        return [*found, carried]

    def _drop(self, values: Tensor, place: int) -> Tensor:
        """Dropout of what stands at that place, in training."""
        probability = self.dropouts[place]
        if not (self.training and probability):
            return values
        steps = torch.arange(len(values), device=values.device)[:, None].expand(values.shape[:2])
        return counter.dropout(values, probability, self._keys[place], steps)


def _native_step(steps: Symbolwise, ids: Tensor, state: CaptionState) -> tuple[Tensor, CaptionState]:
    told = steps(ids, state.cells, state.about)
    assert told.weights is not None
    return told.logits, CaptionState(told.state, state.about, told.weights)


def _attention(name: str | None, query: int, memory: int, options: dict[str, Any] | None) -> Attention:
    """The attention of that name; of one region, where there is none, any will do: it has all the weight."""
    if name is None:
        return ATTENTIONS["dot"](memory, memory) if query == memory else ATTENTIONS["general"](query, memory)
    return named_attention(name, query, memory, options)
