"""Settings from where people write them: defaults < a preset < a TOML file < single settings.

A single setting is written key=value, the key with dots (model.hidden=512), the value as in TOML; a bare word
is a string.
"""

import copy
import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from elman.errors import ConfigError
from elman.tasks.base import Settings, Task

OWN_CODE = "model.cell"
"""The one setting that may name a user's own Python code, and only where the user says so in person."""


def make_config(
    task: type[Task],
    settings: Mapping[str, Any],
    *,
    preset: str | None = None,
    file: str | Path | None = None,
) -> Settings:
    """The task's settings; raises ConfigError naming the key, what was expected and what came."""
    tree: dict[str, Any] = {}
    if preset is not None:
        if preset not in task.presets:
            raise ConfigError(f"preset: expected one of {', '.join(task.presets) or 'none'}, got {preset!r}")
        _put_all(tree, task.presets[preset])
    if file is not None:
        read = read_toml(file)
        cell = read.get("model", {}).get("cell", "") if isinstance(read.get("model", {}), dict) else ""
        if ":" in str(cell):
            raise ConfigError(
                f"{file}: {OWN_CODE}={cell!r}: a file cannot name code to run; write -s {OWN_CODE}={cell} "
                f"instead"
            )
        _merge(tree, read)
    _put_all(tree, settings)
    return validate(task, tree)


def validate(task: type[Task], tree: Mapping[str, Any], name: str = "settings") -> Settings:
    """The settings in `tree`, checked; `name` says where they come from."""
    try:
        return task.Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(task, problem, name) for problem in error.errors())) from error


def parse_setting(text: str) -> tuple[str, Any]:
    """key=value -> (key, value); raises ConfigError where there is no key or the value is not one."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"-s {text}: expected key=value, as in -s model.hidden=512")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        # A bare word, a path or FILE:CLASS: quotes are for the shell, not for people.
        return key.strip(), value


def read_toml(path: str | Path) -> dict[str, Any]:
    """The content of a TOML file; raises ConfigError naming it, and the line, where it cannot be read."""
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such settings file") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def known_keys(config: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with dots, and its field."""
    for name, field in config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def settings_table(task: type[Task]) -> list[tuple[str, str, str]]:
    """For each setting of a task its key, default and meaning, as the documents show them."""
    rows = []
    for key, field in known_keys(task.Config):
        default = field.get_default(call_default_factory=True)
        words = (
            [str(choice) for choice in get_args(field.annotation)]
            if get_origin(field.annotation) is Literal
            else []
        )
        meaning = "; ".join(part for part in (" | ".join(words), field.description or "") if part)
        rows.append((key, "none" if default is None else str(default), meaning))
    return rows


def _put_all(tree: dict[str, Any], settings: Mapping[str, Any]) -> None:
    # Copied: a later setting may go into a table that belongs to a preset or to the caller.
    for key, value in copy.deepcopy(dict(settings)).items():
        *path, last = key.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{key}: {part} is a value, not a table")
        place[last] = value


def _merge(tree: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict) and key != "options":
            _merge(tree[key], value)
        else:
            tree[key] = value


def _explain(task: type[Task], problem: Any, name: str) -> str:
    """One sentence about one thing that pydantic did not accept."""
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = [known for known, _ in known_keys(task.Config)]
        near = _near(key, known)
        return f"{name}: unknown key {key!r}; " + (
            f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}"
        )
    message = problem["msg"].removeprefix("Value error, ")
    return f"{name}: {key + ': ' if key else ''}{message[:1].lower()}{message[1:]}" + (
        f", got {problem['input']!r}" if key else ""
    )


def _near(key: str, known: Iterable[str]) -> list[str]:
    """Known keys that look like `key`, or whose last part does."""
    known = list(known)
    found = difflib.get_close_matches(key, known, 3, cutoff=0.75)
    last = key.rpartition(".")[2]
    return (
        found
        or [k for k in known if difflib.SequenceMatcher(None, k.rpartition(".")[2], last).ratio() > 0.7][:3]
    )
