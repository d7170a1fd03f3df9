"""The rival of benchmarks/translation.py: attention decoding written the way JoeyNMT writes it.

JoeyNMT (Kreutzer, Bastings and Riezler 2019) is a readable toolkit in plain torch. This is its manner, in our
words: a packed bidirectional nn.LSTM (or nn.GRU), a decoder of the same that is stepped in Python with the
attentional vector fed back, additive attention over keys that are projected once, nn.Linear to the vocabulary
over padded places, cross entropy; a beam search over tiled memory that keeps what it has said in one growing
tensor and visits finished sentences in Python. JoeyNMT's decoder computes its projected keys in every call of
`forward` (joeynmt/decoders.py, `compute_proj_keys`), and its beam search (joeynmt/search.py) calls it with
`unrol_steps=1` for every symbol: the keys of every row of the beam are projected again at each step.
`project_again` does so too; without it they are projected once for a sentence, which is kinder to the rival
than JoeyNMT is.

Shapes: N sentences, S and T places, K beam, V vocabulary, E embedding, H hidden, M memory, D what the head
takes; batch first.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from elman.cells import LSTMCell
from elman.models.seq2seq import Seq2Seq

Hidden = tuple[Tensor, ...]
"""h, and c of an LSTM, each (1, N, H)."""


class Plain(nn.Module):
    """The network of a Seq2Seq of LSTM or GRU (one layer, additive, luong, tied), with its weights."""

    def __init__(self, like: Seq2Seq, dropout: float) -> None:
        super().__init__()
        assert like.source_embedding is not None
        assert like.bridge is not None
        cell, attention = like.decoder.cells[0], like.decoder.attention
        symbols, size = like.source_embedding.weight.shape
        target, units = len(like.target_embedding.weight), cell.hidden_size
        one_way = like.encoder.cells[0][0].hidden_size
        self.dropout = nn.Dropout(dropout)
        self.source_embedding = nn.Embedding(symbols, size)
        self.target_embedding = nn.Embedding(target, size)
        self.kind = nn.LSTM if isinstance(cell, LSTMCell) else nn.GRU
        self.encoder = self.kind(size, one_way, bidirectional=True, batch_first=True)
        parts = 2 if isinstance(cell, LSTMCell) else 1
        self.bridge = nn.Linear(2 * one_way, parts * units)
        self.rnn = self.kind(size + like.decoder.size, units, batch_first=True)
        self.key_layer = nn.Linear(2 * one_way, attention.size)
        self.query_layer = nn.Linear(units, attention.size, bias=False)
        self.energy_layer = nn.Linear(attention.size, 1, bias=False)
        self.vector_layer = nn.Linear(2 * one_way + units, like.decoder.size)
        self.output_layer = nn.Linear(like.decoder.size, target)
        self.output_layer.weight = self.target_embedding.weight
        self._copy(like)

    @torch.no_grad()
    def _copy(self, like: Any) -> None:
        decoder = like.decoder
        cell, attention = decoder.cells[0], decoder.attention
        self.source_embedding.weight.copy_(like.source_embedding.weight)
        self.target_embedding.weight.copy_(like.target_embedding.weight)
        for suffix, own in zip(("", "_reverse"), like.encoder.cells[0], strict=True):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(self.encoder, f"{name}_l0{suffix}").copy_(getattr(own, name))
        rnn: Any = self.rnn
        rnn.weight_ih_l0.copy_(torch.cat([cell.weight_ih, decoder.weight_feed], 1))
        for name in ("weight_hh", "bias_ih", "bias_hh"):
            getattr(self.rnn, f"{name}_l0").copy_(getattr(cell, name))
        self.bridge.load_state_dict(like.bridge.state_dict())
        self.key_layer.weight.copy_(attention.weight_key)
        self.key_layer.bias.copy_(attention.bias)
        self.query_layer.weight.copy_(attention.weight_query)
        self.energy_layer.weight.copy_(attention.vector[None])
        self.vector_layer.weight.copy_(torch.cat([decoder.weight_output, decoder.weight_context], 1))
        self.vector_layer.bias.copy_(decoder.bias_output)
        self.output_layer.bias.copy_(like.head.bias)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Hidden]:
        """source (N, S) -> memory (N, S, M), mask (N, 1, S), the decoder's first state."""
        embedded = self.dropout(self.source_embedding(source))
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        memory, _ = pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
        memory = self.dropout(memory)
        mask = (torch.arange(memory.shape[1]) < lengths[:, None])[:, None]
        start = torch.tanh(self.bridge(memory.sum(1) / lengths[:, None]))[None]
        parts = start.split(self.rnn.hidden_size, 2)
        return memory, mask, tuple(part.contiguous() for part in parts)

    def step(
        self, embedded: Tensor, vector: Tensor, memory: Tensor, keys: Tensor, mask: Tensor, hidden: Hidden
    ) -> tuple[Tensor, Hidden]:
        """One place: embedded (N, 1, E), the last attentional vector (N, 1, D) -> the next one, the state."""
        _, last = self.rnn(torch.cat([embedded, vector], 2), hidden if len(hidden) > 1 else hidden[0])
        hidden = last if isinstance(last, tuple) else (last,)
        query = hidden[0][-1][:, None]
        scores = self.energy_layer(torch.tanh(self.query_layer(query) + keys)).transpose(1, 2)
        weights = functional.softmax(scores.masked_fill(~mask, -torch.inf), -1)
        context = weights @ memory
        return torch.tanh(self.vector_layer(torch.cat([query, context], 2))), hidden

    def forward(self, source: Tensor, lengths: Tensor, inputs: Tensor) -> Tensor:
        """Teacher forcing: inputs (N, T) -> logits (N, T, V)."""
        memory, mask, hidden = self.encode(source, lengths)
        keys, embedded = self.key_layer(memory), self.dropout(self.target_embedding(inputs))
        vector = memory.new_zeros(len(memory), 1, self.vector_layer.out_features)
        vectors = []
        for time in range(inputs.shape[1]):
            vector, hidden = self.step(embedded[:, time : time + 1], vector, memory, keys, mask, hidden)
            vectors.append(vector)
        return self.output_layer(self.dropout(torch.cat(vectors, 1)))

    @torch.no_grad()
    def beam_search(
        self,
        source: Tensor,
        lengths: Tensor,
        *,
        beam: int,
        alpha: float,
        begin: int,
        end: int,
        limit: int,
        project_again: bool,
    ) -> list[list[int]]:
        """The best sequence of each sentence, without its end."""
        memory, mask, hidden = self.encode(source, lengths)
        n, symbols = len(source), self.output_layer.out_features
        memory, mask = memory.repeat_interleave(beam, 0), mask.repeat_interleave(beam, 0)
        hidden = tuple(part.repeat_interleave(beam, 1) for part in hidden)
        keys = self.key_layer(memory)
        vector = memory.new_zeros(n * beam, 1, self.vector_layer.out_features)
        sentences, offsets = torch.arange(n), torch.arange(0, n * beam, beam)
        said = torch.full((n * beam, 1), begin)
        totals = torch.full((n, beam), -torch.inf)
        totals[:, 0] = 0.0
        kept: list[list[tuple[float, list[int]]]] = [[] for _ in range(n)]
        results: list[list[int]] = [[] for _ in range(n)]
        for step in range(limit):
            if project_again:
                keys = self.key_layer(memory)
            embedded = self.target_embedding(said[:, -1:])
            vector, hidden = self.step(embedded, vector, memory, keys, mask, hidden)
            log_probs = functional.log_softmax(self.output_layer(vector[:, 0]), -1) + totals.view(-1, 1)
            penalty = float(step + 1) ** alpha
            scores, places = (log_probs / penalty).view(-1, beam * symbols).topk(beam, -1)
            totals = scores * penalty
            rows = (places.div(symbols, rounding_mode="floor") + offsets[: len(places), None]).view(-1)
            said = torch.cat([said.index_select(0, rows), places.fmod(symbols).view(-1, 1)], 1)
            finished = said.view(-1, beam, step + 2)[:, :, -1] == end
            if step + 1 == limit:
                finished.fill_(True)
            if bool(finished.any()):
                sequences, done = said.view(-1, beam, step + 2), finished[:, 0].clone()
                for place in range(len(finished)):
                    sentence = int(sentences[place])
                    for row in finished[place].nonzero().view(-1).tolist():
                        ids = sequences[place, row, 1:].tolist()
                        kept[sentence].append((float(scores[place, row]), [i for i in ids if i != end]))
                    if bool(done[place]):
                        results[sentence] = max(kept[sentence], key=lambda item: item[0])[1]
                left = (~done).nonzero().view(-1)
                if not len(left):
                    break
                totals = totals.masked_fill(finished, -torch.inf).index_select(0, left)
                sentences = sentences.index_select(0, left)
                said = sequences.index_select(0, left).view(-1, step + 2)
                rows = rows.view(-1, beam).index_select(0, left).view(-1)
            memory, mask = memory.index_select(0, rows), mask.index_select(0, rows)
            keys, vector = keys.index_select(0, rows), vector.index_select(0, rows)
            hidden = tuple(part.index_select(1, rows) for part in hidden)
        return results
