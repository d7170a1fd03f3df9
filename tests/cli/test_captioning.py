"""The command line of captioning, as a user types it."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

import elman
from caption_files import SETTINGS, write_images
from elman.train import train

Command = Callable[..., tuple[int, str, str]]
OPTIONS = [f"-s{key}={json.dumps(value)}" for key, value in SETTINGS.items() if not isinstance(value, dict)]
OPTIONS += ["-smodel.encoder_options={widths = [8, 16], blocks = [1, 1]}"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images with captions, and a run that has learnt next to nothing."""
    folder = tmp_path_factory.mktemp("captioning")
    train("captioning", list(write_images(folder, 12)), folder / "run", SETTINGS)
    return folder


def test_two_files_train_a_run(tmp_path: Path, command: Command) -> None:
    files = write_images(tmp_path, 12)
    status, out, told = command("train", "captioning", *files, "-o", tmp_path / "run", *OPTIONS)
    assert (status, out) == (0, "")
    assert "10 pictures with 20 captions for training, 2 for validation" in told
    assert "valid: nats " in told
    status, _, told = command("train", "captioning", "-o", tmp_path / "run", "--resume")
    assert (status, "finished after 4 updates" in told) == (0, True)


def test_a_row_for_each_image(made: Path, command: Command) -> None:
    images = [made / "images" / name for name in ("00.png", "07.png")]
    wanted = [row["text"] for row in elman.load(made / "run").predict([str(image) for image in images])]
    status, out, _ = command("predict", made / "run", *images, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (status, [row["text"] for row in rows]) == (0, wanted)
    assert [row["picture"] for row in rows] == [str(image) for image in images]
    lines = command("predict", made / "run", *images)[1].splitlines()
    assert lines == [f"{image}\t{text}" for image, text in zip(images, wanted, strict=True)]


def test_captions_are_searched_and_drawn_as_translations_are(
    made: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, model = [made / "images" / name for name in ("00.png", "07.png")], elman.load(made / "run")
    status, out, _ = command("predict", made / "run", *images, "--best", 2, "--beam", 4, "--alpha", 0.3)
    rows = model.predict([str(image) for image in images], 2, beam=4, alpha=0.3)  # pyrefly: ignore
    told = [f"{r['picture']}\t{one['score']:.4f}\t{one['text']}" for r in rows for one in r["alternatives"]]
    assert (status, out.splitlines()) == (0, told)
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{image}\n" for image in images)))
    drawn = ("--temperature", 1.5, "--seed", 3)
    _, out, _ = command("predict", made / "run", "--batch", 1, *drawn)
    assert out == command("predict", made / "run", *images, *drawn)[1], "a draw does not depend on batches"
    assert out != command("predict", made / "run", *images, "--temperature", 1.5, "--seed", 4)[1]
    _, out, _ = command("predict", made / "run", images[0], "--prefix", "a light at")
    assert out.startswith(f"{images[0]}\ta light at")
    for option in ("--stream", "--replace-unknown", "--alignment"):
        status, out, complaint = command("predict", made / "run", images[0], option)
        assert (status, out) == (2, "")
        assert complaint.startswith(f"elman: {option}: for models that read a text")
    status, _, complaint = command("predict", made / "run", images[0], *drawn, "--beam", 2)
    assert (status, complaint.startswith("elman: beam: of a search")) == (2, True)


def test_figures_of_named_pictures(made: Path, command: Command) -> None:
    pytest.importorskip("sacrebleu", reason="needs elman[translation]")
    (made / "list.txt").write_text("03.png\n05.png\n")
    files = made / "images", made / "captions.tsv", made / "list.txt"
    figures = json.loads(command("evaluate", made / "run", *files, "--json")[1])
    assert figures["captioned"] == 2
    assert figures["bleu_signature"].startswith("nrefs:")
    table = command("evaluate", made / "run", *files, "-s", "search.beam=1")[1]
    assert "cider_d" in table.replace(" d ", "_d ")


def test_an_evaluation_may_leave_out_what_training_refused(
    made: Path, tmp_path: Path, command: Command
) -> None:
    pytest.importorskip("sacrebleu", reason="needs elman[translation]")
    images, captions = write_images(tmp_path, 4)
    captions.write_text(captions.read_text() + "02.png A light\n")
    status, _, told = command("evaluate", made / "run", images, captions)
    assert (status, "set data.skip=true" in told) == (2, True)
    status, out, _ = command("evaluate", made / "run", images, captions, "-s", "data.skip=true", "--json")
    assert (status, json.loads(out)["left_out"]) == (0, "left out: 1 captions without a tab")
    status, _, told = command("evaluate", made / "run", images, captions, "-s", "data.height=8")
    assert (status, "only those of search, data.skip, data.missing" in told) == (2, True)


def test_curves_and_looks_are_drawn(made: Path, tmp_path: Path, command: Command) -> None:
    image = made / "images" / "03.png"
    status, said, _ = command("plot", made / "run", "--image", image, "-o", tmp_path)
    assert status == 0
    assert said.split()
    for path in map(Path, said.split()):
        assert path.parent == tmp_path
        assert path.stat().st_size > 1000


def huge(path: Path) -> None:
    """A PNG of a few bytes whose header says 6000 x 5000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 6000, 5000, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )


BAD: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "unreadable": (lambda images, captions: (images / "03.png").write_bytes(b"no image"), "03.png: "),
    "truncated": (
        lambda images, captions: (images / "03.png").write_bytes((images / "02.png").read_bytes()[:60]),
        "03.png: ",
    ),
    "huge": (lambda images, captions: huge(images / "03.png"), "03.png: 6000 x 5000 pixels"),
    "missing image": (
        lambda images, captions: (images / "03.png").unlink(),
        "captions.tsv: line 8: a caption for '03.png'",
    ),
    "missing tab": (lambda images, captions: captions.write_text("00.png A light\n"), "line 1: 0 tabs"),
    "empty caption": (lambda images, captions: captions.write_text("00.png\t \n"), "line 1: "),
    "no caption": (lambda images, captions: huge(images / "x.png"), "for 'x.png'"),
    "too long": (
        lambda images, captions: captions.write_text(captions.read_text() + f"00.png\t{'a ' * 61}\n"),
        "captions.tsv: line 26: the caption has 61 words, at most 60",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_one_line(tmp_path: Path, command: Command, name: str) -> None:
    change, wanted = BAD[name]
    files = write_images(tmp_path, 12)
    change(*files)
    status, out, told = command("train", "captioning", *files, "-o", tmp_path / "run", *OPTIONS)
    assert (status, out) == (2, "")
    assert wanted in told
    assert told.startswith("elman: ")
    assert told.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["unreadable", "huge", "gone"])
def test_what_cannot_be_captioned_is_one_line(
    made: Path, tmp_path: Path, command: Command, name: str
) -> None:
    image = tmp_path / f"{name}.png"
    if name == "huge":
        huge(image)
    elif name == "unreadable":
        image.write_bytes(b"no image")
    status, out, told = command("predict", made / "run", image)
    assert (status, out) == (2, "")
    assert f"{name}.png: " in told
    assert told.count("\n") == 1
