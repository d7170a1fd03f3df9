"""The command line of pictures, as a user types it."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from elman.train import train
from pair_files import SETTINGS, made_pairs, write_aligned, write_table

pytest.importorskip("sacrebleu", reason="needs elman[translation]")

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translation")
    train("translation", write_aligned(folder, made_pairs(40)), folder / "run", SETTINGS)
    return folder / "run"


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on eight grey images, of one colour each."""
    folder = tmp_path_factory.mktemp("captioning")
    (folder / "images").mkdir()
    rows = ["image\tcaption"]
    for place in range(8):
        Image.new("L", (16, 16), 30 * place).save(folder / "images" / f"{place}.png")
        rows.append(f"{place}.png\tgrey number {place}")
    (folder / "captions.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    settings = {
        "data.height": 16, "data.width": 16, "data.grey": True, "model.hidden": 8, "model.embedding": 4,
        "model.encoder_options": {"widths": [4, 8], "blocks": [1, 1]}, "train.updates": 2, "train.batch": 2,
        "train.evaluate_every": 2, "train.save_every": 2, "train.warmup": 1, "data.valid_fraction": 0.25,
    }  # fmt: skip
    train("captioning", [folder / "images", folder / "captions.tsv"], folder / "run", settings)
    return folder / "run"


def written(told: str) -> list[str]:
    """The pictures that were said to be written, all of which can be read."""
    paths = [
        Path(line)
        for line in told.replace("\n", "").replace(".svg", ".svg\n").replace(".png", ".png\n").split()
    ]
    for path in paths:
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag.endswith("svg")
        else:
            Image.open(path).verify()
    return sorted(path.name for path in paths)


def both(*names: str) -> list[str]:
    return sorted(f"{name}.{suffix}" for name in names for suffix in ("svg", "png"))


def test_a_translator_shows_curves_a_text_and_lengths(
    tmp_path: Path, translator: Path, command: Command
) -> None:
    table = write_table(tmp_path, made_pairs(9, 3))
    source = made_pairs(9, 3)[0][0]
    status, out, _ = command("plot", translator, "-o", tmp_path / "p", "--text", source, "--pairs", table)
    assert status == 0
    assert written(out) == both("learning", "alignment", "lengths")
    left, right = write_aligned(tmp_path, made_pairs(9, 3))
    status, out, _ = command("plot", translator, "-o", tmp_path / "q", "--pairs", left, "--pairs", right)
    assert (status, written(out)) == (0, both("learning", "lengths"))
    shown = (tmp_path / "p" / "lengths.svg").read_bytes(), (tmp_path / "q" / "lengths.svg").read_bytes()
    assert shown[0] == shown[1]  # the same pairs, however they are stored


def test_a_captioner_shows_an_image(tmp_path: Path, captioner: Path, command: Command) -> None:
    image = captioner.parent / "images" / "3.png"
    status, out, _ = command("plot", captioner, "-o", tmp_path, "--image", image)
    assert (status, written(out)) == (0, both("learning", "overlays"))


def test_what_a_model_has_no_picture_of_is_told(translator: Path, captioner: Path, command: Command) -> None:
    for options, wanted in (
        (
            (translator, "--image", captioner.parent / "images" / "3.png"),
            "--image needs a run of the task captioning",
        ),
        ((captioner, "--text", "grey"), "--text needs a language model, or one that reads a text"),
        ((captioner, "--pairs", "pairs.tsv"), "--pairs needs a model from text to text"),
        ((captioner, "--image", "gone.png"), "gone.png"),
    ):
        status, out, told = command("plot", *options)
        assert (status, out) == (2, "")
        assert wanted in told.replace("\n", " ")
