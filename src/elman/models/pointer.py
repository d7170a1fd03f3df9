"""Copying from the source: the pointer-generator.

    p = sigmoid(w . [output; x] + b)
    P(k) = p softmax(logits)_k + (1 - p) sum over places s with source_s = k of a_s

Symbols from V on are words of a source that no vocabulary has, numbered within it: V + i is the i-th. They
can be copied, and are read as the unknown word. In use the words of other sources, which number others, are
impossible. See, Liu and Manning 2017.
Shapes: n rows, V vocabulary, X the most unknown words of a source, S places; ids and weights (n, S).
"""

import torch
from torch import Tensor, nn

LEAST = 1e-10
"""Added to a probability: the logarithm of an impossible symbol stays finite, for smoothed labels."""


class PointerHead(nn.Module):
    """The mixture of writing and copying. size: of [output; x]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(size, 1)

    def forward(self, logits: Tensor, seen: Tensor, weights: Tensor, ids: Tensor, extra: int) -> Tensor:
        """logits (n, V), seen (n, size), extra: X -> logarithms of P, (n, V + X)."""
        write = torch.sigmoid(self.gate(seen))
        written = write * logits.to(seen.dtype).softmax(-1)
        both = torch.cat([written, written.new_zeros(len(written), extra)], -1)
        found = (both.scatter_add(1, ids, (1 - write) * weights) + LEAST).log()
        if self.training or not extra:
            return found
        foreign = torch.arange(found.shape[1], device=ids.device) > ids.amax(1, keepdim=True)
        foreign[:, : logits.shape[1]] = False
        return found.masked_fill(foreign, -torch.inf)
