"""Captions of photographs: the whole path on a thousand of Flickr8k's, and what the pictures are worth.

    python reproduce/flickr8k_1k.py train DATA RUN
    python reproduce/flickr8k_1k.py measure DATA RUN

DATA holds images/ (1,000 photographs of 112 x 112 pixels), Flickr8k.token.txt.gz (all 40,455 captions of
8,091 photographs) and the official lists Flickr_8k.{train,dev,test}Images.txt (Hodosh, Young and Hockenmaier
2013). The encoder is trained from scratch on the photographs that are in neither the dev nor the test list,
762 of them; captions of photographs that are not there teach the decoder language alone, those of the dev and
test lists excepted, whether their photographs are there or not.

measure: BLEU-1 to 4 and CIDEr-D of the test photographs (125), and of the same model with every photograph
exchanged for another one of them; the differences with 95 % intervals by bootstrap over photographs. The
captions are written by beam search; the weights of n-grams in CIDEr-D are from the references of these 125.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from elman.metrics.captions import bootstrap, caption_bleu, cider_d
from elman.models.captioner import Captioner
from elman.predict import load_model
from elman.tasks.captioning import CaptioningTask
from elman.tasks.captioning_data import Item
from elman.tasks.sequence_search import Search
from elman.train import train

SETTINGS: dict[str, Any] = {
    "data.height": 112, "data.width": 112, "data.missing": "text", "data.vocabulary": 3000,
    "data.augmentation": {"flip": True, "zoom": 0.35, "stretch": 0.1, "colour": 0.3},
    "model.encoder_options": {"widths": [24, 48, 96, 128], "blocks": [1, 1, 1, 1]},
    "model.hidden": 256, "model.embedding": 128, "model.attention_options": {"size": 64},
    "model.dropout": 0.3, "model.dropout_embedding": 0.2, "model.dropout_output": 0.4,
    "model.doubly_stochastic": 1.0,
    "train.batch": 24, "train.captions": 2, "train.texts": 24, "train.label_smoothing": 0.1,
    "train.updates": 2000, "train.learning_rate": 1e-3, "train.weight_decay": 0.05, "train.average": 0.995,
    "train.evaluate_every": 250, "train.save_every": 250, "search.beam": 3, "search.alpha": 0.7,
}  # fmt: skip
DRAWS = 1000


def measure(data: Path, run: Path) -> dict[str, Any]:
    """The figures with the right photographs and with wrong ones, and their differences."""
    _, task, model = load_model(run)
    assert isinstance(task, CaptioningTask)
    assert isinstance(model, Captioner)
    read, items = task.read([str(data / name) for name in (*FILES, "Flickr_8k.testImages.txt")])
    # A photograph is exchanged for the one that stands half the list further: never for itself.
    half = len(items) // 2
    wrong = [
        Item(other.name, item.sentences)
        for item, other in zip(items, items[half:] + items[:half], strict=True)
    ]
    search = Search.of(task.config.search)
    told: dict[str, list[str]] = {}
    references: list[list[str]] = []
    for name, shown in (("right", items), ("wrong", wrong)):
        told[name], references = task.write(model, read, shown, search, lambda part: None)
    consensus = {name: cider_d(references, texts) for name, texts in told.items()}

    def cider_difference(rows: list[int]) -> float:
        return sum(consensus["right"][row] - consensus["wrong"][row] for row in rows) / len(rows)

    def bleu_difference(place: int) -> Callable[[list[int]], float]:
        def of(rows: list[int]) -> float:
            chosen = [references[row] for row in rows]
            right, wrong = (
                caption_bleu(chosen, [told[name][row] for row in rows])[0][place]
                for name in ("right", "wrong")
            )
            return right - wrong

        return of

    def interval(difference: Callable[[list[int]], float], draws: int) -> list[float]:
        """The figure, and the interval from smallest to largest."""
        return [difference(list(range(len(items)))), *bootstrap(difference, len(items), draws=draws)]

    return {
        "run": str(run), "photographs": len(items), "different_captions": len(set(told["right"])),
        "bleu": {name: caption_bleu(references, texts)[0] for name, texts in told.items()},
        "signature": caption_bleu(references, told["right"])[1],
        "cider_d": {name: sum(values) / len(values) for name, values in consensus.items()},
        "cider_d_difference": interval(cider_difference, DRAWS),
        **{
            f"bleu_{place + 1}_difference": interval(bleu_difference(place), DRAWS // 4) for place in (0, 3)
        },
    }  # fmt: skip


FILES = ("images", "Flickr8k.token.txt.gz")


def main() -> None:
    parser = argparse.ArgumentParser(description="Captions of photographs.")
    parser.add_argument("command", choices=("train", "measure"))
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--minutes", type=float)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.command == "measure":
        print(json.dumps(measure(given.data, given.run), indent=1))
        return
    settings = SETTINGS | {
        "data.valid_lists": [str(given.data / "Flickr_8k.devImages.txt")],
        "data.held_lists": [str(given.data / "Flickr_8k.testImages.txt")],
    }
    files = [] if given.resume else [given.data / name for name in FILES]
    train(
        "captioning",
        files,
        given.run,
        {} if given.resume else settings,
        minutes=given.minutes,
        resume=given.resume,
    )


if __name__ == "__main__":
    main()
