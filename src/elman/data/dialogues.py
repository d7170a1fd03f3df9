"""Dialogues, read from files: what was said, and what it answers.

    FILE.tsv ...    in each row  turn TAB turn TAB ..., before them the topic where the settings say so
    FILE ...        in each row  turn __eou__ turn __eou__ ..., as DailyDialog (Li, Su, et al. 2017)

Both are UTF-8 text, or such text packed by gzip. A pair of question and answer is a dialogue of two turns.
Every turn but the first answers those before it: an example is the last `history` of them, joined by TURN,
and the answer. Without any history the examples are the answers alone, for a language model of them;
reversed, an answer and the turn that it answers.

What is wrong is named by file and row; rows that cannot be used are left out only where that was asked for,
and counted.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from elman.data.pairs import Lines, Pair, Pairs, Row
from elman.errors import ConfigError, DataError

TURN = "‖"
"""Stands between the turns of a history; a turn may not hold it."""

END_OF_TURN = "__eou__"


class Dialogue(NamedTuple):
    """Two turns or more, and where they stand. topic: empty where the file tells none."""

    turns: tuple[str, ...]
    path: str
    row: int
    """Counted from 1."""
    topic: str = ""


@dataclass
class Dialogues:
    """What was read; `files` is what a run remembers of it; `skipped` counts what was left out, by reason."""

    dialogues: list[Dialogue]
    files: list[dict[str, Any]]
    skipped: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.dialogues)

    def without(self, known: "Dialogues") -> "Dialogues":
        """Those whose turns are not, one by one, those of a dialogue in `known`; the others are counted."""
        seen = {dialogue.turns for dialogue in known.dialogues}
        kept = [dialogue for dialogue in self.dialogues if dialogue.turns not in seen]
        skipped = Counter(self.skipped)
        if left := len(self) - len(kept):
            skipped["dialogues that stand in the training data"] += left
        return Dialogues(kept, self.files, skipped)

    def pairs(self, history: int = 1, reverse: bool = False) -> Pairs:
        """What was said and its answers, in the order of the files; reversed: answers and what they answer.

        history: turns before an answer, at most; 0: none, the source is empty. Reversed, only the last turn
        counts. Raises ConfigError for a history below 0, or for 0 reversed.
        """
        if history < 0 or (reverse and not history):
            raise ConfigError(
                f"history: expected {1 if reverse else 0} turns or more{' to foretell' if reverse else ''}, "
                f"got {history}"
            )
        return Pairs(
            [pair for one in self.dialogues for pair in _pairs(one, history, reverse)],
            self.files,
            self.skipped,
        )


def join_turns(turns: Sequence[str], history: int) -> str:
    """The source of an answer to `turns`: the last `history` of them."""
    return f" {TURN} ".join(turns[len(turns) - min(history, len(turns)) :])


def read_dialogues(paths: Sequence[str | Path], topic: bool = False, skip: bool = False) -> Dialogues:
    """The dialogues in files; topic: the first field of a .tsv row is not said by anybody.

    Raises ConfigError without files, DataError naming file and row for anything that is missing, damaged, not
    UTF-8, an empty turn, or fewer than two turns; `skip` leaves out such rows (not such files).
    """
    if not paths:
        raise ConfigError(
            f"expected a FILE.tsv of rows turn TAB turn ..., or a FILE of rows turn {END_OF_TURN} turn ..."
        )
    files = [Lines(str(path)) for path in paths]
    dialogues, skipped = [], Counter[str]()
    for lines in files:
        for found in _rows(lines, topic):
            if isinstance(found, Dialogue):
                dialogues.append(found)
            elif skip:
                skipped[f"rows {found.reason}"] += 1
            else:
                raise DataError(f"{found.message}; mend it, or set data.skip=true to leave such rows out")
    if not dialogues:
        raise DataError(
            f"{', '.join(map(str, paths))}: no dialogue in it; expected at least two turns in a row"
        )
    return Dialogues(dialogues, [lines.to_json() for lines in files], skipped)


def _pairs(dialogue: Dialogue, history: int, reverse: bool) -> Iterator[Pair]:
    path, row = dialogue.path, dialogue.row
    if reverse:
        yield from (Pair(after, before, path, path, row) for before, after in pairwise(dialogue.turns))
        return
    for place in range(1, len(dialogue.turns)):
        yield Pair(join_turns(dialogue.turns[:place], history), dialogue.turns[place], path, path, row)


def _rows(lines: Lines, topic: bool) -> Iterator[Dialogue | Row]:
    """A dialogue for each row of a file, or what is wrong with it."""
    table = lines.path.removesuffix(".gz").endswith(".tsv")
    for row in range(1, len(lines.lines) + 1):
        text, place = lines.text(row), lines.place(row)
        if isinstance(text, Row):
            yield text
        elif not text.strip():
            yield Row(None, "that are empty", f"{place}: the line is empty, expected a dialogue")
        elif table and "\t" not in text:
            yield Row(None, "without a tab", f"{place}: no tab, expected turn TAB turn ...")
        else:
            yield _dialogue(text, lines.path, row, place, table, topic)


def _dialogue(text: str, path: str, row: int, place: str, table: bool, topic: bool) -> Dialogue | Row:
    if table:
        name, turns = ("", text.split("\t")) if not topic else _parted(text)
    else:
        name, (*turns, rest) = "", text.split(END_OF_TURN)
        if rest.strip():
            return Row(
                None, "that do not end a turn", f"{place}: the last turn does not end in {END_OF_TURN}"
            )
    turns = [turn.strip() for turn in turns]
    for number, turn in enumerate(turns, 1):
        if not turn:
            return Row(None, "with an empty turn", f"{place}: turn {number} of {len(turns)} is empty")
        if TURN in turn:
            return Row(
                None, f"with {TURN}", f"{place}: turn {number} holds {TURN}, which stands between turns"
            )
    if len(turns) < 2:
        return Row(None, "of one turn", f"{place}: a dialogue of one turn, expected at least two")
    return Dialogue(tuple(turns), path, row, name)


def _parted(text: str) -> tuple[str, list[str]]:
    name, *turns = text.split("\t")
    return name.strip(), turns
