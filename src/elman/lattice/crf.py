"""A linear-chain conditional random field: the last layer of a tagger, scoring whole sequences of tags.

    score(x, y) = start(y_1) + sum_t x_t(y_t) + sum_t>1 transition(y_t-1, y_t) + end(y_T)
    p(y | x)    = exp(score(x, y)) / sum over all y' of exp(score(x, y'))
    loss        = -ln p(y | x)

The scores x come from any model; the layer has the rest as parameters. With tag names and a scheme, what the
scheme forbids has probability 0. In float32 on the CPU the loss and its gradient are computed together by
the native kernels (the gradient of ln Z is the marginals), in float64 by their exact form;
ELMAN_KERNELS=reference computes by elman.lattice.chain, which can be differentiated twice.

Shapes: T time, N batch, S tags. scores (T, N, S), tags (T, N) int64, lengths (N,) int64, T for all where
None. Lafferty, McCallum and Pereira, "Conditional random fields", 2001; Lample et al. 2016.
"""

from collections.abc import Sequence
from typing import NoReturn, final

import numpy as np
import torch
from torch import Tensor, nn

from elman.errors import ConfigError, ShapeError
from elman.lattice import chain as reference
from elman.lattice.chain import Paths
from elman.lattice.chains import Chains, best_paths, sums, use_native
from elman.lattice.path_loss import REDUCTIONS, Refused, Tables, path_loss
from elman.lattice.tags import legality
from elman.padded import check_lengths, length_mask


@final
class CRF(nn.Module):
    """Scores of first tags `start` (S,), of steps `transitions` (S, S) from the row's tag, of last tags
    `end` (S,).

    tags: how many there are, or their names. scheme: "IOB" or "IOBES" forbids what the names say is no
    segmentation (elman.lattice.tags); None allows all. Raises ConfigError where the names do not fit the
    scheme.
    """

    legal_start: Tensor
    legal_steps: Tensor
    legal_end: Tensor

    def __init__(self, tags: int | Sequence[str], scheme: str | None = None) -> None:
        super().__init__()
        names = None if isinstance(tags, int) else tuple(tags)
        size = tags if isinstance(tags, int) else len(tags)
        if size < 1:
            raise ConfigError(f"CRF: expected at least one tag, got {size}")
        if scheme is not None and names is None:
            raise ConfigError(f"CRF: scheme {scheme!r} needs the names of the tags, not their number")
        self.size, self.names, self.scheme = size, names, scheme
        self.start = nn.Parameter(torch.empty(size))
        self.transitions = nn.Parameter(torch.empty(size, size))
        self.end = nn.Parameter(torch.empty(size))
        everything = (torch.ones(size), torch.ones(size, size), torch.ones(size))
        legal = everything if scheme is None or names is None else legality(names, scheme)
        for name, table in zip(("legal_start", "legal_steps", "legal_end"), legal, strict=True):
            self.register_buffer(name, table.bool(), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in -0.1 .. 0.1."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def extra_repr(self) -> str:
        return f"{self.size}" if self.scheme is None else f"{self.size}, scheme={self.scheme!r}"

    def forward(
        self, scores: Tensor, tags: Tensor, lengths: Tensor | None = None, reduction: str = "mean"
    ) -> Tensor:
        """The loss -ln p(tags | scores): (N,) for "none", or their sum or mean over sequences.

        A sequence of length 0 has loss 0, as has the mean of none, and an impossible one inf. Raises
        ShapeError for shapes, tags or lengths out of range, for a score that is NaN or inf, and, naming the
        place, for tags that the scheme forbids.
        """
        if reduction not in REDUCTIONS:
            raise ConfigError(f"reduction: expected one of {', '.join(REDUCTIONS)}, got {reduction!r}")
        scores = self._check_scores(scores)
        if tags.shape != scores.shape[:2] or tags.dtype != torch.int64 or tags.device != scores.device:
            raise ShapeError(
                f"tags: expected int64 {tuple(scores.shape[:2])} on {scores.device}, got {tags.dtype} "
                f"{tuple(tags.shape)} on {tags.device}"
            )
        if self._native(scores):
            return self._native_loss(scores, tags, lengths, reduction)
        lengths = self._lengths(scores, lengths)
        tags = self._check_tags(tags, lengths)
        chain = self._chain(scores, lengths)
        total = reference.log_partition(chain)
        losses = torch.where(total > -torch.inf, total - reference.score(chain, tags), torch.inf)
        if reduction == "none":
            return losses
        return losses.sum() / (1 if reduction == "sum" else max(len(losses), 1))

    def log_partition(self, scores: Tensor, lengths: Tensor | None = None) -> Tensor:
        """ln Z (N,): what the scores of all sequences of tags come to."""
        scores = self._check_scores(scores)
        if self._native(scores):
            return self._native_loss(scores, None, lengths, "none")
        lengths = self._lengths(scores, lengths)
        return reference.log_partition(self._chain(scores, lengths))

    def marginals(self, scores: Tensor, lengths: Tensor | None = None) -> Tensor:
        """p(y_t = s | x): (T, N, S), zero past a sequence's end; not differentiable."""
        scores = self._check_scores(scores.detach())
        lengths = self._lengths(scores, lengths)
        if not self._native(scores):
            with torch.no_grad():
                return reference.marginals(self._chain(scores, lengths)).states
        chains = _chains(scores, *self._tables(), lengths)
        gradient = sums(chains, np.ones(scores.shape[1]), exact=scores.dtype == torch.float64).gradient
        assert gradient is not None
        return torch.from_numpy(gradient.rows).reshape(scores.shape)

    def decode(self, scores: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The best tags (T, N), -1 past a sequence's end, and their scores (N,) (Viterbi)."""
        scores = self._check_scores(scores.detach())
        lengths = self._lengths(scores, lengths)
        if not self._native(scores):
            with torch.no_grad():
                return reference.viterbi(self._chain(scores, lengths))
        chains = _chains(scores, *self._tables(), lengths)
        paths, best = best_paths(chains, exact=scores.dtype == torch.float64)
        return torch.from_numpy(paths).reshape(scores.shape[:2]), torch.from_numpy(best).to(scores.dtype)

    @torch.no_grad()
    def k_best(self, scores: Tensor, k: int, lengths: Tensor | None = None) -> Paths:
        """The k best sequences of tags, best first: paths (T, N, k) and scores (N, k)."""
        scores = self._check_scores(scores.detach())
        lengths = self._lengths(scores, lengths)
        return reference.k_best(self._chain(scores, lengths), k)

    # -- between the layer and the chain
    # -----------------------------------------------------------------------------

    def _native(self, scores: Tensor) -> bool:
        return use_native() and scores.is_cpu and self.start.is_cpu

    def _native_loss(
        self, scores: Tensor, tags: Tensor | None, lengths: Tensor | None, reduction: str
    ) -> Tensor:
        if lengths is not None:
            lengths = self._lengths(scores, lengths)
        legal = None
        if self.scheme is not None:
            legal = Tables(self.legal_steps, self.legal_start, self.legal_end)
        tables = Tables(self.transitions, self.start, self.end)
        try:
            return path_loss(scores, tables, legal, tags, lengths, reduction)
        except Refused:
            self._tell(scores, tags, self._lengths(scores, lengths))

    def _tell(self, scores: Tensor, tags: Tensor | None, lengths: Tensor) -> NoReturn:
        """Raises ShapeError with the place of what the kernels refused."""
        if tags is not None:
            self._check_tags(tags, lengths)
        sums(_chains(scores, *self._tables(), lengths), exact=scores.dtype == torch.float64)
        raise AssertionError("the kernels refused what the checks do not")

    def _tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """Transitions, start and end, -inf where the scheme forbids."""
        if self.scheme is None:
            return self.transitions, self.start, self.end
        return (
            self.transitions.masked_fill(~self.legal_steps, -torch.inf),
            self.start.masked_fill(~self.legal_start, -torch.inf),
            self.end.masked_fill(~self.legal_end, -torch.inf),
        )

    def _chain(self, scores: Tensor, lengths: Tensor) -> reference.Chain:
        transitions, start, end = (table.to(scores.dtype) for table in self._tables())
        return reference.Chain(scores, reference.Dense.of(transitions), start, end, lengths)

    def _check_scores(self, scores: Tensor) -> Tensor:
        if scores.dim() != 3 or scores.shape[2] != self.size or not scores.is_floating_point():
            raise ShapeError(
                f"scores: expected floating-point (T, N, {self.size}), got {tuple(scores.shape)} "
                f"{scores.dtype}"
            )
        return scores if scores.dtype in (torch.float32, torch.float64) else scores.float()

    def _lengths(self, scores: Tensor, lengths: Tensor | None) -> Tensor:
        time, batch = scores.shape[:2]
        if lengths is None:
            return torch.full((batch,), time, device=scores.device)
        return check_lengths(lengths, time, batch, scores.device)

    def _check_tags(self, tags: Tensor, lengths: Tensor) -> Tensor:
        """Tags with 0 past the ends."""
        valid = length_mask(lengths, len(tags))
        tags = torch.where(valid, tags, 0)
        wrong = (tags < 0) | (tags >= self.size)
        if bool(wrong.any()):
            time, element = wrong.nonzero()[0].tolist()
            raise ShapeError(
                f"tags: sequence {element}, time {time} is {int(tags[time, element])}, expected 0 to "
                f"{self.size - 1}"
            )
        if self.scheme is not None and len(tags):
            self._check_legal(tags, lengths, valid)
        return tags

    def _check_legal(self, tags: Tensor, lengths: Tensor, valid: Tensor) -> None:
        assert self.names is not None
        legal = torch.ones_like(valid)
        legal[1:] = self.legal_steps[tags[:-1], tags[1:]] | ~valid[1:]
        legal[0] = self.legal_start[tags[0]] | ~valid[0]
        ends = (lengths - 1).clamp(min=0)
        last = tags.gather(0, ends[None])[0]
        at_end = self.legal_end[last] | (lengths == 0)
        if bool(legal.all()) and bool(at_end.all()):
            return
        if bool(legal.all()):
            element = int((~at_end).nonzero()[0])
            told = f"time {int(ends[element])}: {self.names[int(last[element])]} cannot be the last"
        else:
            time, element = (~legal).nonzero()[0].tolist()
            before = f"after {self.names[int(tags[time - 1, element])]}" if time else "at the start"
            told = f"time {time}: {self.names[int(tags[time, element])]} cannot stand {before}"
        raise ShapeError(f"tags: sequence {element}, {told} in {self.scheme}; its probability is 0")


def _chains(scores: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Chains:
    time, batch, size = scores.shape
    rows = scores.detach().contiguous().numpy().reshape(time * batch, size)
    tables = (np.ascontiguousarray(table.detach().double().numpy()) for table in (transitions, start, end))
    return Chains(rows, np.arange(batch), lengths.contiguous().numpy(), *tables, step=max(batch, 1))
