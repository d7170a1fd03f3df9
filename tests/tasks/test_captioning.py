"""Captioning from files to captions: what a run learns, that it resumes exactly, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import elman
from caption_files import SETTINGS, picture, sentence, write_clips, write_images
from elman.errors import ConfigError, DataError
from elman.predict import evaluate, load_model
from elman.runs import Run
from elman.tasks.captioning_predictor import CaptionPredictor
from elman.train import train


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with images and captions, and a run that has learnt from them."""
    folder = tmp_path_factory.mktemp("captions")
    files = write_images(folder)
    settings = {"train.updates": 120, "train.evaluate_every": 120, "train.save_every": 120}
    train("captioning", list(files), folder / "run", SETTINGS | settings)
    return folder, folder / "run"


def test_it_learns_what_is_seen(learnt: tuple[Path, Path]) -> None:
    folder, run = learnt
    last = [record for record in Run(run).records() if record["kind"] == "valid"][-1]
    # Of the pictures that it has not seen: what is left is chance, whether the caption ends in "side".
    assert last["nats"] < 0.25
    new = folder / "new.png"
    for index in (50, 51, 52, 53):
        Image.fromarray(picture(index)).save(new)
        (row,) = elman.load(run).predict([str(new)])
        assert row["text"].removesuffix(" side") == sentence(index).lower()
        assert row["picture"] == str(new)


def test_it_tells_where_it_looked(learnt: tuple[Path, Path]) -> None:
    folder, run = learnt
    model = elman.load(run)
    assert isinstance(model, CaptionPredictor)
    look = model.look(str(folder / "images" / "00.png"))
    assert look.weights.shape == (len(look.words), 4, 4)
    assert torch.allclose(look.weights.sum((1, 2)), torch.ones(len(look.words)), atol=1e-5)
    assert look.words[-1] == "</s>"
    assert look.image.shape == (16, 16)


def test_evaluation_of_named_pictures(learnt: tuple[Path, Path]) -> None:
    pytest.importorskip("sacrebleu", reason="needs the extra: pip install 'elman[translation]'")
    folder, run = learnt
    (folder / "list.txt").write_text("03.png\n05.png\n")
    figures = elman.evaluate(run, [folder / "images", folder / "captions.tsv", folder / "list.txt"])
    assert figures["captioned"] == 2
    assert figures["bleu_4"] > 50
    assert {"nats", "bleu_1", "cider", "cider_d", "bleu_signature"} < set(figures)
    own = elman.evaluate(run)
    assert own["captioned"] == 8


def weights(run: Path) -> dict[str, torch.Tensor]:
    return {name: values.detach() for name, values in load_model(run, "newest")[2].named_parameters()}


@pytest.mark.parametrize("attention", ["additive", "hard"])
def test_a_run_that_was_stopped_goes_on_as_it_would_have(tmp_path: Path, attention: str) -> None:
    files = list(write_images(tmp_path, 12))
    settings = SETTINGS | {
        "model.attention": attention, "model.dropout": 0.2, "data.augmentation": {"shift": 0.1},
        "train.captions": 1, "train.save_every": 1, "train.updates": 4,
    }  # fmt: skip
    train("captioning", files, tmp_path / "whole", settings)
    train("captioning", files, tmp_path / "parts", settings, minutes=1e-6)
    assert len(Run(tmp_path / "parts").records()) < len(Run(tmp_path / "whole").records())
    train("captioning", [], tmp_path / "parts", resume=True)
    for name, values in weights(tmp_path / "whole").items():
        assert torch.equal(values, weights(tmp_path / "parts")[name]), name


@pytest.mark.parametrize("each_frame", [False, True])
def test_clips_are_described_whole_or_frame_by_frame(tmp_path: Path, each_frame: bool) -> None:
    files = write_clips(tmp_path, each_frame)
    settings = SETTINGS | {"data.kind": "clips", "data.each_frame": each_frame, "train.batch": 3}
    train("captioning", list(files), tmp_path / "run", settings)
    rows = elman.load(tmp_path / "run").predict([str(files[0] / "c1")])
    assert [row.get("frame") for row in rows] == ([1, 2, 3] if each_frame else [None])
    task = load_model(tmp_path / "run")[1]
    _, training, valid, _ = task.loaded()  # pyrefly: ignore
    assert len(training) == 5
    assert len(valid) == 1
    assert [s.frame for s in training[1].sentences] == ([0, 1, 2] if each_frame else [0])


@pytest.mark.parametrize("kind", ["features", "clip_features"])
def test_features_computed_elsewhere(tmp_path: Path, kind: str) -> None:
    names = [f"p{index}" for index in range(6)]
    arrays = {name: np.full((2 + index % 2, 5), index, np.float32) for index, name in enumerate(names)}
    np.savez(tmp_path / "f.npz", **arrays)  # pyrefly: ignore
    (tmp_path / "c.tsv").write_text("".join(f"{name}\tpicture {name}\n" for name in names))
    train("captioning", [tmp_path / "f.npz", tmp_path / "c.tsv"], tmp_path / "run",
          SETTINGS | {"data.kind": kind, "model.attention": None})  # fmt: skip
    (row,) = elman.load(tmp_path / "run").predict([f"{tmp_path / 'f.npz'}#p3"], best=2)
    assert isinstance(row["text"], str)
    with pytest.raises(DataError, match="no array named 'p9'"):
        elman.load(tmp_path / "run").predict([f"{tmp_path / 'f.npz'}#p9"])
    with pytest.raises(DataError, match="expected FILE#NAME"):
        elman.load(tmp_path / "run").predict([str(tmp_path / "f.npz")])


def test_captions_without_pictures_teach_language(tmp_path: Path) -> None:
    images, captions = write_images(tmp_path, 10)
    (images / "09.png").unlink()
    (images / "08.png").unlink()
    (tmp_path / "held.txt").write_text("08.png\n00.png\n")
    settings = SETTINGS | {
        "data.missing": "text", "data.held_lists": [str(tmp_path / "held.txt")], "train.texts": 3,
        "train.updates": 2,
    }  # fmt: skip
    train("captioning", [images, captions], tmp_path / "run", settings)
    task = load_model(tmp_path / "run")[1]
    _, training, valid, texts = task.loaded()  # pyrefly: ignore
    names = [item.name for item in training + valid]
    assert "00.png" not in names
    assert len(names) == 7
    assert [text.place.rpartition(" ")[2] for text in texts] == ["20", "21"]  # of 09.png alone
    described = task.examples().describe()
    assert "2 captions without a picture" in described
    assert "2 images that captions name are missing" in described


def test_an_encoder_may_begin_with_weights_from_a_file(tmp_path: Path) -> None:
    from elman.models.image_encoder import ResNet  # noqa: PLC0415
    from elman.models.image_weights import save_encoder  # noqa: PLC0415

    files = list(write_images(tmp_path, 6))
    torch.manual_seed(5)
    encoder = ResNet(1, (8, 16), (1, 1))
    save_encoder(encoder, tmp_path / "e.safetensors")
    settings = SETTINGS | {"model.encoder_weights": str(tmp_path / "e.safetensors"), "train.updates": 1,
                           "train.learning_rate": 1e-9}  # fmt: skip
    train("captioning", files, tmp_path / "run", settings)
    model = load_model(tmp_path / "run")[2]
    assert torch.allclose(model.encoder.conv1.weight, encoder.conv1.weight, atol=1e-6)  # pyrefly: ignore
    (tmp_path / "e.safetensors").unlink()
    assert elman.load(tmp_path / "run").predict([str(tmp_path / "images" / "00.png")])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda images, captions: (images / "03.png").write_bytes(b"\x89PNG"), "03.png"),
        (lambda images, captions: (images / "03.png").unlink(), "line 8: a caption for '03.png'"),
        (lambda images, captions: (images / "x.png").write_bytes(b""), "no caption in .* for 'x.png'"),
        (lambda images, captions: captions.write_text("00.png a\n"), "line 1: 0 tabs"),
        (lambda images, captions: captions.write_text(f"00.png\t{'a ' * 61}\n"), "61 words, at most 60"),
    ],
)
def test_bad_files_are_named_before_training(tmp_path: Path, change: Any, told: str) -> None:
    files = write_images(tmp_path, 6)
    change(*files)
    settings = SETTINGS | ({"data.uncaptioned": "skip"} if "61 words" in told else {})
    with pytest.raises(DataError, match=told):
        train("captioning", list(files), tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


def test_bad_pictures_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    images, captions = write_images(tmp_path, 8)
    (images / "03.png").write_bytes(b"\x89PNG")
    (images / "04.png").unlink()
    (images / "x.png").write_bytes((images / "05.png").read_bytes())
    skip = {"data.unreadable": "skip", "data.missing": "skip", "data.uncaptioned": "skip"}
    train("captioning", [images, captions], tmp_path / "run", SETTINGS | skip | {"train.updates": 1})
    described = load_model(tmp_path / "run")[1].examples().describe()
    assert "5 pictures with 10 captions for training, 1 for validation" in described
    for told in (
        "1 images that captions name are missing",
        "1 images have no caption",
        "1 pictures cannot be read",
    ):
        assert told in described
    left = "1 images that captions name are missing; 1 images have no caption; 1 pictures cannot be read"
    assert evaluate(tmp_path / "run", [images, captions])["left_out"] == left


def test_captions_that_cannot_be_used_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    """The ninth picture has a caption alone that is too long, and is left out with it."""
    images, captions = write_images(tmp_path, 8)
    (images / "08.png").write_bytes((images / "05.png").read_bytes())
    with captions.open("a") as file:
        file.write(f"03.png A light\n\n08.png\t{'a ' * 61}\n01.png\t{'a ' * 70}\n")
    train(
        "captioning", [images, captions], tmp_path / "run", SETTINGS | {"data.skip": True, "train.updates": 1}
    )
    described = load_model(tmp_path / "run")[1].examples().describe()
    assert "left out: 1 captions empty, 2 captions too long, 1 captions without a tab" in described
    figures = evaluate(tmp_path / "run", [images, captions])
    assert figures["captioned"] == 8
    assert "2 captions too long" in figures["left_out"]


@pytest.mark.parametrize("kind", ["held", "valid"])
def test_a_list_with_a_name_that_nothing_has_is_refused(tmp_path: Path, kind: str) -> None:
    files = list(write_images(tmp_path, 8))
    names = tmp_path / "names.txt"
    names.write_text("03.png\n04.jpg\n")
    with pytest.raises(DataError, match=r"names\.txt: '04\.jpg' is neither a picture nor has it a caption"):
        train("captioning", files, tmp_path / "run", SETTINGS | {f"data.{kind}_lists": [str(names)]})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"data.each_frame": True}, "data.each_frame is about clips"),
        ({"train.texts": 2}, "train.texts needs captions without pictures"),
        ({"data.missing": "text", "train.texts": 2}, "train.texts: there is no caption without a picture"),
        ({"data.kind": "features"}, "expected a file of features"),
        ({"data.height": 2}, "less than a region of this encoder"),
        ({"model.encoder_options": {"x": 1}}, "model.encoder_options: resnet does not take"),
        ({"model.attention": "loving"}, "model.attention: expected one of"),
        ({"model.attention": None, "model.attention_options.size": 3}, "model.attention_options: needs"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    files = write_images(tmp_path, 6)
    with pytest.raises((ConfigError, DataError), match=told):
        train("captioning", list(files), tmp_path / "run", SETTINGS | settings)
    assert not (tmp_path / "run").exists()


def test_two_files_are_expected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected two files"):
        train("captioning", [tmp_path], tmp_path / "run", SETTINGS)


def test_pictures_that_changed_are_noticed(tmp_path: Path) -> None:
    files = write_images(tmp_path, 6)
    train("captioning", list(files), tmp_path / "run", SETTINGS | {"train.updates": 2, "train.save_every": 1})
    Image.fromarray(picture(9)).save(files[0] / "03.png")
    with pytest.raises(DataError, match="has changed since the run began"):
        train("captioning", [], tmp_path / "run", resume=True)
