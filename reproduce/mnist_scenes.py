"""Captions of scenes of handwritten digits: does the model say what is there, and look at what it says?

    python reproduce/mnist_scenes.py make MNIST FOLDER            scenes and captions, as files
    python reproduce/mnist_scenes.py train FOLDER RUN --attention soft|hard|none
    python reproduce/mnist_scenes.py measure FOLDER RUN ...       the table

MNIST is the folder of the idx files (train5k-*, t10k-*). Training scenes show digits of train5k in
combinations that are not held; test scenes digits of t10k in held combinations alone, so that neither a
digit nor a combination of the test was seen in training (elman.data.scenes).

Exact: the digits named, in order, are those of the scene. Attention mass, of the words that name a digit in
captions whose sequence is exact: the share of the weight that lies on regions whose square of pixels meets
the box of the digit named; as a bar to it, the same share of an attention that is equal everywhere. Strict
mass counts of each region only the part of its square that lies inside the box. A hard attention has all its
weight on the region that it takes.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import one_hot

from elman.data.images import read_image
from elman.data.scenes import PHRASINGS, SIDE, WORDS, Box, draw_scene, read_digits
from elman.models.captioner import Captioner, View
from elman.padded import Padded
from elman.predict import load_model
from elman.tasks.captioning import CaptioningTask
from elman.tasks.captioning_data import Collator
from elman.tasks.sequence_search import Search, find
from elman.train import train

TRAIN, VALID, TEST = 24_000, 500, 2_000
PARTS = {
    "train": ("train5k", 1, TRAIN, False),
    "valid": ("train5k", 2, VALID, False),
    "test": ("t10k", 3, TEST, True),
}

SETTINGS: dict[str, Any] = {
    "data.height": SIDE, "data.width": SIDE, "data.grey": True, "data.normalisation": "dark",
    "data.augmentation": {"shift": 0.03},
    "model.encoder_options": {"widths": [32, 64, 128], "blocks": [1, 1, 1]},
    "model.hidden": 192, "model.embedding": 64,
    "train.batch": 32, "train.captions": 2, "train.learning_rate": 2e-3, "train.updates": 5000,
    "train.betas": [0.9, 0.98], "train.clip_norm": 1.0, "train.evaluate_every": 500, "train.save_every": 500,
    "written": 200, "search.beam": 1,
}  # fmt: skip
ATTENTIONS: dict[str, dict[str, Any]] = {
    "soft": {"model.attention": "additive", "model.attention_options": {"size": 64}},
    "hard": {
        "model.attention": "hard",
        "model.attention_options": {"size": 64, "expected": 0.5},
        "train.drawn_from": 2500,
    },
    "none": {"model.attention": None},
}


def make(mnist: Path, folder: Path) -> None:
    """images/, captions.tsv, valid.txt, test.txt and boxes.json."""
    (folder / "images").mkdir(parents=True)
    rows, boxes = ["image\tcaption"], {}
    for part, (source, seed, count, held) in PARTS.items():
        digits = read_digits(mnist, source)
        names = [f"{part}-{index:05}.png" for index in range(count)]
        for index, name in enumerate(names):
            scene = draw_scene(digits, seed, index, held=held)
            Image.fromarray(scene.image.numpy()).save(folder / "images" / name)
            rows += [f"{name}\t{scene.sentence(phrasing)}" for phrasing in PHRASINGS]
            boxes[name] = [[thing.digit, *thing.box] for thing in scene.things]
        (folder / f"{part}.txt").write_text("\n".join(names) + "\n")
    (folder / "captions.tsv").write_text("\n".join(rows) + "\n")
    (folder / "boxes.json").write_text(json.dumps(boxes))


def share(weights: Tensor, box: Box, strict: bool) -> float:
    """The share of an attention (h, w) over squares of the picture that lies on a box."""
    top, left, bottom, right = box
    height, width = SIDE / weights.shape[0], SIDE / weights.shape[1]
    down, across = torch.arange(weights.shape[0]) * height, torch.arange(weights.shape[1]) * width
    high = (torch.clamp(down + height, max=bottom) - torch.clamp(down, min=top)).clamp(min=0) / height
    wide = (torch.clamp(across + width, max=right) - torch.clamp(across, min=left)).clamp(min=0) / width
    part = high[:, None] * wide
    return float((weights * (part if strict else (part > 0).float())).sum())


def measure(folder: Path, run: Path) -> dict[str, Any]:
    """The figures of one run on the test scenes."""
    _, task, model = load_model(run)
    assert isinstance(task, CaptioningTask)
    assert isinstance(model, Captioner)
    assert model.encoder is not None
    grid = model.encoder.grid(SIDE, SIDE)
    boxes = json.loads((folder / "boxes.json").read_text())
    names = (folder / "test.txt").read_text().split()
    collate, codec, search = Collator(task.config.data), task.codec, Search.of(task.config.search)
    exact = words = hits = 0
    masses: list[tuple[float, float, float]] = []
    by_count: dict[int, list[bool]] = {}
    for first in range(0, len(names), 100):
        part = names[first : first + 100]
        images = [read_image(folder / "images" / name, task.config.data.shape()) for name in part]
        view = View(collate(images))
        limits = torch.full((len(part),), task.config.data.longest + 1)
        found = [hypotheses[0].ids for hypotheses in find(model, view, codec, limits, search)]
        inputs = Padded.of([torch.tensor([codec.begin, *ids[:-1]]) for ids in found])
        with torch.no_grad():
            weights = model.taught(view, inputs.data, inputs.lengths).weights
        if task.config.model.attention == "hard":
            weights = one_hot(weights.argmax(2), weights.shape[2]).float()
        for row, (name, ids) in enumerate(zip(part, found, strict=True)):
            told = [codec.symbols[index] for index in ids]
            places = [place for place, word in enumerate(told) if word in WORDS]
            wanted = [digit for digit, *_ in boxes[name]]
            said = [WORDS.index(told[place]) for place in places]
            same = said == wanted
            exact += same
            by_count.setdefault(len(wanted), []).append(same)
            words += len(wanted)
            hits += sum(a == b for a, b in zip(said, wanted, strict=False))
            if same and model.attends:
                for place, (_, top, left, bottom, right) in zip(places, boxes[name], strict=True):
                    box = (top, left, bottom, right)
                    seen = weights[place, row, : grid[0] * grid[1]].reshape(grid)
                    even = torch.full(grid, 1 / (grid[0] * grid[1]))
                    masses.append((share(seen, box, False), share(seen, box, True), share(even, box, False)))
    means = [sum(column) / len(masses) for column in zip(*masses, strict=True)] if masses else [None] * 3
    return {
        "run": str(run), "attention": task.config.model.attention or "none", "scenes": len(names),
        "exact": exact / len(names), "digits_in_place": hits / words,
        "exact_by_count": {count: sum(v) / len(v) for count, v in sorted(by_count.items())},
        "mass": means[0], "strict_mass": means[1], "even_mass": means[2],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Captions of scenes of handwritten digits.")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("mnist", type=Path)
    making.add_argument("folder", type=Path)
    training = commands.add_parser("train")
    training.add_argument("folder", type=Path)
    training.add_argument("run", type=Path)
    training.add_argument("--attention", choices=ATTENTIONS, default="soft")
    training.add_argument("--resume", action="store_true")
    training.add_argument("--minutes", type=float)
    measuring = commands.add_parser("measure")
    measuring.add_argument("folder", type=Path)
    measuring.add_argument("runs", type=Path, nargs="+")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.command == "make":
        make(given.mnist, given.folder)
    elif given.command == "train":
        lists = {
            "data.valid_lists": [str(given.folder / "valid.txt")],
            "data.held_lists": [str(given.folder / "test.txt")],
        }
        settings = SETTINGS | ATTENTIONS[given.attention] | lists
        files = [] if given.resume else [given.folder / "images", given.folder / "captions.tsv"]
        train(
            "captioning",
            files,
            given.run,
            {} if given.resume else settings,
            minutes=given.minutes,
            resume=given.resume,
        )
    else:
        for run in given.runs:
            print(json.dumps(measure(given.folder, run)))


if __name__ == "__main__":
    main()
