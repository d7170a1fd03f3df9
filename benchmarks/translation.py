"""Translation: training and beam search of elman's Seq2Seq against plain torch in the manner of JoeyNMT.

    python benchmarks/translation.py RUN SOURCE [--threads 2] [--rounds 5] [--what train decode]

RUN: a run of `elman train translation`, of LSTM or GRU, else with the defaults (one layer, additive
attention, tied); SOURCE: sentences to translate, one a line (.gz too). The rival (plain_seq2seq.py) has the
run's weights; it stops a search by another rule, so that not every sentence is the same: how many are is
told. Training: whole updates
on the run's own batches, from their reading to the optimizer's step, the same optimizer for both.
"""

import argparse
import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from plain_seq2seq import Plain
from timing import Times, conditions, interleaved, table
from torch.nn import functional

from elman.models.decoding import best_sequences, default_limits
from elman.models.packed import Weights
from elman.models.seq2seq import Seq2Seq
from elman.padded import Padded
from elman.predict import load_model
from elman.tasks.pair_task import PairTask
from elman.tasks.sequence_data import SequenceExamples
from elman.train.optim import build_optimizer, clip

BEAM, ALPHA = 5, 1.0


def decoders(
    task: PairTask, model: Seq2Seq, batches: list[Padded]
) -> Mapping[str, Callable[[], list[list[int]]]]:
    """What each rival writes for all batches: ids without ends."""
    begin, end = task.target.begin, task.target.end
    plain = Plain(model, 0.0).eval()

    def own(weights: Weights) -> list[list[int]]:
        options: Any = {"begin": begin, "stop": [end], "beam": BEAM, "alpha": ALPHA, "weights": weights}
        found = [best_sequences(model, batch, **options) for batch in batches]
        return [[i for i in h.ids if i != end] for hypotheses in found for (h,) in hypotheses]

    def theirs(project_again: bool) -> list[list[int]]:
        written = []
        for batch in batches:
            limit = int(default_limits(batch.lengths).max())
            written += plain.beam_search(
                batch.data.t().contiguous(),
                batch.lengths,
                beam=BEAM,
                alpha=ALPHA,
                begin=begin,
                end=end,
                limit=limit,
                project_again=project_again,
            )
        return written

    return {
        "elman": lambda: own("float32"),
        "elman, weights bfloat16": lambda: own("bfloat16"),
        "plain": lambda: theirs(False),
        "plain, keys again": lambda: theirs(True),
    }


def decoding(task: PairTask, model: Seq2Seq, source: str, sentences: int, rounds: int) -> None:
    opened: Any = gzip.open if source.endswith(".gz") else open
    with opened(source, "rt", encoding="utf-8") as lines:
        texts = [line.strip() for line, _ in zip(lines, range(sentences), strict=False)]
    ids = sorted((task.source_ids(text, source) for text in texts), key=len)
    rows = []
    for size in (1, 64):
        # One by one a part is enough, of all lengths.
        chosen = ids if size > 1 else ids[:: max(1, len(ids) // 16)]
        batches = [Padded.of(chosen[at : at + size]) for at in range(0, len(chosen), size)]
        rivals = decoders(task, model, batches)
        written = {name: run() for name, run in rivals.items()}
        times = interleaved(rivals, rounds)
        for name, taken in times.items():
            same = sum(a == b for a, b in zip(written[name], written["elman"], strict=True))
            rate = f"{len(chosen) / taken.median:.1f}"
            rows.append([size, name, rate, taken.over(times["elman"]), f"{same} of {len(chosen)}"])
    print(table(["batch", "", "sentences/s", "times elman's time", "same sentences"], rows))


def trainers(task: PairTask, model: Seq2Seq, updates: list[int]) -> Mapping[str, Callable[[], None]]:
    """An update on each of some batches."""
    examples = task.examples()
    assert isinstance(examples, SequenceExamples)

    def own(precision: torch.dtype | None) -> Callable[[], None]:
        one: Any = task.build()
        one.load_state_dict(model.state_dict())
        one.compute = one.encoder.compute = precision
        optimizer = build_optimizer(one.train(), task.config.train)

        def run() -> None:
            for update in updates:
                optimizer.zero_grad(set_to_none=True)
                examples.outcome(one, update, None).objective.backward()
                clip(one, task.config.train)
                optimizer.step()

        return run

    plain = Plain(model, task.config.model.dropout).train()
    optimizer = build_optimizer(plain, task.config.train)
    begin, end = torch.tensor([task.target.begin]), torch.tensor([task.target.end])

    def theirs() -> None:
        for update in updates:
            optimizer.zero_grad(set_to_none=True)
            rows = examples.buckets.read(update).tolist()
            source = Padded.of([examples.data.sources[row] for row in rows])
            inputs = Padded.of([torch.cat([begin, examples.data.targets[row]]) for row in rows])
            wanted = Padded.of([torch.cat([examples.data.targets[row], end]) for row in rows], -100)
            logits = plain(source.data.t(), source.lengths, inputs.data.t())
            loss = functional.cross_entropy(
                logits.flatten(0, 1),
                wanted.data.t().flatten(),
                ignore_index=-100,
                label_smoothing=task.config.train.label_smoothing,
            )
            loss.backward()
            clip(plain, task.config.train)
            optimizer.step()

    return {"elman bfloat16": own(torch.bfloat16), "elman float32": own(None), "plain": theirs}


def training(task: PairTask, model: Seq2Seq, rounds: int) -> None:
    updates = [0, 1]
    examples = task.examples()
    assert isinstance(examples, SequenceExamples)
    tokens = 0
    for update in updates:
        for row in examples.buckets.read(update).tolist():
            tokens += len(examples.data.sources[row]) + len(examples.data.targets[row]) + 1
    times: Mapping[str, Times] = interleaved(trainers(task, model, updates), rounds)
    rows = [
        [name, f"{tokens / taken.median:,.0f}", times["plain"].over(taken)] for name, taken in times.items()
    ]
    print(table(["training", "tokens/s", "plain's time over its"], rows))


def described(task: PairTask, model: Seq2Seq) -> str:
    """The run in words."""
    one, trained = task.config.model, task.config.train.updates
    return (
        f"{one.cell} of {one.hidden}, embedding of {one.embedding}, {model.head.out_features:,} symbols, "
        f"after {trained:,} updates; beam {BEAM}, alpha {ALPHA:g}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("source")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sentences", type=int, default=64)
    parser.add_argument("--what", nargs="*", default=["train", "decode"], choices=["train", "decode"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    _, task, model = load_model(Path(given.run), "newest")
    assert isinstance(task, PairTask)
    assert isinstance(model, Seq2Seq)
    print(f"{conditions()}; {described(task, model)}")
    if "decode" in given.what:
        decoding(task, model, given.source, given.sentences, given.rounds)
    if "train" in given.what:
        training(task, model, given.rounds)


if __name__ == "__main__":
    main()
