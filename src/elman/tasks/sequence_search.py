"""How a task searches for sequences: the options that settings and users give, in one place.

Shapes: N sources. limits (N,) int64, the end counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from elman.data.sequence_codec import SequenceCodec
from elman.errors import ConfigError
from elman.models.decoding import best_sequences, sampled_sequences
from elman.models.encoder_decoder import EncoderDecoder
from elman.models.writing import WEIGHTS
from elman.search.hypothesis import Hypothesis
from elman.search.sampling import Sampling
from elman.streaming import Precision, Weights


@dataclass(frozen=True)
class Search:
    """A beam search for the `best` likeliest sequences, or, with `sampling`, so many drawn ones.

    beam 1 follows one beginning, and ends it where that is likeliest; greedy is Sampling(temperature=0): the
    likeliest symbol, and the next, to the end. alpha, coverage: see elman.search.beam.
    seed: of what is drawn. weights: the type in which a step multiplies by the model's weights. Raises
    ConfigError for values out of range.
    """

    best: int = 1
    beam: int = 1
    alpha: float = 0.0
    coverage: float = 0.0
    sampling: Sampling | None = None
    seed: int = 0
    weights: Weights = "float32"

    def __post_init__(self) -> None:
        if self.best < 1 or self.beam < 1 or self.alpha < 0 or self.coverage < 0:
            raise ConfigError(
                f"search: expected best and beam of at least 1, alpha and coverage of at least 0, got "
                f"best={self.best}, beam={self.beam}, alpha={self.alpha}, coverage={self.coverage}"
            )

    @classmethod
    def of(cls, settings: Any, weights: Weights = "float32") -> "Search":
        """The search that a run's settings name: its search.beam, search.alpha and search.coverage."""
        return cls(beam=settings.beam, alpha=settings.alpha, coverage=settings.coverage, weights=weights)

    def asked(self, *, best: int, sampling: Sampling | None, seed: int, **given: float | None) -> "Search":
        """The same with what a user asks for; beam, alpha and coverage stay where they are None.

        Raises ConfigError where a draw is asked for with any of these.
        """
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if sampling is not None and changed:
            raise ConfigError(
                f"{', '.join(changed)}: of a search, and with a temperature, top-k or top-p the text is "
                f"drawn; leave one of them out"
            )
        return replace(self, best=best, sampling=sampling, seed=seed, **changed)

    @property
    def rows(self) -> int:
        """Sequences that are followed at a time for each source."""
        return self.best if self.sampling else max(self.beam, self.best)


def searched(task: str, weights: Precision) -> Weights:
    """The weights of a search; raises ConfigError for those that a task's searches do not have."""
    if weights not in WEIGHTS:
        raise ConfigError(f"weights: {task} searches with {' or '.join(WEIGHTS)}, got {weights}")
    return weights


GREEDY = Search(sampling=Sampling(temperature=0))


def find(
    model: EncoderDecoder,
    source: Any,
    codec: SequenceCodec,
    limits: Tensor,
    search: Search = GREEDY,
    *,
    prefixes: Sequence[Sequence[int]] | None = None,
    sources: Tensor | None = None,
) -> list[list[Hypothesis]]:
    """For each source what was found, the best first; what is drawn is in order of its probability.

    prefixes: beginnings that are forced; not for what is drawn. sources (N,): numbers of the sources, of
    which the draws are functions. Raises ConfigError for a beginning of what is drawn.
    """
    for row, (prefix, limit) in enumerate(zip(prefixes or (), limits.tolist(), strict=False)):
        if len(prefix) > limit:
            number = row if sources is None else int(sources[row])
            raise ConfigError(
                f"prefix of input {number + 1}: it has {len(prefix):,} symbols, at most {limit:,} are "
                f"written; shorten it"
            )
    if search.sampling is None:
        return best_sequences(
            model, source, begin=codec.begin, length=limits, stop=[codec.end], best=search.best,
            beam=search.rows, alpha=search.alpha, coverage=search.coverage, prefixes=prefixes,
            weights=search.weights,
        )  # fmt: skip
    if prefixes is not None:
        raise ConfigError("search: a beginning can be forced on a search, not on what is drawn")
    drawn = sampled_sequences(
        model, source, begin=codec.begin, length=limits, stop=[codec.end], sampling=search.sampling,
        samples=search.best, seed=search.seed, sources=sources, weights=search.weights,
    )  # fmt: skip
    return [sorted(found, key=lambda one: -one.score) for found in drawn]
