"""Run folders that were damaged, mixed up or forged: every file, every way, and what is said of it.

A damaged or foreign file is an error that names it; nothing but an ElmanError ever comes out, and never a
content that was not written. Forged means that the checksums are right: then the content itself is refused.
"""

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import elman
from elman.errors import ElmanError, RunError
from elman.runs import Run
from elman.storage import write_manifest
from small_runs import PLAIN, resume_small, train_small, write_text

PARTS = ("weights", "optimizer", "carry")
FILES = (
    "weights.safetensors",
    "optimizer.safetensors",
    "carry.safetensors",
    "progress.json",
    "manifest.json",
)


@pytest.fixture(autouse=True)
def _no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing is for power cuts, which nothing here makes; on a busy disk it takes most of the time."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def trained(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; its checkpoints are those after updates 3 (the best), 4 and 6, or 4 and 6."""
    path = tmp_path_factory.mktemp("trained") / "run"
    train_small(text, path, PLAIN)
    return path


@pytest.fixture(scope="module")
def another(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the same sizes with other weights."""
    path = tmp_path_factory.mktemp("another") / "run"
    train_small(text, path, {**PLAIN, "train.seed": 9})
    return path


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


NEWEST = "checkpoints/update-00000006/"
EVERY_FILE = ["run.json", "codec.json", "manifest.json", *(NEWEST + name for name in FILES)]


def damages(path: Path, foreign: Path) -> Iterator[str]:
    """Damages the file in one way after the other, and tells which; it is put right again in between."""
    whole = path.read_bytes()
    contents: dict[str, bytes | None] = {
        "emptied": b"", "halved": whole[: len(whole) // 2], "short of a byte": whole[:-1],
        "longer": whole + b" ",
        "zeroed": bytes(len(whole)), "removed": None, "of another run": foreign.read_bytes(),
        "another JSON": b'{"a": [1, 2]}', "a JSON list": b"[]", "a JSON number": b"7",
        "deep JSON": b"[" * 100_000,
        "a pickle": b"\x80\x04\x95\x00\x00.", "a huge header": struct.pack("<Q", 1 << 62) + whole[8:],
        "another safetensors": safetensors.torch.save({"x": torch.zeros(2)}),
        "a line's end": whole.replace(b"\n", b"\r\n"),
    }  # fmt: skip
    for name, new in contents.items():
        if new == whole:
            continue
        path.unlink()
        if new is not None:
            path.write_bytes(new)
        yield name
        path.unlink(missing_ok=True)
        path.write_bytes(whole)
    path.unlink()
    path.mkdir()
    yield "a folder"
    path.rmdir()
    path.write_bytes(whole)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_every_damage_to_every_file_is_named(name: str, copy: Path, another: Path, text: Path) -> None:
    inside = name.startswith(NEWEST)
    ways = 0
    for way in damages(copy / name, another / name):
        if name.endswith("manifest.json") and way in ("short of a byte", "longer", "a line's end"):
            continue  # the same table with other white space
        ways += 1
        with pytest.raises(RunError) as caught:
            Run(copy).load("newest", PARTS)
        folder = copy / NEWEST if inside else copy
        blamed = [folder / name.removeprefix(NEWEST)]
        if name.endswith(
            "manifest.json"
        ):  # a whole manifest of something else: the first file that is not in it
            blamed += [path for path in folder.iterdir() if path.is_file()]
        assert str(caught.value).startswith(tuple(f"{path}: " for path in blamed)), (way, str(caught.value))
        if way in ("halved", "emptied") and not name.endswith("manifest.json"):
            assert "it is cut off or not the file written" in str(caught.value)
        if inside:
            assert "update-00000004 may be whole: use it by --checkpoint update-00000004" in str(caught.value)
            assert Run(copy).load("update-00000004", PARTS).progress["update"] == 4
            with pytest.raises(RunError):
                elman.load(copy, "newest")
            assert elman.load(copy, "update-00000004").predict(["abc"])
        else:
            with pytest.raises(RunError):
                elman.load(copy)
        with pytest.raises(RunError):
            resume_small(text, copy)
    assert ways >= 13
    assert resume_small(text, copy).reason == "finished", "it was the damage and nothing else"


def everything(run: Path) -> Any:
    """All that can be read of a run, to be compared."""
    found = Run(run).load("newest", PARTS)
    tensors = {part: {k: v.tolist() for k, v in tensors.items()} for part, tensors in found.tensors.items()}
    return Run(run).description, Run(run).codec, found.progress, tensors


@settings(max_examples=300)
@given(data=st.data())
def test_a_flipped_bit_is_found_or_changes_nothing(data: st.DataObject, trained: Path) -> None:
    path = trained / data.draw(st.sampled_from(EVERY_FILE))
    whole, before = path.read_bytes(), everything(trained)
    position = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(flipped)
    try:
        found = everything(trained)
    except RunError as error:
        found = str(error)
    finally:
        path.write_bytes(whole)
    if isinstance(found, str):
        assert found.startswith(str(path.parent))
    else:
        assert (found, path.name) == (before, "manifest.json"), "in its white space"


@settings(max_examples=300)
@given(data=st.data())
def test_a_flipped_bit_in_the_records_is_named_or_gives_records(data: st.DataObject, trained: Path) -> None:
    """They have no checksum, for they grow; what can be read is still of the right form."""
    path = trained / "metrics.jsonl"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(flipped)
    try:
        found = Run(trained).records()
        assert Run(trained).load("best").path in Run(trained).checkpoints()
    except RunError as error:
        found = str(error)
    finally:
        path.write_bytes(whole)
    if isinstance(found, str):
        assert found.startswith(f"{path}: line ")
    else:
        assert all(r["kind"] in ("train", "valid") and isinstance(r["update"], int) for r in found)


def test_the_checkpoint_of_another_run_is_refused(copy: Path, another: Path, text: Path) -> None:
    """Whole, of the right names and shapes, and not this run's."""
    shutil.rmtree(copy / NEWEST)
    shutil.copytree(another / NEWEST, copy / NEWEST)
    with pytest.raises(
        RunError, match=r"update-00000006/manifest.json: .*another run.*update-00000004 may be whole"
    ):
        elman.load(copy, "newest")
    with pytest.raises(RunError, match="another run"):
        resume_small(text, copy)


def test_a_checkpoint_under_another_name_is_refused(copy: Path, text: Path) -> None:
    (copy / NEWEST).rename(copy / "checkpoints" / "update-00000005")
    with pytest.raises(RunError, match=r"update-00000005/progress.json: it tells of update 6"):
        resume_small(text, copy)


# A run folder that was made to deceive: every checksum is right


def forge(path: Path, new: Any) -> None:
    """Puts this content (JSON, tensors or bytes) into a file of a run, and its checksum into the manifest."""
    if isinstance(new, bytes):
        path.write_bytes(new)
    elif path.suffix == ".safetensors":
        path.write_bytes(safetensors.torch.save(new))
    else:
        path.write_text(json.dumps(new), "utf-8")
    manifest = json.loads((path.parent / "manifest.json").read_text())
    kept = {name: (path.parent / name).read_bytes() for name in manifest["files"]}
    shadow = path.parent / "shadow"
    shadow.mkdir()
    for name, whole in kept.items():
        (shadow / name).write_bytes(whole)
    write_manifest(shadow)
    made = json.loads((shadow / "manifest.json").read_text())["files"]
    (path.parent / "manifest.json").write_text(json.dumps({**manifest, "files": made}))
    shutil.rmtree(shadow)
    if path.name == "run.json":
        for other in path.parent.glob("checkpoints/*/manifest.json"):
            other.write_text(json.dumps({**json.loads(other.read_text()), "run": made["run.json"]["sha256"]}))


def test_a_forgery_that_changes_nothing_passes(copy: Path, text: Path) -> None:
    """So that the refusals below are of what was changed."""
    forge(copy / "run.json", Run(copy).description)
    forge(copy / NEWEST / "weights.safetensors", Run(copy).load("newest").tensors["weights"])
    assert elman.load(copy, "newest").predict(["abc"])
    assert resume_small(text, copy).reason == "finished"


@pytest.mark.parametrize(
    "name",
    [
        "../run.json",
        "..",
        ".",
        "",
        "/etc/hostname",
        "a/b.json",
        "weights.safetensors/",
        "x\0.json",
        "\ud800.json",
        "x.py",
    ],
)
def test_a_manifest_that_leads_elsewhere_is_refused(name: str, copy: Path) -> None:
    path = copy / NEWEST / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = manifest["files"]["progress.json"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"update-00000006/manifest.json: the entry .* is damaged"):
        Run(copy).load("newest")


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"files": None},
        {"files": []},
        {"files": {}},
        {"files": {"run.json": 1, "codec.json": 1}},
        [],
        None,
    ],
)
def test_a_manifest_that_vouches_for_nothing_is_refused(entries: Any, copy: Path) -> None:
    for folder in (copy, copy / NEWEST):
        whole = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text(json.dumps(entries))
        with pytest.raises(RunError, match=r"manifest.json: "):
            Run(copy).load("newest", PARTS)
        (folder / "manifest.json").write_text(whole)


def test_a_part_that_the_manifest_leaves_out_is_refused(copy: Path) -> None:
    path = copy / NEWEST / "manifest.json"
    for part in PARTS:
        manifest = json.loads(path.read_text())
        del manifest["files"][f"{part}.safetensors"]
        path.write_text(json.dumps(manifest))
        with pytest.raises(RunError, match=rf"manifest.json: it does not name {part}.safetensors"):
            Run(copy).load("newest", (part,))


def header(entries: Any, data: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


WEIGHTS: dict[str, Any] = {
    "none": {},
    "foreign names": {"x": torch.zeros(2)},
    "not safetensors": b"hello",
    "nothing": b"",
    "a pickle": b"\x80\x04\x95\x00\x00.",
    "a huge header": struct.pack("<Q", 1 << 62),
    "a long header": struct.pack("<Q", 1 << 40) + b"{}",
    "a header that is no JSON": struct.pack("<Q", 4) + b"{{{{",
    "a header of another shape": header([1, 2]),
    "a type that torch has not": header({"x": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, b"\0"),
    "a type that nobody has": header({"x": {"dtype": "Q7", "shape": [2], "data_offsets": [0, 1]}}, b"\0"),
    "sizes past counting": header({"x": {"dtype": "F32", "shape": [1 << 62] * 2, "data_offsets": [0, 0]}}),
    "too little data": header({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, b"\0" * 8),
    "too much data": header({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 8),
    "offsets past the end": header({"x": {"dtype": "F32", "shape": [1], "data_offsets": [96, 100]}}),
}  # fmt: skip


@pytest.mark.parametrize("way", WEIGHTS)
def test_forged_tensors(way: str, copy: Path, text: Path) -> None:
    forge(copy / NEWEST / "weights.safetensors", WEIGHTS[way])
    for read in (lambda: elman.load(copy, "newest"), lambda: resume_small(text, copy)):
        with pytest.raises(RunError, match=r"update-00000006/weights.safetensors: "):
            read()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("way", ["a name more", "another shape", "another type"])
def test_forged_parts(way: str, part: str, copy: Path, text: Path) -> None:
    tensors = dict(Run(copy).load("newest", (part,)).tensors[part])
    name = next(name for name, values in tensors.items() if values.dim())
    if way == "a name more":
        tensors["exp_avg/other"] = tensors[name].clone()
    elif way == "another shape":
        tensors[name] = torch.zeros(*tensors[name].shape, 2)
    else:
        tensors[name] = tensors[name].double()
    forge(copy / NEWEST / f"{part}.safetensors", tensors)
    with pytest.raises(
        RunError, match=rf"update-00000006/{part}.safetensors: '.*the file is not of this run"
    ):
        resume_small(text, copy)


@pytest.mark.parametrize(
    "progress", [None, [], 6, {}, {"update": "6"}, {"update": 7}, {"update": 6, "speed": 1}]
)
def test_forged_progress(progress: Any, copy: Path, text: Path) -> None:
    forge(copy / NEWEST / "progress.json", progress)
    with pytest.raises(RunError, match=r"update-00000006/progress.json: "):
        resume_small(text, copy)


def changed(tree: Any, keys: str, new: Any) -> Any:
    """A JSON tree with one value replaced, or removed where `new` is None."""
    key, _, rest = keys.partition(".")
    if not rest:
        return {k: v for k, v in tree.items() if k != key} | ({} if new is None else {key: new})
    return {**tree, key: changed(tree[key], rest, new)}


@pytest.mark.parametrize(
    ("keys", "new", "said"),
    [
        ("format", 2, "format 2, this version of elman reads 1"),
        ("format", None, "format None"),
        ("task", "tagger", "expected one of language-model, .*got 'tagger'"),
        ("task", ["os"], "expected one of language-model"),
        ("task", None, "'task' is missing"),
        ("config", None, "'config' is missing"),
        ("config", [], "run.json"),
        ("config.model.cell", "transformer", "model.cell: expected one of elman, gru, .*got 'transformer'"),
        ("config.model.hidden", -1, "config.*run.json|run.json.*model.hidden"),
        ("config.model.hidden", "six", "model.hidden"),
        ("config.model.depth", 2, "unknown key 'model.depth'"),
        ("config.model.options", {"nonlinearity": ["os", "system"]}, "nonlinearity|model.options"),
        ("config.model.options", {"input_size": 3}, "model.options"),
        ("config.model.options", {"colour": 3}, "model.options: ElmanCell does not take"),
        ("files", None, "'files' is missing"),
        ("files", {}, "expected a list of path, size and sha256 under 'files'"),
        ("files", [1], "expected a list of path, size and sha256 under 'files'"),
        ("files", [{"path": 3, "size": 1, "sha256": ""}], "expected a list of path, size and sha256"),
    ],
)  # fmt: skip
def test_a_forged_description(keys: str, new: Any, said: str, copy: Path, text: Path) -> None:
    forge(copy / "run.json", changed(Run(copy).description, keys, new))
    for read in (lambda: elman.load(copy, "newest"), lambda: resume_small(text, copy)):
        with pytest.raises(ElmanError, match=said):
            read()


@pytest.mark.parametrize("description", [[], None, "run", 1])
def test_a_description_that_is_no_table(description: Any, copy: Path) -> None:
    forge(copy / "run.json", description)
    with pytest.raises(RunError, match=r"run.json: format None"):
        Run(copy)


@pytest.mark.parametrize(
    "codec",
    [None, [], {}, {"unit": "os"}, {"unit": ["bytes"]}, {"unit": "characters"},
     {"unit": "characters", "symbols": "abc"}, {"unit": "characters", "symbols": [1, 2]},
     {"unit": "characters", "symbols": ["a"]}],
)  # fmt: skip
def test_a_forged_codec(codec: Any, copy: Path, text: Path) -> None:
    forge(copy / "codec.json", codec)
    for read in (lambda: elman.load(copy, "newest"), lambda: resume_small(text, copy)):
        with pytest.raises(ElmanError):
            read()


def test_code_that_a_run_folder_names_is_not_run(copy: Path, text: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(
        f"open({str(tmp_path / 'harm')!r}, 'w')\nfrom elman.cells import ElmanCell as Cell\n"
    )
    forge(
        copy / "run.json", changed(Run(copy).description, "config.model.cell", f"{tmp_path / 'evil.py'}:Cell")
    )
    for read in (lambda: elman.load(copy, "newest"), lambda: resume_small(text, copy)):
        with pytest.raises(ElmanError, match="a cell of your own must be given anew"):
            read()
    assert not (tmp_path / "harm").exists()


def test_a_run_holds_tensors_and_json_alone(trained: Path) -> None:
    for path in trained.rglob("*"):
        if path.is_dir():
            continue
        assert path.stat().st_mode & 0o111 == 0, f"{path} can be executed"
        whole = path.read_bytes()
        if path.suffix == ".safetensors":
            (length,) = struct.unpack("<Q", whole[:8])
            table = json.loads(whole[8 : 8 + length])
            ends = [entry["data_offsets"][1] for entry in table.values()]
            assert max(ends, default=0) == len(whole) - 8 - length, "nothing is hidden behind the tensors"
        elif path.suffix == ".jsonl":
            assert all(isinstance(json.loads(line), dict) for line in whole.splitlines())
        elif path.suffix == ".json":
            json.loads(whole)
        else:
            assert (path.name, whole) == ("lock", b"")
