"""Examples of the tasks that write a sequence: batches, what a model is taught with, and the loss.

    objective = -(1 / n) sum_t [(1 - e) ln p(y_t) + (e / V) sum_k ln p(k)] + penalty        nats = -(1 / n) sum_t ln p(y_t)

e is the label smoothing (Szegedy et al. 2016), the penalty is the model's own, n counts the targets with their
ends. nats, the figure that is reported, knows neither.
Shapes: T target time, N batch, V vocabulary, P = lengths.sum() places inside the targets, by time, then by
element. inputs, targets (T, N) int64; logits (P, V).
"""  # noqa: E501

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from elman import counter
from elman.attention.hard import let_draw
from elman.cells import State
from elman.data.buckets import Buckets
from elman.metrics.language import Rate
from elman.models import scheduled
from elman.models.encoder_decoder import EncoderDecoder
from elman.models.seq2seq import Seq2Seq
from elman.models.symbol_loss import symbol_loss
from elman.padded import Padded
from elman.tasks.base import Examples, Outcome


@dataclass(frozen=True)
class SequenceData:
    """Sources of any kind, the ids of their targets without begin and end, and how long each is.

    texts: the targets as they were written, what a prediction is compared with; places: where each stands.
    words: of each source those that its ids from V on number, and its target's; () where none are copied.
    """

    sources: Sequence[Any]
    source_lengths: Tensor
    targets: Sequence[Tensor]
    texts: Sequence[str]
    places: Sequence[str]
    words: Sequence[tuple[str, ...]] = ()
    left_out: str = ""
    """What the files had besides, counted by reason."""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def target_lengths(self) -> Tensor:
        """(E,) int64, the end counted."""
        return torch.tensor([len(ids) + 1 for ids in self.targets], dtype=torch.int64)

    def part(self, rows: slice) -> "SequenceData":
        """Some of the examples."""
        return SequenceData(
            self.sources[rows],
            self.source_lengths[rows],
            self.targets[rows],
            self.texts[rows],
            self.places[rows],
            self.words[rows],
        )

    def words_of(self, row: int) -> tuple[str, ...]:
        """The words of a source that are copied under ids of their own."""
        return self.words[row] if self.words else ()

    def batches(self, tokens: int) -> list[list[int]]:
        """All examples, longest first, in batches whose padded sizes are at most `tokens`, or of one."""
        return by_size((self.source_lengths + self.target_lengths).tolist(), tokens)


def by_size(sizes: Sequence[int], tokens: int) -> list[list[int]]:
    """The places 0, 1, ... of sizes, largest first, in batches of at most `tokens` when padded, or of one."""
    batches: list[list[int]] = []
    for row in sorted(range(len(sizes)), key=lambda row: -sizes[row]):
        if batches and sizes[batches[-1][0]] * (len(batches[-1]) + 1) <= tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


class Teaching(NamedTuple):
    """A batch of targets for teacher forcing: inputs begin with `begin`, targets end with `end`."""

    inputs: Tensor
    targets: Tensor
    """(P,): those inside."""
    lengths: Tensor


def teaching(targets: Sequence[Tensor], begin: int, end: int) -> Teaching:
    """Targets without begin and end -> what they are taught with."""
    first, last = torch.tensor([begin]), torch.tensor([end])
    inputs = Padded.of([torch.cat([first, ids]) for ids in targets])
    wanted = Padded.of([torch.cat([ids, last]) for ids in targets])
    return Teaching(inputs.data, wanted.data[wanted.mask], inputs.lengths)


def sequence_loss(logits: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Rate]:
    """The objective per symbol without a penalty, and the rate without smoothing."""
    objective, total = symbol_loss(logits, targets, smoothing)
    return objective, Rate(float(total), len(targets))


@final
class SequenceExamples(Examples):
    """Training batches of like length, and the loss on them.

    collate: sources of a batch -> what the model encodes.
    """

    def __init__(
        self,
        data: SequenceData,
        collate: Callable[[Sequence[Any]], Any],
        train: Any,
        ends: tuple[int, int],
        described: str,
    ) -> None:
        self.data = data
        self.buckets = Buckets(
            data.target_lengths, data.source_lengths, train.tokens, seed=train.seed, noise=train.noise
        )
        self._collate, self._ends = collate, ends
        self._seed, self._smoothing, self._train = train.seed, train.label_smoothing, train
        self._described = described

    @property
    def epoch(self) -> float:
        return self.buckets.updates

    def describe(self) -> str:
        return f"{self._described}; an epoch is {self.epoch:,.0f} updates"

    def carry(self, model: nn.Module) -> State | None:
        return None

    def outcome(self, model: nn.Module, update: int, carry: State | None) -> Outcome:
        assert isinstance(model, EncoderDecoder)
        rows = self.buckets.read(update).tolist()
        model.reseed(counter.child(self._seed, update))
        self._teach(model, update)
        let_draw(model, update >= self._train.drawn_from)
        taught = teaching([self.data.targets[row] for row in rows], *self._ends)
        source = self._collate([self.data.sources[row] for row in rows])
        logits, penalty = model(source, taught.inputs, taught.lengths)
        objective, rate = sequence_loss(logits, taught.targets, self._smoothing)
        if penalty is not None:
            objective = objective + penalty
        place = f"update {update}: {', '.join(self.data.places[row] for row in rows[:4])}"
        return Outcome(objective, rate, None, place + (f" and {len(rows) - 4} more" if len(rows) > 4 else ""))

    def _teach(self, model: EncoderDecoder, update: int) -> None:
        """How often the true symbols are read: a function of the update, so that a resume repeats it."""
        schedule = self._train.teaching
        if schedule is not None and isinstance(model, Seq2Seq):
            rate = scheduled.rate_of(schedule, self._train.teaching_half)
            model.teacher = scheduled.teaching(update, schedule, rate, self._train.teaching_least)
