"""The command line of translation, as a user types it."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from elman.predict import load
from elman.tasks.sequence_data import SequenceData
from elman.tasks.sequence_search import Search
from elman.tasks.sequence_task import SequenceTask
from elman.train import train
from pair_files import SETTINGS, made_pairs, write_aligned, write_table

pytest.importorskip("sacrebleu", reason="needs elman[translation]")

Command = Callable[..., tuple[int, str, str]]
SOURCES = [source for source, _ in made_pairs(5, 8)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt nothing worth mentioning."""
    folder = tmp_path_factory.mktemp("translation")
    train("translation", write_aligned(folder, made_pairs(40)), folder / "run", SETTINGS)
    return folder / "run"


class TestTraining:
    def test_two_files_train_a_run_that_is_told_about(self, tmp_path: Path, command: Command) -> None:
        files = write_aligned(tmp_path, made_pairs(40))
        settings = [f"-s{key}={json.dumps(value)}" for key, value in SETTINGS.items()]
        status, out, told = command("train", "translation", *files, "-o", tmp_path / "run", *settings)
        assert (status, out) == (0, "")
        assert "32 pairs for training, 8 for validation, 12 + 12 words; an epoch is " in told
        assert "valid: nats " in told
        assert "bleu " in told
        status, out, _ = command("info", tmp_path / "run", "--json")
        assert (status, json.loads(out)["task"], json.loads(out)["updates"]) == (0, "translation", 14)

    def test_what_is_wrong_is_one_line(self, tmp_path: Path, command: Command) -> None:
        left, right = write_aligned(tmp_path, made_pairs(9))
        Path(left).write_text("ein\n" * 8, "utf-8")
        status, out, told = command("train", "translation", left, right, "-o", tmp_path / "run")
        assert (status, out) == (2, "")
        assert f"train.de has 8 lines and {right} 9, expected as many" in told
        assert "line 9" in told
        assert told.count("\n") == 1
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("rows", "wanted"),
        [
            ("ein\ta\nein a\n", "pairs.tsv: line 2: "),
            ("ein\ta\n\ta\n", "pairs.tsv: line 2: the source is empty"),
            (f"ein\ta\n{'ein ' * 201}\ta\n", "pairs.tsv: line 2: the source has 201 words, at most 200"),
            (f"ein\ta\nein\t{'a ' * 300}\n", "pairs.tsv: line 2: the target has 300 words, at most 200"),
            (b"ein\ta\n\xff\xfe\tb\n", "pairs.tsv: line 2"),
        ],
    )
    def test_a_bad_row_is_one_line(
        self, tmp_path: Path, command: Command, rows: str | bytes, wanted: str
    ) -> None:
        path = tmp_path / "pairs.tsv"
        path.write_bytes(rows if isinstance(rows, bytes) else rows.encode())
        few = ["-sdata.unit=words", "-sdata.valid_fraction=0", "-strain.updates=1", "-smodel.hidden=4"]
        options = ["-o", tmp_path / "run", *few, "-smodel.embedding=4", "-sbleu_sentences=0"]
        status, out, told = command("train", "translation", path, *options)
        assert (status, out, told.count("\n")) == (2, "", 1)
        assert wanted in told
        status, _, told = command("train", "translation", path, *options, "-sdata.skip=true")
        assert status == 0
        assert "(left out: 1 " in told

    def test_the_settings_are_listed(self, command: Command) -> None:
        rows = json.loads(command("settings", "translation", "--json")[1])
        keys = {row["key"] for row in rows}
        assert {"train.tokens", "train.label_smoothing", "data.vocabulary", "search.beam"} <= keys
        assert "train.batch" not in keys


class TestEvaluation:
    def test_figures_with_their_signatures(self, tmp_path: Path, run: Path, command: Command) -> None:
        files = write_aligned(tmp_path, made_pairs(7, 3))
        figures = json.loads(command("evaluate", run, *files, "--json")[1])
        assert figures["sentences"] == 7
        assert figures["bleu_signature"].startswith("nrefs:1|case:mixed|")
        table = command("evaluate", run, write_table(tmp_path, made_pairs(7, 3)))[1]
        assert figures["chrf_signature"] in table
        assert f"{figures['bleu']:.4f}" in table

    def test_another_search_and_no_other_model(
        self, run: Path, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "unknown key 'search.width'" in command("evaluate", run, "-s", "search.width=9")[2]
        status, _, told = command("evaluate", run, "-s", "model.hidden=9")
        assert status == 2
        assert "model.hidden: a model that is trained keeps its settings" in told
        seen: list[Search] = []

        def write(
            self: SequenceTask, model: object, data: SequenceData, search: Search, progress: object
        ) -> list[str]:
            seen.append(search)
            return list(data.texts)

        monkeypatch.setattr(SequenceTask, "write", write)
        figures = command("evaluate", run, "-s", "search.beam=2", "-s", "search.alpha=0.3", "--json")[1]
        assert seen == [Search(beam=2, alpha=0.3)]
        assert json.loads(figures)["chrf"] == pytest.approx(100)

    def test_what_is_left_out_is_counted(self, tmp_path: Path, command: Command) -> None:
        path = Path(write_table(tmp_path, made_pairs(9)))
        settings = {**SETTINGS, "train.updates": 1, "data.skip": True}
        train("translation", [path], tmp_path / "run", settings)
        path.write_text(path.read_text("utf-8") + "ein a\n\ta\n", "utf-8")
        figures = json.loads(command("evaluate", tmp_path / "run", path, "--json")[1])
        assert figures["sentences"] == 9
        assert figures["left_out"] == "1 with an empty source, 1 without a tab"


class TestPrediction:
    def test_a_line_for_each_input_from_arguments_and_standard_input(
        self, run: Path, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wanted = [one["text"] for one in load(run).predict(SOURCES)]
        assert command("predict", run, *SOURCES)[1].splitlines() == wanted
        for options in ((), ("--batch", 2)):
            monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in SOURCES)))
            assert command("predict", run, *options)[1].splitlines() == wanted

    def test_lines_are_answered_before_more_are_read(
        self, run: Path, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[int] = []
        out = io.StringIO()

        class Watched(io.StringIO):
            def __next__(self) -> str:
                seen.append(out.getvalue().count("\n"))
                return super().__next__()

        monkeypatch.setattr("sys.stdin", Watched("ein\nzwei\nhund\n"))
        monkeypatch.setattr("sys.stdout", out)
        command("predict", run, "--batch", 2)
        assert seen == [0, 0, 2, 2]

    def test_what_comes_before_a_line_that_cannot_be_read_is_answered(
        self, run: Path, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn = ("--temperature", 1.3, "--seed", 2)
        wanted = command("predict", run, *SOURCES[:3], *drawn)[1]
        lines = [*SOURCES[:3], "ein " * 300, SOURCES[4]]
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
        status, out, told = command("predict", run, *drawn)
        assert (status, out) == (2, wanted)
        assert told.startswith("elman: input 4: the text has 300 words")

    def test_alternatives_are_lines_with_scores_or_objects(self, run: Path, command: Command) -> None:
        lines = command("predict", run, SOURCES[0], "--best", 3)[1].splitlines()
        (row,) = map(json.loads, command("predict", run, SOURCES[0], "--best", 3, "--json")[1].splitlines())
        assert [f"{one['score']:.4f}\t{one['text']}" for one in row["alternatives"]] == lines
        shown = json.loads(command("predict", run, SOURCES[0], "--json", "--alignment")[1])
        assert len(shown["alignment"]["weights"]) == len(shown["alignment"]["target"])

    def test_options_reach_the_search(self, run: Path, command: Command) -> None:
        assert command("predict", run, SOURCES[0], "--prefix", "two dog")[1].startswith("two dog")
        streamed = command("predict", run, *SOURCES, "--stream")[1]
        greedy = command("predict", run, *SOURCES, "--temperature", 0)[1]
        assert streamed == greedy
        drawn = [command("predict", run, SOURCES[0], "--top-k", 9, "--seed", n)[1] for n in (1, 1, 2, 3)]
        assert drawn[0] == drawn[1]
        assert len(set(drawn)) > 1

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (["--alignment"], "written with --json only"),
            (["--stream", "--json"], "leave --json, --best and the search out"),
            (["--stream", "--beam", 3], "leave --json, --best and the search out"),
            (["--weights", "int8"], "translation searches with float32 or bfloat16, got int8"),
            (["--prefix", "a", "--temperature", 1], "not on what is drawn"),
            (["--temperature", 1, "--beam", 3], "beam: of a search"),
        ],
    )
    def test_options_that_do_not_fit(
        self, run: Path, command: Command, options: list[object], told: str
    ) -> None:
        status, out, said = command("predict", run, "ein", *options)
        assert (status, out) == (2, "")
        assert told in said

    def test_nothing_on_standard_input(
        self, run: Path, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(""))
        status, _, told = command("predict", run)
        assert (status, told.count("\n")) == (2, 1)
        assert "at least one INPUT" in told
