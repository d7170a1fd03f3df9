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
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from elman.errors import ConfigError, ShapeError
from elman.lattice import chain as reference
from elman.lattice.chain import Paths
from elman.lattice.chains import Chains, Gradient, best_paths, sums, use_native
from elman.lattice.tags import legality
from elman.padded import check_lengths, length_mask

REDUCTIONS = ("none", "sum", "mean")


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

        A sequence of length 0 has loss 0. Raises ShapeError for shapes, tags or lengths out of range, for a
        score that is NaN or inf, and, naming the place, for tags that the scheme forbids.
        """
        if reduction not in REDUCTIONS:
            raise ConfigError(f"reduction: expected one of {', '.join(REDUCTIONS)}, got {reduction!r}")
        scores, lengths = self._check(scores, lengths)
        tags = self._check_tags(scores, tags, lengths)
        if self._native(scores):
            losses = _Loss.apply(scores, *self._tables(), tags, lengths)
        else:
            chain = self._chain(scores, lengths)
            losses = reference.log_partition(chain) - reference.score(chain, tags)
        if reduction == "none":
            return losses
        return losses.sum() if reduction == "sum" else losses.mean()

    def log_partition(self, scores: Tensor, lengths: Tensor | None = None) -> Tensor:
        """ln Z (N,): what the scores of all sequences of tags come to."""
        scores, lengths = self._check(scores, lengths)
        if self._native(scores):
            return _Loss.apply(scores, *self._tables(), None, lengths)
        return reference.log_partition(self._chain(scores, lengths))

    def marginals(self, scores: Tensor, lengths: Tensor | None = None) -> Tensor:
        """p(y_t = s | x): (T, N, S), zero past a sequence's end; not differentiable."""
        scores, lengths = self._check(scores.detach(), lengths)
        if not self._native(scores):
            with torch.no_grad():
                return reference.marginals(self._chain(scores, lengths)).states
        chains = _chains(scores, *self._tables(), lengths)
        gradient = sums(chains, np.ones(scores.shape[1]), exact=scores.dtype == torch.float64).gradient
        assert gradient is not None
        return torch.from_numpy(gradient.rows).reshape(scores.shape)

    def decode(self, scores: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The best tags (T, N), -1 past a sequence's end, and their scores (N,) (Viterbi)."""
        scores, lengths = self._check(scores.detach(), lengths)
        if not self._native(scores):
            with torch.no_grad():
                return reference.viterbi(self._chain(scores, lengths))
        chains = _chains(scores, *self._tables(), lengths)
        paths, best = best_paths(chains, exact=scores.dtype == torch.float64)
        return torch.from_numpy(paths).reshape(scores.shape[:2]), torch.from_numpy(best).to(scores.dtype)

    @torch.no_grad()
    def k_best(self, scores: Tensor, k: int, lengths: Tensor | None = None) -> Paths:
        """The k best sequences of tags, best first: paths (T, N, k) and scores (N, k)."""
        scores, lengths = self._check(scores.detach(), lengths)
        return reference.k_best(self._chain(scores, lengths), k)

    # -- between the layer and the chain
    # -----------------------------------------------------------------------------

    def _native(self, scores: Tensor) -> bool:
        return use_native() and scores.device.type == "cpu"

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

    def _check(self, scores: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        if scores.dim() != 3 or scores.shape[2] != self.size or not scores.is_floating_point():
            raise ShapeError(
                f"scores: expected floating-point (T, N, {self.size}), got {tuple(scores.shape)} "
                f"{scores.dtype}"
            )
        if scores.dtype not in (torch.float32, torch.float64):
            scores = scores.float()
        time, batch = scores.shape[:2]
        if lengths is None:
            return scores, torch.full((batch,), time, device=scores.device)
        return scores, check_lengths(lengths, time, batch, scores.device)

    def _check_tags(self, scores: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Tags with 0 past the ends."""
        if tags.shape != scores.shape[:2] or tags.dtype != torch.int64:
            raise ShapeError(
                f"tags: expected int64 {tuple(scores.shape[:2])}, got {tags.dtype} {tuple(tags.shape)}"
            )
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


class _Numbers(NamedTuple):
    """What a loss is computed from, kept for a backward pass that weighs the sequences unlike."""

    chains: Chains
    tags: Tensor | None
    exact: bool


class _Loss(torch.autograd.Function):
    """ln Z (N,), less the score of the tags where there are some."""

    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        transitions: Tensor,
        start: Tensor,
        end: Tensor,
        tags: Tensor | None,
        lengths: Tensor,
    ) -> Tensor:
        numbers = _Numbers(
            _chains(scores, transitions, start, end, lengths), tags, scores.dtype == torch.float64
        )
        batch = scores.shape[1]
        ctx.numbers, ctx.gradient = numbers, None
        ctx.save_for_backward(scores, transitions, start, end)
        if any(ctx.needs_input_grad):
            # Every sequence has the same weight in a sum or mean: the gradient is made here and scaled there.
            found = sums(numbers.chains, np.ones(batch), exact=numbers.exact)
            ctx.gradient = found.gradient
        else:
            found = sums(numbers.chains, exact=numbers.exact)
        losses = torch.from_numpy(found.log_partition)
        if tags is not None:
            losses = losses - _path_scores(numbers.chains, tags, scores, lengths)
        return losses.to(scores.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyrefly: ignore[bad-override]
        like = ctx.saved_tensors  # torch refuses here where the scores were changed since
        chains, tags, exact = ctx.numbers
        weights = grad_outputs[0].detach().double().numpy()
        alike = bool((weights == weights[:1]).all())
        gradient = ctx.gradient if alike else sums(chains, weights, exact=exact).gradient
        assert gradient is not None
        factor = float(weights[0]) if alike and len(weights) else 1.0
        shares = np.ones(len(weights)) if alike else weights
        parts = _less_path(gradient, chains, tags, shares)
        found = [
            (torch.from_numpy(part) * factor).reshape(tensor.shape).to(tensor.dtype)
            for part, tensor in zip(parts, like, strict=True)
        ]
        return (*found, None, None)


def _chains(scores: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Chains:
    time, batch, size = scores.shape
    rows = scores.detach().contiguous().numpy().reshape(time * batch, size)
    tables = (np.ascontiguousarray(table.detach().double().numpy()) for table in (transitions, start, end))
    return Chains(rows, np.arange(batch), lengths.contiguous().numpy(), *tables, step=max(batch, 1))


def _path_scores(chains: Chains, tags: Tensor, scores: Tensor, lengths: Tensor) -> Tensor:
    """The scores (N,) float64 of the tags."""
    total = torch.zeros(len(lengths), dtype=torch.float64)
    if not len(tags) or not len(lengths):
        return total
    valid = length_mask(lengths, len(tags))
    taken = scores.detach().gather(2, tags[..., None])[..., 0].double()
    total += taken.where(valid, 0.0).sum(0)
    steps = torch.from_numpy(chains.transitions)[tags[:-1], tags[1:]]
    total += steps.where(valid[1:], 0.0).sum(0)
    last = tags.gather(0, (lengths - 1).clamp(min=0)[None])[0]
    ends = torch.from_numpy(chains.start)[tags[0]] + torch.from_numpy(chains.end)[last]
    return total + ends.where(lengths > 0, 0.0)


def _less_path(
    gradient: Gradient, chains: Chains, tags: Tensor | None, weights: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], ...]:
    """The gradient of ln Z less that of the tags' score, each sequence by its weight."""
    if tags is None or not len(chains.rows):
        return tuple(gradient)
    time, batch = tags.shape
    size = chains.rows.shape[1]
    path, lengths = tags.numpy(), chains.lengths
    valid = np.arange(time)[:, None] < lengths
    share = np.where(valid, weights, 0.0)
    rows = gradient.rows.copy()
    rows[np.arange(time * batch), path.reshape(-1)] -= share.reshape(-1).astype(rows.dtype)
    pairs = np.bincount((path[:-1] * size + path[1:]).reshape(-1), share[1:].reshape(-1), size * size)
    first = np.bincount(path[0], share[0], size)
    last = np.bincount(
        path[np.maximum(lengths - 1, 0), np.arange(batch)], np.where(lengths > 0, weights, 0), size
    )
    return rows, gradient.transitions - pairs.reshape(size, size), gradient.start - first, gradient.end - last
