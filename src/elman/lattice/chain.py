"""Sums over the paths of a linear chain: the readable definition behind CTC, HMM and CRF.

    score(s_1 .. s_T) = start(s_1) + sum_t emission_t(s_t) + sum_t>1 transition_t(s_t-1, s_t) + end(s_T)

    log_partition   ln sum_s exp(score(s))                        forward recursion in the log semiring
    marginals       p(s_t = s), p(s_t-1 = r, s_t = s)             its gradient
    k_best          the K largest scores and their paths          the same recursion in the best-K semiring
    viterbi         k_best with K = 1
    sample          paths drawn from exp(score) / Z               forward recursion, then backward by lot

Scores are natural logarithms, -inf is impossible and never becomes NaN, in values, gradients or gradients
of gradients. An element of length 0 has one path, the empty one, with score 0.
Shapes: T time, N batch, S lattice states, P ways into a state, K paths. emissions (T, N, S), lengths (N,)
int64, paths (T, N, K) int64, -1 past an element's end and where there is no such path.
Rabiner, "A tutorial on hidden Markov models", 1989; Lafferty, McCallum and Pereira, "Conditional random
fields", 2001; Eisner, "Inside-outside and forward-backward algorithms are just backprop", 2016.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import torch
from torch import Tensor

from elman import counter
from elman.errors import ShapeError
from elman.lattice.semiring import Best, Log, Semiring
from elman.padded import check_lengths, length_mask


@dataclass(frozen=True)
class Transitions(ABC):
    """Scores of the ways into each state, alike at all times or given for each of the T - 1 steps.

    scores (S, P), (N, S, P) or (T - 1, N, S, P); step t leads from time t to time t + 1.
    """

    scores: Tensor

    @abstractmethod
    def arrivals(self, values: Tensor) -> Tensor:
        """values (N, S, K) -> (N, S, P, K): what stands at the other end of each way into each state."""

    @abstractmethod
    def source(self, state: Tensor, way: Tensor) -> Tensor:
        """The state that a way into `state` comes from."""

    @abstractmethod
    def check(self, states: int) -> None:
        """Raises ShapeError where the scores do not fit so many states."""

    def at(self, step: int) -> Tensor:
        return self.scores[step] if self.scores.dim() == 4 else self.scores

    def over_time(self, steps: int, batch: int) -> Tensor:
        """The scores of every step by itself: (steps, N, S, P)."""
        return self.scores.expand(steps, batch, *self.scores.shape[-2:])


@final
@dataclass(frozen=True)
class Dense(Transitions):
    """Every state from every other: scores (..., S, S), row the state entered, column the one left."""

    @classmethod
    def of(cls, scores: Tensor) -> "Dense":
        """From scores (..., S, S) in the usual order: row the state that is left, column the one entered."""
        return cls(scores.transpose(-1, -2))

    def arrivals(self, values: Tensor) -> Tensor:
        return values[:, None]

    def source(self, state: Tensor, way: Tensor) -> Tensor:
        return way

    def check(self, states: int) -> None:
        if self.scores.shape[-2:] != (states, states):
            raise ShapeError(
                f"transitions: expected (..., {states}, {states}) for {states} states, got "
                f"{tuple(self.scores.shape)}"
            )


@final
@dataclass(frozen=True)
class Banded(Transitions):
    """Left to right: way d into state s comes from state s - d; scores (..., S, D)."""

    def arrivals(self, values: Tensor) -> Tensor:
        states = values.shape[1]
        shifted = []
        for distance in range(self.scores.shape[-1]):
            reach = min(distance, states)
            nothing = values.new_full((values.shape[0], reach, values.shape[2]), -torch.inf)
            shifted.append(torch.cat((nothing, values[:, : states - reach]), 1))
        return torch.stack(shifted, 2)

    def source(self, state: Tensor, way: Tensor) -> Tensor:
        return state - way

    def check(self, states: int) -> None:
        if self.scores.shape[-2] != states or not self.scores.shape[-1]:
            raise ShapeError(
                f"transitions: expected (..., {states}, D) for {states} states and D ways into each, got "
                f"{tuple(self.scores.shape)}"
            )


@dataclass(frozen=True)
class Chain:
    """The scores of a batch of chains; start and end (S,) or (N, S), no preference where None.

    Raises ShapeError for shapes that do not fit, no state, and, naming the place, for a score that is NaN or
    inf.
    """

    emissions: Tensor
    transitions: Transitions
    start: Tensor | None = None
    end: Tensor | None = None
    lengths: Tensor | None = None

    def __post_init__(self) -> None:
        if self.emissions.dim() != 3 or not self.emissions.is_floating_point():
            came = f"{tuple(self.emissions.shape)} {self.emissions.dtype}"
            raise ShapeError(f"emissions: expected floating-point scores (T, N, S), got {came}")
        time, batch, states = self.emissions.shape
        if not states:
            raise ShapeError("emissions: expected at least one state, got S = 0")
        self.transitions.check(states)
        lead = tuple(self.transitions.scores.shape[:-2])
        steps = max(time - 1, 0)
        if lead not in ((), (batch,), (steps, batch)):
            raise ShapeError(
                f"transitions: expected () or ({batch},) or ({steps}, {batch}) before the states, got {lead}"
            )
        for name, scores in (("start", self.start), ("end", self.end)):
            if scores is not None and tuple(scores.shape) not in ((states,), (batch, states)):
                raise ShapeError(
                    f"{name}: expected ({states},) or ({batch}, {states}), got {tuple(scores.shape)}"
                )
        lengths = self.lengths
        if lengths is None:
            lengths = torch.full((batch,), time, device=self.emissions.device)
        object.__setattr__(self, "lengths", check_lengths(lengths, time, batch, self.emissions.device))
        valid = length_mask(self.counts, time)[..., None]
        # What is past the end has no meaning, and a NaN there would reach the gradients.
        object.__setattr__(self, "emissions", torch.where(valid, self.emissions, 0.0))
        for name, scores in (
            ("emissions", self.emissions), ("transitions", self.transitions.scores),
            ("start", self.start), ("end", self.end),
        ):  # fmt: skip
            _check_scores(name, scores)

    @property
    def counts(self) -> Tensor:
        """The lengths (N,), which are always there once a chain is made."""
        assert self.lengths is not None
        return self.lengths


class Marginals(NamedTuple):
    """p(s_t = s) as `states` (T, N, S); p of the ways into states as `transitions` (T - 1, N, S, P).

    For Dense transitions [t, n, j, i] is p(s_t = i, s_t+1 = j). Zero past an element's end, and everywhere
    where no path is possible.
    """

    states: Tensor
    transitions: Tensor


class Paths(NamedTuple):
    """`paths` (T, N, K) int64 with their `scores` (N, K), best first; -1 and -inf where there are fewer."""

    paths: Tensor
    scores: Tensor


def log_partition(chain: Chain) -> Tensor:
    """ln sum over all paths of exp(score), (N,); -inf where no path is possible."""
    return _recursion(Log(), chain)[1][:, 0]


def alphas(chain: Chain) -> Tensor:
    """(T, N, S): ln of the sum over all paths up to each time that end in each state, its emission included.

    Past an element's end the values of its last time stay.
    """
    table, _ = _recursion(Log(), chain)
    return torch.stack([values[..., 0] for values in table]) if table else chain.emissions


def marginals(chain: Chain) -> Marginals:
    """The probabilities of states and of steps: the gradient of log_partition.

    Differentiable in turn where the chain's scores are and gradients are enabled.
    """
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        time, batch = chain.emissions.shape[:2]
        over_time = chain.transitions.over_time(max(time - 1, 0), batch)
        emissions = chain.emissions + torch.zeros_like(chain.emissions, requires_grad=True)
        steps = over_time + torch.zeros_like(over_time, requires_grad=True)
        transitions = type(chain.transitions)(steps)
        total = log_partition(replace(chain, emissions=emissions, transitions=transitions))
        wanted = (emissions, steps)
        graph = again and any(s.requires_grad for s in _scores(chain))
        found = torch.autograd.grad(total.sum(), wanted, create_graph=graph, materialize_grads=True)
    return Marginals(*found)


def viterbi(chain: Chain) -> tuple[Tensor, Tensor]:
    """The best path (T, N) and its score (N,); of equals the one whose last states are lowest."""
    paths, scores = k_best(chain, 1)
    return paths[..., 0], scores[:, 0]


def k_best(chain: Chain, k: int) -> Paths:
    """The K paths of highest score.

    Raises ShapeError where k is below 1.
    """
    if k < 1:
        raise ShapeError(f"k_best: expected k of at least 1, got {k}")
    table, total = _recursion(Best(k), chain)

    def ranked(time: int, scores: Tensor, rank: Tensor) -> Tensor:
        order = scores.sort(dim=-1, descending=True, stable=True).indices
        return order.gather(-1, rank[..., None]).squeeze(-1)

    ranks = torch.arange(k, device=total.device).expand(total.shape[0], k)
    paths = _walk_back(chain, table, ranks, ranked)
    return Paths(torch.where(total == -torch.inf, -1, paths), total)


def sample(chain: Chain, count: int, key: int) -> Tensor:
    """`count` paths (T, N, count) drawn from exp(score) / Z; -1 where no path is possible.

    The draws are functions of (key, element, sample, time) alone (elman.counter), with 24 bits each.
    Raises ShapeError where count is below 1.
    """
    if count < 1:
        raise ShapeError(f"sample: expected a count of at least 1, got {count}")
    table, total = _recursion(Log(), chain)
    element = torch.arange(total.shape[0], device=total.device)[:, None]
    number = torch.arange(count, device=total.device)

    def drawn(time: int, scores: Tensor, rank: Tensor) -> Tensor:
        highest = scores.amax(-1, keepdim=True)
        weights = (scores - torch.where(highest == -torch.inf, 0.0, highest)).double().exp()
        rising = weights.cumsum(-1)
        lot = counter.uniform(key, element, number, torch.tensor(time, device=total.device)).double()
        return (rising <= (lot[..., None] * rising[..., -1:])).sum(-1).clamp(max=scores.shape[-1] - 1)

    paths = _walk_back(chain, table, torch.zeros_like(element).expand(-1, count), drawn)
    return torch.where(total == -torch.inf, -1, paths)


def score(chain: Chain, paths: Tensor) -> Tensor:
    """The scores (N,) of given paths (T, N) int64; what stands past an element's end is not looked at.

    Raises ShapeError for states outside 0 .. S - 1.
    """
    time, batch, states = chain.emissions.shape
    lengths, valid = chain.counts, length_mask(chain.counts, time)
    if paths.shape != (time, batch) or bool(((paths < 0) | (paths >= states))[valid].any()):
        raise ShapeError(
            f"paths: expected ({time}, {batch}) states of 0 to {states - 1}, got {tuple(paths.shape)} "
            f"with {paths[valid].tolist()[:8]} .."
        )
    paths = torch.where(valid, paths, 0)
    element = torch.arange(batch, device=paths.device)
    total = chain.emissions.gather(2, paths[..., None])[..., 0].sum(0)
    ways = torch.arange(chain.transitions.scores.shape[-1], device=paths.device)
    for t in range(1, time):
        came = chain.transitions.source(paths[t][:, None], ways.expand(batch, -1)) == paths[t - 1][:, None]
        scores = chain.transitions.at(t - 1)
        into = scores[paths[t]] if scores.dim() == 2 else scores[element, paths[t]]
        # No way between the two states at all is as impossible as one of -inf.
        best = torch.where(came, into, -torch.inf).amax(-1)
        total = total + torch.where(valid[t], best, 0.0)
    if chain.start is not None and time:
        total = total + torch.where(lengths > 0, chain.start.expand(batch, states)[element, paths[0]], 0.0)
    if chain.end is not None and time:
        last = paths[(lengths - 1).clamp(min=0), element]
        total = total + torch.where(lengths > 0, chain.end.expand(batch, states)[element, last], 0.0)
    return total


def _recursion(semiring: Semiring, chain: Chain) -> tuple[list[Tensor], Tensor]:
    """The one loop: values (N, S, K) of the paths up to each time by their last state; of all, (N, K)."""
    emissions, transitions = chain.emissions, chain.transitions
    time, batch, states = emissions.shape
    lengths = chain.counts
    empty = semiring.lift(emissions.new_zeros(batch))
    if not time:
        return [], semiring.lift(emissions.sum((0, 2)))  # zeros that still depend on the emissions
    first = emissions[0] if chain.start is None else emissions[0] + chain.start
    values = semiring.lift(first)
    table = [values]
    for t in range(1, time):
        arrived = transitions.arrivals(values) + transitions.at(t - 1)[..., None]
        new = semiring.sum(arrived) + emissions[t][..., None]
        values = torch.where((t < lengths)[:, None, None], new, values)
        table.append(values)
    if chain.end is not None:
        values = values + chain.end.expand(batch, states)[..., None]
    return table, torch.where((lengths > 0)[:, None], semiring.sum(values), empty)


Choose = Callable[[int, Tensor, Tensor], Tensor]
"""(time, scores (N, K, ways x ranks), rank (N, K)) -> which of them, (N, K)."""


def _walk_back(chain: Chain, table: list[Tensor], rank: Tensor, choose: Choose) -> Tensor:
    """Paths (T, N, K): from each element's end, what is chosen of all that leads to where the path stands."""
    time, batch, states = chain.emissions.shape
    count = rank.shape[1]
    paths = torch.full((time, batch, count), -1, device=rank.device)
    state, element = torch.zeros_like(rank), torch.arange(batch, device=rank.device)[:, None]
    with torch.no_grad():
        for t in reversed(range(time)):
            values = table[t]
            width = values.shape[-1]
            ends = values if chain.end is None else values + chain.end.expand(batch, states)[..., None]
            at_end = choose(t, ends.flatten(1)[:, None].expand(-1, count, -1), rank)
            here, rank_here = at_end // width, at_end % width
            if t < time - 1:
                ways = chain.transitions.arrivals(values) + chain.transitions.at(t)[..., None]
                way = choose(t, ways.expand(batch, states, -1, -1)[element, state].flatten(-2), rank)
                going = (t < chain.counts - 1)[:, None]
                here = torch.where(going, chain.transitions.source(state, way // width), here)
                rank_here = torch.where(going, way % width, rank_here)
            inside = (t < chain.counts)[:, None]
            # Where there is no path, a way may lead out of the states; the caller gives -1 for it.
            state = torch.where(inside, here.clamp(min=0), state)
            rank = torch.where(inside, rank_here, rank)
            paths[t] = torch.where(inside, state, -1)
    return paths


def _scores(chain: Chain) -> list[Tensor]:
    found = (chain.emissions, chain.transitions.scores, chain.start, chain.end)
    return [scores for scores in found if scores is not None]


def _check_scores(name: str, scores: Tensor | None) -> None:
    if scores is None:
        return
    wrong = scores.isnan() | (scores == torch.inf)
    if bool(wrong.any()):
        place = wrong.nonzero()[0].tolist()
        raise ShapeError(
            f"{name}{place}: expected a finite score or -inf, got {float(scores.detach()[tuple(place)])}"
        )
