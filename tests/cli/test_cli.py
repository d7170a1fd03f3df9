"""The command line: the same work as from Python, and one clear line with status 2 for what can be mended."""

import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import elman
from elman.cli.common import say, say_json, say_table
from elman.errors import ConfigError, DataError
from elman.tasks import TASKS, find_task
from elman.tasks.config import make_config, settings_table
from elman.tasks.language_predictor import LanguagePredictor

ROOT = Path(__file__).resolve().parents[2]
TEXT = "the cat sits on the mat. the cats sit on the mats.\n" * 40
TINY = [
    "-s",
    "model.hidden=12",
    "-s",
    "train.batch=4",
    "-s",
    "train.window=16",
    "-s",
    "train.evaluate_every=6",
]

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, trained by the command itself in a process of its own."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "text.txt").write_text(TEXT)
    arguments = ["train", "language-model", "text.txt", "-o", "run", *TINY, "-s", "train.updates=12"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "elman", *arguments], cwd=folder, env=environment, check=True)
    return folder / "run"


def load(run: Path) -> LanguagePredictor:
    model = elman.load(run)
    assert isinstance(model, LanguagePredictor)
    return model


def one_line(result: tuple[int, str, str], *parts: str) -> None:
    """The result is a complaint of one line that holds all `parts`, and exit status 2."""
    status, out, err = result
    assert status == 2
    assert out == ""
    assert "Traceback" not in err
    complaint = [line for line in err.splitlines() if line.startswith("elman: ")]
    assert len(complaint) == 1
    for part in parts:
        assert part in complaint[0]


def test_generate_says_the_same_as_python(trained: Path, command: Command) -> None:
    model = load(trained)
    made = model.generate("the cat", length=30, temperature=0.7, top_k=5, seed=4)
    arguments = (
        "generate",
        trained,
        "--prompt",
        "the cat",
        "--length",
        30,
        "--temperature",
        0.7,
        "--top-k",
        5,
    )
    status, out, _ = command(*arguments, "--seed", 4)
    assert (status, out) == (0, "the cat" + made.text + "\n")
    status, out, _ = command(*arguments, "--seed", 4, "--json")
    assert json.loads(out)["ids"] == list(made.ids)


def test_stop_ends_a_text_at_a_lines_end(trained: Path, command: Command) -> None:
    _, free, _ = command("generate", trained, "--length", 300, "--seed", 1)
    _, stopped, _ = command("generate", trained, "--length", 300, "--seed", 1, "--stop", "\\n")
    assert "\n" in free[:-1]
    assert stopped == free[: free.index("\n") + 1] + "\n"


def test_predict_ranks_and_reads_standard_input(
    trained: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["the cat sits", "eht tac stis"]
    status, out, _ = command("predict", trained, *texts, "--json")
    rows = json.loads(out)
    scores = [load(trained).score(text).log_prob for text in texts]
    assert status == 0
    assert [row["log_prob"] for row in rows] == scores
    assert [row["rank"] for row in rows] == ([1, 2] if scores[0] > scores[1] else [2, 1])
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(texts) + "\n"))
    assert json.loads(command("predict", trained, "--json")[1]) == rows


def test_completions_are_pythons(trained: Path, command: Command) -> None:
    found = load(trained).complete("the ca", best=3, length=6)
    _, out, _ = command("generate", trained, "--prompt", "the ca", "--best", 3, "--length", 6, "--json")
    assert json.loads(out) == [{"text": item.text, "log_prob": item.log_prob} for item in found]


def test_evaluate_equals_python(trained: Path, command: Command, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("the mats sit on the cats.\n" * 5)
    for files in ([], [other]):
        status, out, _ = command("evaluate", trained, *files, "--json")
        assert status == 0
        assert json.loads(out) == elman.evaluate(trained, files)


OWN = """
import torch
from elman import Cell

class Readable(Cell):
    def initial_state(self, batch_size):
        return self.zeros(batch_size, self.hidden_size)

    def step(self, x, state, record=None):
        h = torch.tanh(x.mean(-1, keepdim=True) + state)
        return h, h

class Odd(Readable):
    def step(self, x, state, record=None):
        return torch.cumsum(state, -1), state
"""


def test_doctor_shows_how_a_cell_is_computed(command: Command, tmp_path: Path) -> None:
    status, out, _ = command("doctor", "--cell", "lstm", "--json")
    content = json.loads(out)
    assert (status, content["path"], content["native engine"]) == (0, "native", "can run it")
    assert any("forward, stage 1 of 1" in line for line in content["program"])
    assert sum("= sigmoid(" in line for line in content["program"]) == 3
    path = tmp_path / "own.py"
    path.write_text(OWN)
    status, out, _ = command("doctor", "--cell", "lstm+additive", "--json")
    assert (status, json.loads(out)["path"]) == (0, "native")
    assert any("sees of its memory" in line for line in json.loads(out)["program"])
    status, out, _ = command("doctor", "--cell", f"{path}:Readable", "--json")
    assert json.loads(out)["path"] == "native"
    assert any("sum over units" in line for line in json.loads(out)["program"])
    status, out, _ = command("doctor", "--cell", f"{path}:Odd", "--json")
    assert "uses torch's cumsum (own.py, line 15: return torch.cumsum(state, -1), state)" in out
    assert json.loads(out)["path"] == "reference"
    assert json.loads(out)["program"] == []
    status, _, complaint = command("doctor", "--cell", "lsmt")
    assert status == 2
    assert "--cell: expected one of elman, gru, lstm, layer_norm_lstm, one of them that attends" in complaint
    assert "or FILE:CLASS, got 'lsmt'" in complaint


def test_info_plot_settings_and_doctor(trained: Path, command: Command, tmp_path: Path) -> None:
    status, out, _ = command("info", trained, "--json")
    content = json.loads(out)
    assert (status, content["updates"], content["of"], content["task"]) == (0, 12, 12, "language-model")
    status, out, _ = command("plot", trained, "--text", "the cat", "-o", tmp_path)
    assert status == 0
    assert [Path(line).name for line in out.split()] == [
        "learning.svg", "learning.png", "surprisal.svg", "surprisal.png",
    ]  # fmt: skip
    assert all(Path(line).stat().st_size > 1000 for line in out.split())
    status, out, _ = command("doctor", "--json")
    assert status == 0
    assert {row["cell"] for row in json.loads(out)["cells"]} >= {
        "elman",
        "lstm",
        "gru",
        "lstm peepholes=True",
    }
    assert "model.hidden" in command("settings", "language-model")[1]


@pytest.mark.parametrize("task", ["language-model", "translation", "dialogue"])
def test_the_document_has_the_settings(task: str) -> None:
    document = (ROOT / "docs" / f"{task}.md").read_text()
    rows = settings_table(TASKS[task])
    table = [f"| `{key}` | {default} | {meaning.replace('|', '/')} |" for key, default, meaning in rows]
    begin, end = "<!-- settings: begin -->\n", "<!-- settings: end -->"
    shown = document[document.index(begin) + len(begin) : document.index(end)]
    assert shown.splitlines() == ["| setting | default | meaning |", "|---|---|---|", *table]


def test_a_resumed_run_that_is_finished_says_so(trained: Path, command: Command) -> None:
    status, _, err = command("train", "language-model", "-o", trained, "--resume")
    assert status == 0
    assert "finished after 12 updates" in err


def test_own_cell_is_run_only_when_the_user_names_it(tmp_path: Path, command: Command) -> None:
    text, code, run = tmp_path / "text.txt", tmp_path / "leaky.py", tmp_path / "run"
    text.write_text(TEXT)
    document = (ROOT / "docs" / "language-model.md").read_text()
    begin = document.index("# leaky.py")
    code.write_text(document[begin : document.index("```", begin)])  # the document's own example
    own = f"{code}:LeakyCell"
    steps = ["-s", "train.updates=2"]
    assert (
        command("train", "language-model", text, "-o", run, *TINY, *steps, "-s", f"model.cell={own}")[0] == 0
    )
    one_line(command("generate", run), "--cell FILE:CLASS", "leaky.py:LeakyCell")
    assert command("generate", run, "--cell", own, "--length", 5)[0] == 0
    one_line(command("generate", run, "--cell", f"{code}:Nothing"), "leaky.py", "LeakyCell")
    one_line(command("generate", run, "--cell", "nowhere.py:X"), "nowhere.py:X")
    toml = tmp_path / "settings.toml"
    toml.write_text(f'[model]\ncell = "{own}"\n')
    one_line(
        command("train", "language-model", text, "-o", tmp_path / "b", "-c", toml),
        "settings.toml",
        "-s model.cell=",
    )
    assert not (tmp_path / "b").exists()


def test_complaints_name_what_is_wrong(tmp_path: Path, trained: Path, command: Command) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    new = tmp_path / "new"

    def train(*arguments: object) -> tuple[int, str, str]:
        return command("train", *arguments, "-o", new)

    one_line(train("language-model", tmp_path / "missing.txt"), "missing.txt", "no such file")
    one_line(train("language-model", tmp_path), str(tmp_path), "folder")
    one_line(train("language-model"), "at least one file")
    one_line(train("tagging", text), "tagging", "language-model")
    (tmp_path / "empty.txt").write_bytes(b"")
    one_line(train("language-model", tmp_path / "empty.txt"), "empty.txt", "empty")
    (tmp_path / "latin.txt").write_bytes("a\ncafé".encode("latin-1"))
    one_line(
        train("language-model", tmp_path / "latin.txt"), "latin.txt", "line 2", "offset 5", "data.unit=bytes"
    )
    (tmp_path / "binary.txt").write_bytes(b"abc\0def")
    one_line(train("language-model", tmp_path / "binary.txt"), "binary.txt", "NUL", "offset 3")
    (tmp_path / "short.txt").write_text("short")
    one_line(train("language-model", tmp_path / "short.txt"), "129", "train.window")
    one_line(train("language-model", text, "-s", "model.hiden=3"), "model.hiden", "model.hidden")
    one_line(train("language-model", text, "-s", "model.hidden"), "key=value")
    one_line(train("language-model", text, "-s", "model.hidden=200000"), "GiB", "model.hidden")
    one_line(train("language-model", text, "--preset", "max"), "max", "min-char-rnn")
    one_line(train("language-model", text, "--minutes", 0), "minutes")
    one_line(train("language-model", text, "--resume"), "no such run folder")
    assert not new.exists()
    one_line(command("train", "language-model", text, "-o", trained), "already exists", "--resume")
    one_line(command("generate", trained, "--prompt", "caté"), "line 1, column 4", "'é'")
    one_line(command("generate", trained, "--temperature", -1), "temperature")
    one_line(command("evaluate", tmp_path), str(tmp_path), "not a run")
    one_line(command("evaluate", trained, "--checkpoint", "update-1"), "update-1", "update-00000012")


def test_a_damaged_run_is_named(trained: Path, tmp_path: Path, command: Command) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    weights = run / "checkpoints" / "update-00000012" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    one_line(command("generate", run, "--checkpoint", "newest"), str(weights), "checksum", "update-00000006")
    assert command("generate", run, "--checkpoint", "update-00000006", "--length", 3)[0] == 0


def test_a_reader_that_leaves_is_no_error(trained: Path) -> None:
    program = f"{sys.executable} -m elman generate {trained} --length 3000 | head -c 20"
    done = subprocess.run(program, shell=True, capture_output=True, text=True, check=True)
    assert len(done.stdout) == 20
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_what_is_no_number_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"distinct_1": math.nan, "rows": [(math.inf, 1.5), {"x": "NaN"}], "none": None})
    wanted = {"distinct_1": None, "rows": [[None, 1.5], {"x": "NaN"}], "none": None}
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == wanted


def test_a_single_file_needs_no_list(tmp_path: Path) -> None:
    settings = {"data.valid_files": "b.txt"}
    config: Any = make_config(find_task("language-model"), settings)
    assert config.data.valid_files == ("b.txt",)
    with pytest.raises(ConfigError, match=r"data\.valid_files"):
        make_config(find_task("language-model"), {"data.valid_files": 3})


def test_a_full_standard_output_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(DataError, match="standard output: cannot be written: No space left on device"):
            say("a result")
        say("and nothing is tried again at the end")
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(DataError, match="No space left"):
            say_table(["a", "table"], [(1, 2)])
