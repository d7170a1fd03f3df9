"""elman chat: talk with a model, line by line."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import typer

from elman.cli.common import (
    CheckpointName,
    OwnCell,
    RunFolder,
    WeightsPrecision,
    errors,
    input_lines,
    own_cell,
    say,
)
from elman.cli.reranking import (
    Candidates,
    LanguageRun,
    LanguageWeight,
    Reranking,
    ReverseRun,
    ReverseWeight,
)
from elman.errors import ConfigError, DataError
from elman.predict import load
from elman.tasks.chat import Chat, ChatSettings, open_chat

PROMPT = "> "
COMMANDS = "/reset: forget what was said; /temperature X; /seed N; /quit"


def chat_command(
    run: RunFolder,
    temperature: Annotated[
        float | None, typer.Option(help="Draw answers; 0: always the likeliest symbol. Default: search.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Choose among the k likeliest.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Choose among the likeliest that add up to p.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same conversation.", min=0)] = 0,
    reverse: ReverseRun = None,
    reverse_weight: ReverseWeight = None,
    language: LanguageRun = None,
    language_weight: LanguageWeight = None,
    candidates: Candidates = None,
    checkpoint: CheckpointName = "best",
    cell: OwnCell = None,
    weights: WeightsPrecision = "float32",
) -> None:
    """Talk with a dialogue or language model: a line in, a line out; the model keeps what was said.

    Commands: /reset forgets, /temperature X and /seed N change how answers are drawn, /quit leaves, as does
    the end of input.
    """
    model = load(run, checkpoint, own_cell(cell), weights=weights)
    Reranking(reverse, reverse_weight, language, language_weight, candidates).set(model)
    chat = open_chat(model, ChatSettings(temperature, top_k, top_p, seed))
    asked = sys.stdin.isatty()
    if asked:
        # Lines can be edited and called back where the platform has it.
        importlib.import_module("readline")
        errors.print(COMMANDS, markup=False)
    try:
        for line in _typed() if asked else input_lines():
            if not _answered(chat, line, asked):
                return
    except KeyboardInterrupt:
        say()
        raise typer.Exit(130) from None


def _typed() -> Iterator[str]:
    """What is typed at the prompt, line by line."""
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            say()
            return


def _answered(chat: Chat, line: str, asked: bool) -> bool:
    """Says the answer to a line, or does what it asks for; False to leave.

    What cannot be read is told; somebody at a keyboard may then try again, a pipe has failed.
    """
    words = line.split()
    if not words:
        return True
    try:
        if words[0].startswith("/"):
            return _obeyed(chat, words)
        say(chat.say(line.strip()))
    except (ConfigError, DataError) as error:
        if not asked:
            raise
        errors.print(f"elman: {error}", markup=False, soft_wrap=True)
    return True


def _obeyed(chat: Chat, words: list[str]) -> bool:
    """Does what a line that begins with / says; False to leave."""
    match words:
        case ["/quit"]:
            return False
        case ["/reset"]:
            chat.reset()
        case ["/temperature", value]:
            _change(chat, replace(chat.settings, temperature=_number(value, words[0], float)))
        case ["/seed", value]:
            _change(chat, replace(chat.settings, seed=int(_number(value, words[0], int))))
        case _:
            raise ConfigError(f"{' '.join(words)}: expected a line to answer, or one of {COMMANDS}")
    return True


def _change(chat: Chat, settings: ChatSettings) -> None:
    settings.sampling()  # raises for values out of range, before anything has changed
    chat.settings = settings


def _number(text: str, command: str, kind: type[float] | type[int]) -> float:
    try:
        return kind(text)
    except ValueError as error:
        raise ConfigError(f"{command}: expected a number, got {text!r}") from error
