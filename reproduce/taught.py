"""Counts the questions that a dialogue run answers in the very words that it was taught.

    python reproduce/taught.py RUN FILE

FILE is what it was trained on. A question counts where the file answers it in one way alone; without a
history of more than one turn nothing else could tell two answers apart. Texts are compared as the run's codec
writes them (runs of white space are one space). Exit status 0 where at least 95 % are answered so.
"""

import sys
from collections import defaultdict
from pathlib import Path

from elman.data.dialogues import read_dialogues
from elman.predict import load
from elman.tasks.dialogue_predictor import DialoguePredictor

BAR = 0.95
SHOWN = 10


def unambiguous(model: DialoguePredictor, file: Path) -> list[tuple[str, str]]:
    """Each question with one answer, and that answer."""
    data = model.dialogue.config.data
    answers: dict[str, set[str]] = defaultdict(set)
    for pair in read_dialogues([file], data.topic, data.skip).pairs(1).pairs:
        answers[pair.source].add(model.dialogue.target.normalise(pair.target))
    longest, codec = data.longest, model.dialogue.codecs.source
    fits = {question for question in answers if len(codec.encode(question)) <= longest}
    one = {question: min(found) for question, found in answers.items() if len(found) == 1}
    return [(question, answer) for question, answer in one.items() if question in fits]


def main() -> int:
    """Prints the count and some of what was answered otherwise, and returns the exit status."""
    run, file = Path(sys.argv[1]), Path(sys.argv[2])
    model = load(run)
    assert isinstance(model, DialoguePredictor), f"{run} is no dialogue run"
    taught = unambiguous(model, file)
    said = [row["text"] for row in model.predict([question for question, _ in taught])]
    wrong = [(*pair, text) for pair, text in zip(taught, said, strict=True) if text != pair[1]]
    right = len(taught) - len(wrong)
    print(f"{right:,} of {len(taught):,} questions answered as taught: {right / len(taught):.1%}")
    for question, answer, text in wrong[:SHOWN]:
        print(f"  {question}\n    taught  {answer}\n    said    {text}")
    return 0 if right >= BAR * len(taught) else 1


if __name__ == "__main__":
    sys.exit(main())
