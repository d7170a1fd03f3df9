"""Pictures of squares of light, in the left or right half, above or below, with captions that say where.

Of 16 x 16 pixels, grey; functions of their numbers.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from elman import counter

SETTINGS: dict[str, Any] = {
    "data.height": 16, "data.width": 16, "data.grey": True, "data.normalisation": "dark",
    "model.encoder_options": {"widths": [8, 16], "blocks": [1, 1]}, "model.hidden": 24, "model.embedding": 8,
    "train.batch": 8, "train.updates": 4, "train.learning_rate": 0.01, "train.warmup": 5,
    "train.evaluate_every": 200, "train.save_every": 200, "data.valid_fraction": 0.2,
}  # fmt: skip


def where(index: int) -> tuple[int, int]:
    """Row and column of the light, as a function of the picture."""
    down, across = (counter.uniform(3, torch.tensor(index), torch.arange(2)) * 2).long().tolist()
    return down, across


def picture(index: int) -> np.ndarray:
    image = np.zeros((16, 16), np.uint8)
    down, across = where(index)
    top, left = 8 * down + index % 5, 8 * across + index // 5 % 5
    image[top : top + 4, left : left + 4] = 255
    return image


def sentence(index: int) -> str:
    down, across = where(index)
    return f"A light at the {('top', 'bottom')[down]} {('left', 'right')[across]}"


def write_images(folder: Path, count: int = 40) -> tuple[Path, Path]:
    """A folder of pictures, and two captions for each."""
    images = folder / "images"
    images.mkdir()
    rows = ["image\tcaption"]
    for index in range(count):
        Image.fromarray(picture(index)).save(images / f"{index:02}.png")
        rows += [f"{index:02}.png\t{sentence(index)}", f"{index:02}.png\t{sentence(index)} side"]
    (folder / "captions.tsv").write_text("\n".join(rows) + "\n")
    return images, folder / "captions.tsv"


def write_clips(folder: Path, each_frame: bool) -> tuple[Path, Path]:
    """Clips of two or three frames, and a caption of each, or of every frame but the first."""
    rows = []
    for clip in range(6):
        (folder / "clips" / f"c{clip}").mkdir(parents=True)
        for frame in range(2 + clip % 2):
            name = f"c{clip}/{frame + 1}.png"
            Image.fromarray(picture(3 * clip + frame)).save(folder / "clips" / name)
            if each_frame:
                rows.append(f"{name}\t{sentence(3 * clip + frame)}")
        if not each_frame:
            rows.append(f"c{clip}\t{sentence(3 * clip)} then elsewhere")
    (folder / "captions.tsv").write_text("\n".join(rows) + "\n")
    return folder / "clips", folder / "captions.tsv"
