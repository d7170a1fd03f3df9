"""alpha and beta of a CTC decoder, tuned on cached logits: the least error rate over a grid that closes in.

Every round decodes with a square of values around the best so far, and the next has half the steps. The rate
is a step function of both, so no gradient leads anywhere; ties go to what was tried first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from elman.data.logits import CachedLogits
from elman.errors import ConfigError, DataError
from elman.search.ctc_beam import CTCBeam

Rate = Callable[[Sequence[str], Sequence[str]], float]
"""References, hypotheses -> the error rate of all together (elman.metrics.error_rate)."""


@dataclass(frozen=True)
class Trial:
    alpha: float
    beta: float
    rate: float


def tune(
    decoder: Callable[[float, float], CTCBeam],
    cached: CachedLogits,
    *,
    rate: Rate,
    alphas: tuple[float, float] = (0.0, 2.0),
    betas: tuple[float, float] = (-2.0, 4.0),
    grid: int = 5,
    rounds: int = 4,
    report: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """The trials, best first. `decoder(alpha, beta)` makes the decoder that is tried.

    alphas, betas: least and greatest value of the first round, `grid` values each.
    Raises DataError where the cached logits have no references, ConfigError for ranges that are none.
    """
    if not cached.references:
        raise DataError("tune: the cached logits have no references; write them with what was said")
    if not (0 <= alphas[0] <= alphas[1] and betas[0] <= betas[1] and grid >= 2 and rounds >= 1):
        raise ConfigError(
            f"tune: expected ranges from least to greatest, alphas of at least 0, a grid of at least 2 and 1 "
            f"round, got alphas={alphas}, betas={betas}, grid={grid}, rounds={rounds}"
        )
    batches = cached.batches()
    trials: dict[tuple[float, float], Trial] = {}

    def attempt(alpha: float, beta: float) -> None:
        place = (round(alpha, 6), round(beta, 6))
        if place in trials:
            return
        tried = decoder(*place)
        found = [best for batch in batches for best in tried.decode(batch.data, batch.lengths)]
        texts = [best[0].text if best else "" for best in found]
        trials[place] = Trial(*place, rate(cached.references, texts))
        report(trials[place])

    middle = ((alphas[0] + alphas[1]) / 2, (betas[0] + betas[1]) / 2)
    steps = ((alphas[1] - alphas[0]) / (grid - 1), (betas[1] - betas[0]) / (grid - 1))
    for turn in range(rounds):
        reach = (grid - 1) / 2 if turn == 0 else 1.0
        offsets = [i - reach for i in range(int(2 * reach) + 1)]
        for a in offsets:
            for b in offsets:
                attempt(max(0.0, middle[0] + a * steps[0]), middle[1] + b * steps[1])
        best = min(trials.values(), key=lambda trial: trial.rate)
        middle, steps = (best.alpha, best.beta), (steps[0] / 2, steps[1] / 2)
    return sorted(trials.values(), key=lambda trial: trial.rate)
