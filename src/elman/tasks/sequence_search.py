"""Sequences that an encoder-decoder writes for a batch of sources: by search, or drawn.

Everything about a source is a function of it alone: what else is in the batch has no influence, beyond the
rounding of products of other sizes.
Shapes: N sources, S source positions, V target vocabulary. limits (N,) int64, the end counted.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elman.data.sequence_codec import SequenceCodec
from elman.errors import ConfigError
from elman.models.encoder_decoder import EncoderDecoder
from elman.search.beam import Hypothesis
from elman.search.sampling import Sampling, sample


@dataclass(frozen=True)
class Search:
    """How sequences are found. sampling: drawn, each from the model's own distribution, in place of a search.

    Raises ConfigError for values out of range.
    """

    best: int = 1
    beam: int = 1
    alpha: float = 0.0
    coverage: float = 0.0
    sampling: Sampling | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.best < 1 or self.beam < 1:
            raise ConfigError(f"search: expected best and beam of at least 1, got {self.best}, {self.beam}")


GREEDY = Search()


@torch.no_grad()
def find(
    model: EncoderDecoder, source: Any, codec: SequenceCodec, limits: Tensor, search: Search = GREEDY
) -> list[list[Hypothesis]]:
    """For each source what was found, the best first."""
    step, state = model.start(model.encode(source))
    begin = torch.full((len(limits),), codec.begin, dtype=torch.int64, device=limits.device)
    logits, state = step(begin, state)
    sampling = search.sampling or Sampling(temperature=0)
    ids: list[Tensor] = []
    log_probs: list[Tensor] = []
    done = torch.zeros(len(limits), dtype=torch.bool, device=limits.device)
    for symbols, after, _ in sample(step, logits, state, sampling=sampling, seed=search.seed):
        log_probs.append(logits.log_softmax(1).gather(1, symbols[:, None])[:, 0].double())
        ids.append(symbols)
        logits = after
        done |= (symbols == codec.end) | (len(ids) >= limits)
        if bool(done.all()):
            break
    return [
        [_hypothesis(torch.stack(ids)[:, row], torch.stack(log_probs)[:, row], codec.end, limit)]
        for row, limit in enumerate(limits.tolist())
    ]


def _hypothesis(ids: Tensor, log_probs: Tensor, end: int, limit: int) -> Hypothesis:
    """A row up to its end or its limit."""
    said = ids.tolist()[:limit]
    size = said.index(end) + 1 if end in said else limit
    total = float(log_probs[:size].sum())
    return Hypothesis(tuple(said[:size]), total, total, said[size - 1] == end)
