"""Settings: where they come from, which wins, and what is said of those that are wrong."""

import copy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from elman.errors import ConfigError
from elman.tasks.config import known_keys, make_config, parse_setting, read_toml, settings_table, validate
from elman.tasks.language_model import LanguageModelConfig, LanguageModelTask


def made(settings: dict[str, Any] | None = None, **options: Any) -> LanguageModelConfig:
    config = make_config(LanguageModelTask, settings or {}, **options)
    assert isinstance(config, LanguageModelConfig)
    return config


def toml(folder: Path, text: str, name: str = "config.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


class TestWhichWins:
    def test_defaults(self) -> None:
        assert made() == LanguageModelConfig()

    def test_preset_over_default_file_over_preset_setting_over_file(self, tmp_path: Path) -> None:
        file = toml(tmp_path, "[model]\nhidden = 7\nlayers = 3\n[train]\nwindow = 9\n")
        config = made({"model.layers": 4}, preset="min-char-rnn", file=file)
        assert config.model.layers == 4  # setting, over the file's 3 and the preset's 1
        assert config.model.hidden == 7  # file, over the preset's 100
        assert config.train.window == 9
        assert config.train.learning_rate == 0.1  # preset, over the default
        assert config.data.valid_fraction == LanguageModelConfig().data.valid_fraction

    def test_a_setting_may_be_a_table(self) -> None:
        assert made({"train": {"window": 3}, "train.batch": 5}).train.window == 3

    def test_options_in_a_file_replace_those_of_the_preset(self, tmp_path: Path) -> None:
        file = toml(tmp_path, '[model.options]\nnonlinearity = "relu"\n')
        assert made(preset="min-char-rnn", file=file).model.options == {"nonlinearity": "relu"}

    def test_an_option_may_be_added_and_the_preset_stays_as_it_is(self) -> None:
        before = copy.deepcopy(LanguageModelTask.presets)
        mine = {"model.options": {"bias": True}, "model.options.nonlinearity": "relu"}
        added = made({"model.options.nonlinearity": "relu"}, preset="min-char-rnn")
        assert added.model.options == {"recurrent_bias": False, "nonlinearity": "relu"}
        assert made(mine).model.options == {"bias": True, "nonlinearity": "relu"}
        assert mine["model.options"] == {"bias": True}
        assert LanguageModelTask.presets == before

    def test_none_is_written_as_a_word(self, tmp_path: Path) -> None:
        file = toml(tmp_path, '[train]\nclip_norm = "none"\n[model]\nembedding = 3\n')
        config = made({"model.embedding": "none"}, file=file)
        assert config.train.clip_norm is None
        assert config.model.embedding is None
        with pytest.raises(ConfigError, match=r"train\.updates: .*got 'none'"):
            made({"train.updates": "none"})

    def test_nothing_changes_once_it_is_made(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            made().train.window = 3  # pyrefly: ignore


class TestWrong:
    @pytest.mark.parametrize(
        ("key", "near"),
        [
            ("model.hiden", "model.hidden"),
            ("train.learningrate", "train.learning_rate"),
            ("hidden", "model.hidden"),
            ("model.dropuot", "model.dropout"),
            ("evaluate_windows", "evaluate_window"),
        ],
    )
    def test_unknown_key_with_its_neighbour(self, key: str, near: str) -> None:
        with pytest.raises(ConfigError) as caught:
            made({key: 1})
        assert str(caught.value).startswith(f"settings: unknown key {key!r}; did you mean ")
        assert near in str(caught.value)

    def test_unknown_key_like_no_other(self) -> None:
        with pytest.raises(ConfigError, match=r"unknown key 'zzz'; known are .*model\.hidden.*train\.window"):
            made({"zzz": 1})

    def test_unknown_key_in_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"unknown key 'train\.bacth'; did you mean train\.batch"):
            made(file=toml(tmp_path, "[train]\nbacth = 3\n"))

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            ("model.hidden", "big", "valid integer"),
            ("model.hidden", 2.5, "valid integer"),
            ("model.hidden", 0, "greater than or equal to 1"),
            ("model.dropout", 1.0, "less than 1"),
            ("model.tied", "perhaps", "valid boolean"),
            ("model.options", 3, "valid dictionary"),
            ("data.unit", "syllables", "'bytes', 'characters' or 'words'"),
            ("data.valid_fraction", 1.0, "less than 1"),
            ("train.learning_rate", 0, "greater than 0"),
            ("train.learning_rate", float("nan"), "greater than 0"),
            ("train.optimizer", "lion", "'sgd', 'adagrad', 'adam' or 'adamw'"),
            ("train.momentum", 1, "less than 1"),
            ("train.seed", -1, "greater than or equal to 0"),
            ("train.clip_norm", -1.0, "greater than 0"),
        ],
    )
    def test_values(self, key: str, value: Any, words: str) -> None:
        with pytest.raises(ConfigError) as caught:
            made({key: value})
        message = str(caught.value)
        assert message.startswith(f"settings: {key}: input should be ")
        assert words in message
        assert message.endswith(f", got {value!r}")

    def test_a_part_of_a_value(self) -> None:
        with pytest.raises(ConfigError, match=r"train\.betas\.0: input should be less than 1, got 1\.5"):
            made({"train.betas": [1.5, 0.9]})

    def test_a_value_where_a_table_is_expected(self) -> None:
        with pytest.raises(ConfigError, match=r"settings: model: .*got 5"):
            made({"model": 5})
        with pytest.raises(ConfigError, match=r"train\.window\.x: window is a value, not a table"):
            made({"train.window": 5, "train.window.x": 1})

    def test_everything_that_is_wrong_is_said_at_once(self) -> None:
        with pytest.raises(ConfigError, match=r"model\.hidden.*train\.batch"):
            made({"model.hidden": 0, "train.batch": 0})

    def test_gradients_must_go_back_as_far_as_the_window(self) -> None:
        with pytest.raises(
            ConfigError, match=r"backward \(k2\) must be at least .*window \(k1 = 25\), got 24"
        ):
            made({"train.window": 25, "train.backward": 24})
        assert made({"train.window": 25, "train.backward": 25}).train.backward == 25

    def test_unknown_preset(self) -> None:
        with pytest.raises(ConfigError, match=r"preset: expected one of min-char-rnn, got 'max-char-rnn'"):
            made(preset="max-char-rnn")

    def test_where_the_settings_come_from_is_said(self) -> None:
        with pytest.raises(ConfigError, match=r"^some/run\.json: unknown key 'x'"):
            validate(LanguageModelTask, {"x": 1}, "some/run.json")


class TestFiles:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"no\.toml: no such settings file"):
            read_toml(tmp_path / "no.toml")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
            read_toml(tmp_path)

    def test_not_toml_with_the_line(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"config\.toml: not TOML: .*line 2"):
            read_toml(toml(tmp_path, "[model]\nhidden 5\n"))

    def test_not_text(self, tmp_path: Path) -> None:
        path = tmp_path / "config.toml"
        path.write_bytes(b"[model]\xff\n")
        with pytest.raises(ConfigError, match=r"config\.toml: not TOML: .*0xff"):
            read_toml(path)

    @pytest.mark.parametrize(
        "text", ['[model]\ncell = "{}"\n', 'model.cell = "{}"\n', 'model = {{cell = "{}"}}\n']
    )
    def test_a_file_cannot_name_code(self, tmp_path: Path, text: str) -> None:
        own = tmp_path / "own.py"
        own.write_text(f"open({str(tmp_path / 'was run')!r}, 'w')\n")
        with pytest.raises(
            ConfigError, match=r"config\.toml: .*a file cannot name code to run; write -s model\.cell"
        ):
            made(file=toml(tmp_path, text.format(f"{own}:Own")))
        assert not (tmp_path / "was run").exists()

    def test_a_person_can(self, tmp_path: Path) -> None:
        assert made({"model.cell": "own.py:Own"}).model.cell == "own.py:Own"


class TestParse:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("model.hidden=512", ("model.hidden", 512)),
            ("train.learning_rate=2e-3", ("train.learning_rate", 2e-3)),
            (" model.tied = true", ("model.tied", True)),
            ("data.unit=words", ("data.unit", "words")),
            ('data.unit="words"', ("data.unit", "words")),
            ("model.cell=my cells/own.py:Own", ("model.cell", "my cells/own.py:Own")),
            ("data.valid_files=['a.txt', 'b.txt']", ("data.valid_files", ["a.txt", "b.txt"])),
            ("model.options={peepholes = true}", ("model.options", {"peepholes": True})),
            ("train.clip_norm=none", ("train.clip_norm", "none")),
            ("a=b=c", ("a", "b=c")),
            ("a=", ("a", "")),
        ],
    )
    def test_key_and_value(self, text: str, expected: tuple[str, Any]) -> None:
        key, value = parse_setting(text)
        assert (key, value) == expected
        assert type(value) is type(expected[1])

    @pytest.mark.parametrize("text", ["model.hidden", "", "=3", " =3"])
    def test_no_key(self, text: str) -> None:
        with pytest.raises(ConfigError, match=r"^-s .*: expected key=value, as in -s model\.hidden=512"):
            parse_setting(text)


def test_every_setting_is_in_the_table_and_can_be_set() -> None:
    rows = settings_table(LanguageModelTask)
    assert [key for key, _, _ in rows] == [key for key, _ in known_keys(LanguageModelConfig)]
    assert {"data.unit", "model.cell", "train.window", "train.seed", "evaluate_window"} <= {
        row[0] for row in rows
    }
    assert all(meaning for _, _, meaning in rows)
    config = LanguageModelConfig()
    for key, default, _ in rows:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        assert default == ("none" if value is None else str(value))
        assert made({key: value}) == config
