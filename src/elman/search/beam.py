"""Beam search: the likeliest sequences under a step function, for a batch of sources at once.

    score(y_1 .. y_L) = sum_t ln p(y_t | y_<t) / norm(L) + coverage * sum_i ln min(sum_t a_ti, 1)

    norm(L) = L^alpha (power), ((5 + L) / 6)^alpha (gnmt);   a_ti: the weight of source position i for y_t

Of each source the `beam` likeliest unfinished sequences of each length are kept; one that ends in a stop
symbol, or reaches the length limit, is finished. With a beam no smaller than the number of sequences of any
length the search is exhaustive. Length normalisation by a power: Cho et al. 2014; the other one and the
penalty for what was not covered: Wu et al., "Google's neural machine translation system", 2016; a penalty
for siblings: Li, Monroe and Jurafsky, "A simple, fast diverse decoding algorithm", 2016.

The search stops where it can prove that nothing changes any more ("proved"): ln p <= 0, norm grows with L
and the penalty is at most 0, so that what begins with a sequence of log probability s scores at most
s / norm(length limit). A source whose `best`-th finished sequence reaches this bound for its likeliest
unfinished one is done, and leaves the batch. Where norm grows fast that is late: to a limit of 40 symbols a
sequence might win that is twice as long and as good as certain. "likely" takes s / norm(L + 1) for the
bound, what a sequence of L symbols would score if it ended at once and at no cost: few searches end
otherwise, and most much sooner.

Shapes: N sources, n of them not done, K beam, W <= K rows of each source, V vocabulary, S source positions.
Row w of the i-th source that is not done stands at i W + w.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from elman.cells import State, map_state
from elman.errors import ConfigError, DivergedError, ShapeError
from elman.search.hypothesis import Hypothesis, Trail
from elman.search.likeliest import likeliest, normalised
from elman.search.sampling import Step, limits_of

Normalisation = Literal["power", "gnmt"]
Stopping = Literal["proved", "likely"]


@torch.no_grad()
def beam_search(
    step: Step,
    logits: Tensor,
    state: State,
    *,
    length: int | Tensor,
    best: int = 1,
    beam: int | None = None,
    stop: Collection[int] = (),
    minimum: int = 1,
    alpha: float = 0.0,
    normalisation: Normalisation = "power",
    coverage: float = 0.0,
    diversity: float = 0.0,
    stopping: Stopping = "proved",
    attention: Callable[[State], Tensor | None] | None = None,
    source_lengths: Tensor | None = None,
    prefixes: Sequence[Sequence[int]] | None = None,
) -> list[list[Hypothesis]]:
    """For each source its `best` sequences of at most `length` symbols (one limit, or (N,)), best first.

    logits (N, V): of the first symbol; state: of N rows. step is given the ids and the state of n W rows, the
    state's tensors repeated and reordered along their first axis. beam: K, by default 4 `best`, at least 8.
    stop: symbols that end a sequence; they belong to it and to its length, as to `minimum`, the least length
    of what ends by one. attention(state) gives the weights (rows, S) by which the next symbol is chosen;
    hypotheses then carry theirs. It is needed for `coverage`, in which a position never looked at counts as
    the smallest float; of a source the first `source_lengths` positions count, by default all.
    diversity: what the second child of a sequence pays to be kept, the third twice of it, and so on; scores
    do not contain it. prefixes: N beginnings, of any length, that are forced and scored.

    A source's result does not depend on what else is in the batch. Ties go to what finished first, then to
    the one whose beginning is likelier; among equal symbols of one row the choice depends on that row alone.
    Raises ConfigError for sizes out of range and prefixes that do not fit, ShapeError for wrong shapes,
    DivergedError for logits that are not numbers.
    """
    beam = max(8, 4 * best) if beam is None else beam
    limits, vocabulary = limits_of(length, logits), logits.shape[1]
    stops = sorted(set(stop))
    rules = _Rules(
        best, beam, stops, minimum, alpha, normalisation, coverage, diversity, stopping, vocabulary
    )
    rules.check(int(limits.min()) if len(limits) else 1)
    beams = _Beams(rules, limits, source_lengths, prefixes)
    while True:
        weights = None if attention is None else attention(state)
        rows = beams.extend(logits, weights)
        if rows is None:
            return beams.hypotheses()
        logits, state = step(beams.ids, map_state(lambda part, rows=rows: part.index_select(0, rows), state))


@dataclass(frozen=True)
class _Rules:
    best: int
    beam: int
    stops: list[int]
    minimum: int
    alpha: float
    normalisation: Normalisation
    coverage: float
    diversity: float
    stopping: Stopping
    vocabulary: int

    def check(self, length: int) -> None:
        """Raises ConfigError for what is out of range; length: the least limit."""
        if length < 1 or self.best < 1 or self.beam < self.best or self.alpha < 0:
            raise ConfigError(
                f"beam search: expected length and best of at least 1, a beam of at least best, and alpha of "
                f"at least 0, got length={length}, best={self.best}, beam={self.beam}, alpha={self.alpha}"
            )
        if self.minimum > length or self.coverage < 0 or self.diversity < 0:
            raise ConfigError(
                f"beam search: expected minimum of at most the length, coverage and diversity of at least 0, "
                f"got minimum={self.minimum}, length={length}, coverage={self.coverage}, "
                f"diversity={self.diversity}"
            )
        if self.normalisation not in ("power", "gnmt"):
            raise ConfigError(f"normalisation: expected power or gnmt, got {self.normalisation!r}")
        if self.stopping not in ("proved", "likely"):
            raise ConfigError(f"stopping: expected proved or likely, got {self.stopping!r}")
        wrong = [index for index in self.stops if not 0 <= index < self.vocabulary]
        if wrong:
            raise ConfigError(f"stop: expected symbols from 0 to {self.vocabulary - 1}, got {wrong[0]}")

    def norm(self, size: int) -> float:
        """What a log probability of a sequence of this length is divided by."""
        return (size if self.normalisation == "power" else (5 + size) / 6) ** self.alpha


@final
class _Beams:
    """What is kept of every source that is not done: W unfinished rows, `best` finished sequences.

    live (n,): which source; limits (n,); scores (n, W): log probabilities, float64, -inf for a row that
    stands for nothing. Of what is finished: score, log_prob, and code: ((L - 1) K + row) V + last symbol,
    (n, best).
    """

    def __init__(
        self,
        rules: _Rules,
        limits: Tensor,
        source_lengths: Tensor | None,
        prefixes: Sequence[Sequence[int]] | None,
    ) -> None:
        device, n = limits.device, len(limits)
        self._rules, self._limits = rules, limits
        self._source_lengths = source_lengths
        self._forced = None if prefixes is None else _prefix_table(prefixes, limits, rules)
        self._last_times = set(limits.tolist())
        norms = [rules.norm(limit) for limit in limits.tolist()]
        self._norm_limits = torch.tensor(norms, dtype=torch.float64, device=device)
        self._stops = torch.tensor(rules.stops, dtype=torch.int64, device=device)
        self._is_stop = torch.zeros(rules.vocabulary, dtype=torch.bool, device=device)
        self._is_stop[self._stops] = True
        self._live = self._numbers = torch.arange(n, device=device)
        self._columns = torch.arange(rules.beam, device=device)
        self._places = {source: source for source in range(n)}
        self._scores = torch.zeros(n, 1, dtype=torch.float64, device=device)
        self._finished = torch.full((2, n, rules.best), -torch.inf, dtype=torch.float64, device=device)
        self._codes = torch.zeros(n, rules.best, dtype=torch.int64, device=device)
        self._covered: Tensor | None = None
        self._rows: Tensor | None = None
        self._time = 0
        self._trail = Trail()
        self._done: list[tuple[Tensor, Tensor, Tensor]] = []
        self.ids = torch.empty(0, dtype=torch.int64, device=device)

    def extend(self, logits: Tensor, weights: Tensor | None) -> Tensor | None:
        """One symbol more: logits (n W, V) -> the rows (n' W',) that go on with `ids`; None where none do."""
        self._time += 1
        self._trail.look(weights, self._places, self._scores.shape[1])
        if self._rules.coverage:
            self._cover(weights)
        top, values, ids = self._extensions(logits)
        self._finish(values, ids, top)
        return self._keep(values[..., :top], ids)

    def _extensions(self, logits: Tensor) -> tuple[int, Tensor, Tensor]:
        """The symbols that can matter: how many of each row go on, and log probabilities and ids of all.

        (n, W, k + stops): the k likeliest of a row, a stop symbol among them -inf, then all stop symbols.
        """
        n, width = self._scores.shape
        top = min(self._rules.vocabulary, self._rules.beam + len(self._stops))
        values, ids = likeliest(logits, top, self._stops)
        values = values.view(n, width, -1) + self._scores[:, :, None]
        ids = ids.view(n, width, -1)
        if self._forced is not None and self._time <= self._forced.shape[1]:
            self._force(values, ids, logits)
        return top, values, ids

    def _force(self, values: Tensor, ids: Tensor, logits: Tensor) -> None:
        """Leaves sources with a prefix one symbol, of their first row, in the first place."""
        assert self._forced is not None
        wanted = self._forced[self._live, self._time - 1]
        held = (wanted >= 0).nonzero()[:, 0]
        wanted = wanted[held]
        known = normalised(logits[held * self._scores.shape[1]])
        score = self._scores[held, 0] + known.gather(1, wanted[:, None])[:, 0].double()
        values[held] = -torch.inf
        values[held, 0, 0] = score
        ids[held, 0, 0] = wanted

    def _cover(self, weights: Tensor | None) -> None:
        """Adds what the rows look at now to what they have looked at."""
        if weights is None:
            raise ConfigError("coverage: needs the weights of an attention, and this model gives none")
        before = None if self._covered is None or self._rows is None else self._covered[self._rows]
        self._covered = weights.double() if before is None else before + weights

    def _penalty(self) -> Tensor:
        """(n, W): coverage * sum_i ln min(covered_i, 1) over the positions of each source."""
        assert self._covered is not None
        n, width = self._scores.shape
        logs = self._covered.clamp(torch.finfo(torch.float32).tiny, 1).log().view(n, width, -1)
        if self._source_lengths is not None:
            past = (
                torch.arange(logs.shape[2], device=logs.device) >= self._source_lengths[self._live][:, None]
            )
            logs = logs.masked_fill(past[:, None], 0)
        return self._rules.coverage * logs.sum(2)

    def _finish(self, values: Tensor, ids: Tensor, top: int) -> None:
        """Takes in what ends now, by a stop symbol or at its source's limit, and leaves the best."""
        rules, time = self._rules, self._time
        if time in self._last_times:
            others = (self._limits != time)[:, None, None]
            ends = torch.cat([values[..., :top].masked_fill(others, -torch.inf), values[..., top:]], 2)
        elif len(self._stops) and time >= rules.minimum:
            ends, ids = values[..., top:], ids[..., top:]
        else:
            return
        n, width = self._scores.shape
        scores = ends / rules.norm(time)
        if rules.coverage:
            scores = scores + self._penalty()[:, :, None]
        codes = (self._columns[:width, None] + (time - 1) * rules.beam) * rules.vocabulary + ids
        found = torch.stack([scores.reshape(n, -1), ends.reshape(n, -1)])
        pool = torch.cat([self._finished, found], 2)
        order = pool[0].sort(dim=1, descending=True, stable=True)[1][:, : rules.best]
        self._finished = pool.gather(2, order.expand(2, -1, -1))
        self._codes = torch.cat([self._codes, codes.reshape(n, -1)], 1).gather(1, order)

    def _keep(self, values: Tensor, ids: Tensor) -> Tensor | None:
        """Keeps the likeliest rows that go on, and lets go the sources that are done."""
        rules = self._rules
        n, before, top = values.shape
        width = min(rules.beam, before * (rules.vocabulary - len(self._stops)))
        flat = values.reshape(n, -1)
        if rules.diversity:
            order = self._diverse(values, ids[..., :top]).sort(dim=1, descending=True, stable=True)[1]
            order = order[:, :width]
            scores = flat.gather(1, order)
        else:
            scores, order = (part[:, :width] for part in flat.sort(dim=1, descending=True, stable=True))
        parents = order // top
        symbols = ids[..., :top].reshape(n, -1).gather(1, order)
        self._trail.append(parents, symbols)
        if width:
            norm = self._norm_limits if rules.stopping == "proved" else rules.norm(self._time + 1)
            done = self._finished[0, :, -1] >= scores.amax(1) / norm
        else:
            done = torch.ones(n, dtype=torch.bool, device=scores.device)
        if self._time in self._last_times:
            done |= self._limits == self._time
        rows = parents + self._numbers[:n, None] * before
        if bool(done.any()):
            rows, scores, symbols = self._release(done, rows, scores, symbols)
        self._scores, self._rows, self.ids = scores, rows.flatten(), symbols.flatten()
        return self._rows if len(scores) else None

    def _diverse(self, values: Tensor, ids: Tensor) -> Tensor:
        """(n, W k): log probabilities less `diversity` times the rank among those that go on from a row."""
        rank = (~self._is_stop[ids]).cumsum(2) - 1
        return (values - self._rules.diversity * rank).flatten(1)

    def _release(self, done: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
        """Puts away what the sources that are done have found; `kept` (n, ...) and the rest without them."""
        self._done.append((self._live[done], self._finished[:, done], self._codes[done]))
        left = (~done).nonzero()[:, 0]
        self._live, self._limits = self._live[left], self._limits[left]
        self._norm_limits = self._norm_limits[left]
        self._finished, self._codes = self._finished[:, left], self._codes[left]
        self._places = {source: place for place, source in enumerate(self._live.tolist())}
        return tuple(part[left] for part in kept)

    def hypotheses(self) -> list[list[Hypothesis]]:
        """What was found for each source, best first."""
        found: dict[int, list[Hypothesis]] = {}
        for live, finished, codes in self._done:
            for source, scores, log_probs, ends in zip(
                live.tolist(), *finished.tolist(), codes.tolist(), strict=True
            ):
                if any(map(math.isnan, scores)):
                    raise DivergedError(f"beam search: logits of source {source} are not numbers")
                found[source] = [
                    self._hypothesis(source, *parts)
                    for parts in zip(scores, log_probs, ends, strict=True)
                    if parts[0] > -torch.inf
                ]
        return [found[source] for source in range(len(found))]

    def _hypothesis(self, source: int, score: float, log_prob: float, code: int) -> Hypothesis:
        place, last = divmod(code, self._rules.vocabulary)
        time, row = divmod(place, self._rules.beam)
        ids, rows = self._trail.ids(source, time, row, last)
        size = None if self._source_lengths is None else int(self._source_lengths[source])
        weights = self._trail.attention(source, rows, size)
        return Hypothesis(ids, log_prob, score, last in self._rules.stops, weights)


def _prefix_table(prefixes: Sequence[Sequence[int]], limits: Tensor, rules: _Rules) -> Tensor:
    """(N, longest) int64 of the symbols that are forced, -1 where none is."""
    if len(prefixes) != len(limits):
        raise ShapeError(f"prefixes: expected {len(limits)}, one for each source, got {len(prefixes)}")
    table = torch.full((len(prefixes), max(map(len, prefixes), default=0)), -1, device=limits.device)
    for source, (prefix, limit) in enumerate(zip(prefixes, limits.tolist(), strict=True)):
        wrong = [index for index in prefix if not 0 <= index < rules.vocabulary or index in rules.stops]
        if wrong:
            raise ConfigError(
                f"prefixes: that of source {source} has the symbol {wrong[0]}, expected 0 to "
                f"{rules.vocabulary - 1} and none that stops"
            )
        if len(prefix) > limit:
            raise ConfigError(
                f"prefixes: that of source {source} has {len(prefix)} symbols, the limit is {limit}"
            )
        table[source, : len(prefix)] = torch.tensor(list(prefix), dtype=torch.int64)
    return table
