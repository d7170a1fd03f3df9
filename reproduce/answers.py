"""Diversity of a dialogue run's answers before and after mutual-information reranking.

    python reproduce/answers.py RUNS FILE [COUNT]

RUNS/forward answers, RUNS/reverse and RUNS/language choose (elman.search.reranking). Answered are the first
COUNT questions of FILE (default 1000), without dialogues that stand in the training data. Prints distinct-1,
distinct-2 and the share of generic answers of the file's own answers, of beam search, of drawn ones, and of
the same candidates ranked anew.
"""

import sys
from pathlib import Path

from elman.predict import load
from elman.search.reranking import MutualInformation
from elman.search.sampling import Sampling
from elman.tasks.dialogue import DialogueTask
from elman.tasks.dialogue_predictor import DialoguePredictor, Reranker

COUNT = 1000
CANDIDATES = 20
TOP_P = 0.9
WAYS: dict[str, MutualInformation] = {
    "MMI-bidi, weight 0.5": MutualInformation(reverse=0.5),
    "MMI-bidi, weight 1": MutualInformation(reverse=1.0),
    "MMI-antiLM, weight 0.5": MutualInformation(language=0.5),
}


def dialogue(run: Path) -> DialoguePredictor:
    model = load(run)
    assert isinstance(model, DialoguePredictor), f"{run} is no dialogue run"
    return model


def row(name: str, task: DialogueTask, references: list[str], answers: list[str]) -> None:
    figures = task.measure(references, answers)
    shown = " | ".join(f"{figures[key]:.4f}" for key in ("distinct_1", "distinct_2", "generic"))
    print(f"| {name} | {shown} |", flush=True)


def main() -> None:
    """Prints the table."""
    runs, file = Path(sys.argv[1]), sys.argv[2]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else COUNT
    forward, reverse, language = (dialogue(runs / name) for name in ("forward", "reverse", "language"))
    task = forward.dialogue
    training = [entry["path"] for entry in task.files[: len(task.files) - len(task.config.data.valid_files)]]
    pairs = task.read_pairs(task.config, [file], training).pairs
    codec, longest = task.codecs.source, task.config.data.longest
    asked = [pair for pair in pairs if len(codec.encode(pair.source)) <= longest][:count]
    questions, references = [pair.source for pair in asked], [pair.target for pair in asked]
    print("| answers | distinct-1 | distinct-2 | generic |\n|---|---|---|---|")
    row("of the file", task, references, references)
    drawn = {"sampling": Sampling(1.0, None, TOP_P), "seed": 1}
    for how, options in (("beam search", {}), (f"drawn, top-p {TOP_P}", drawn)):
        found = forward.predict(questions, 1 if options else CANDIDATES, **options)
        row(how, task, references, [one["text"] for one in found])
        candidates = forward.predict(questions, CANDIDATES, **options) if options else found
        texts = [list(dict.fromkeys(each["text"] for each in one["alternatives"])) for one in candidates]
        for name, weights in WAYS.items():
            ranked = Reranker(weights, reverse, language).rank(forward, questions, texts)
            row(f"{how}: {name}", task, references, [answers[0]["text"] for answers in ranked])


if __name__ == "__main__":
    main()
