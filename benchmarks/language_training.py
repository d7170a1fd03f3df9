"""Updates of language-model training: the native engine against torch's kernels in float32 and bfloat16.

    python benchmarks/language_training.py TEXT [--config FILE] [--threads 2] [--rounds 5]

A whole update as `elman train` makes it: reading a batch, forward, loss, backward, clipping, optimizer. Each
rival has its own model, from the same seed; they make updates in turn, round after round.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping

import torch
from timing import conditions, interleaved, table

from elman.tasks import find_task
from elman.tasks.config import make_config
from elman.train.optim import build_optimizer, clip

RIVALS: Mapping[str, tuple[str, str]] = {
    "native float32": ("native", "float32"),
    "native bfloat16": ("native", "bfloat16"),
    "torch float32": ("torch", "float32"),
    "torch bfloat16": ("torch", "bfloat16"),
}
"""ELMAN_KERNELS and train.precision."""


def updates(text: str, config: str, kernels: str, precision: str) -> Callable[[], None]:
    """A function that makes the next update of a training run."""
    kind = find_task("language-model")
    settings = make_config(kind, {"train.precision": precision}, file=config)
    task = kind.begin(settings, [text])
    torch.manual_seed(task.config.train.seed)
    model = task.build().train()
    optimizer, examples = build_optimizer(model, task.config.train), task.examples()

    def run() -> Iterator[None]:
        carry, update = examples.carry(model), 0
        while True:
            os.environ["ELMAN_KERNELS"] = kernels
            optimizer.zero_grad(set_to_none=True)
            outcome = examples.outcome(model, update, carry)
            outcome.objective.backward()
            clip(model, task.config.train)
            optimizer.step()
            carry, update = outcome.carry, update + 1
            yield

    steps = run()
    return lambda: next(steps)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text")
    parser.add_argument("--config", default="reproduce/tinyshakespeare.toml")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    times = interleaved(
        {name: updates(options.text, options.config, *how) for name, how in RIVALS.items()}, options.rounds
    )
    own = times["native float32"]
    rows = [
        (name, f"{1 / each.median:.2f}", f"{each.median * 1e3:.0f}", each.over(own))
        for name, each in times.items()
    ]
    print(conditions() + "\n")
    print(table(("", "updates / s", "ms", "time over native's"), rows))


if __name__ == "__main__":
    main()
