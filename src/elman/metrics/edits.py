"""The least edits that make one sequence another: how many, which, and a picture of them.

    d(i, j) = least of d(i-1, j) + 1 (deletion), d(i, j-1) + 1 (insertion), d(i-1, j-1) + (r_i != h_j)

Differences of neighbours in this table are -1, 0 or 1, so a column is two sets of rows, those where d rises
by one and those where it falls; a set is one Python integer, and a column costs a dozen operations on
integers of I bits (Myers, "A fast bit-vector algorithm", 1999, in Hyyrö's form of 2003). The columns are
kept and the edits read off from the end; where they would take more than LIMIT bits, the longer half of the
problem is solved first (Hirschberg 1975). Of several least alignments, a deletion is taken before an
insertion and that before a substitution or a hit, seen from the end.

Shapes: reference of I symbols, hypothesis of J. Symbols are compared by == and must be hashable.
"""

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["hit", "substitution", "deletion", "insertion"]
MARKS: dict[Kind, str] = {"hit": "", "substitution": "S", "deletion": "D", "insertion": "I"}
LIMIT = 1 << 31  # bits of the columns that are kept, a quarter of a gigabyte


@dataclass(frozen=True)
class Edit:
    """One place of an alignment: which symbols stand there, by their index; None where there is none."""

    kind: Kind
    reference: int | None
    hypothesis: int | None


def distance(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """The least number of edits (Levenshtein 1966)."""
    first, last = _ends(reference, hypothesis)
    inner = reference[first : len(reference) - last], hypothesis[first : len(hypothesis) - last]
    return _last_column(*inner)[-1] if len(inner[0]) else len(inner[1])


def align(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> list[Edit]:
    """A least sequence of edits, hits included, from the first to the last."""
    first, last = _ends(reference, hypothesis)
    rows, columns = len(reference) - last, len(hypothesis) - last
    found = [Edit("hit", i, i) for i in range(first)]
    found += _inner(reference, hypothesis, (first, rows), (first, columns))
    return found + [Edit("hit", rows + i, columns + i) for i in range(last)]


def show(
    reference: Sequence[Hashable], hypothesis: Sequence[Hashable], edits: Sequence[Edit], width: int = 80
) -> str:
    """An alignment as blocks of three lines of at most `width`: REF, HYP, and S, D or I below what is no
    hit.
    """
    blocks: list[tuple[str, str, str]] = []
    lines = ["REF:", "HYP:", "    "]
    for edit in edits:
        words = [
            "*" if place is None else str(sequence[place])
            for sequence, place in ((reference, edit.reference), (hypothesis, edit.hypothesis))
        ]
        size = max(len(word) for word in words)
        words = [word if word != "*" else "*" * size for word in words]
        if len(lines[0]) + 1 + size > width and len(lines[0]) > 4:
            blocks.append((lines[0], lines[1], lines[2]))
            lines = ["REF:", "HYP:", "    "]
        parts = zip(lines, (*words, MARKS[edit.kind]), strict=True)
        lines = [f"{line} {word:<{size}}" for line, word in parts]
    blocks.append((lines[0], lines[1], lines[2]))
    return "\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks)


def _ends(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> tuple[int, int]:
    """How many symbols are the same from the start, and of the rest from the end: they are hits."""
    shorter = min(len(reference), len(hypothesis))
    first = 0
    while first < shorter and reference[first] == hypothesis[first]:
        first += 1
    last = 0
    while last < shorter - first and reference[-1 - last] == hypothesis[-1 - last]:
        last += 1
    return first, last


def _places(reference: Sequence[Hashable]) -> dict[Hashable, int]:
    """For each symbol the set of rows where it stands."""
    rows: dict[Hashable, list[int]] = {}
    for i, symbol in enumerate(reference):
        rows.setdefault(symbol, []).append(i)
    found = {}
    for symbol, where in rows.items():
        bits = bytearray(where[-1] // 8 + 1)
        for i in where:
            bits[i >> 3] |= 1 << (i & 7)
        found[symbol] = int.from_bytes(bits, "little")
    return found


def _columns(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    """For each prefix of the hypothesis, none and all included, the rows where d(i, j) - d(i-1, j) is 1,
    is -1.
    """
    everywhere = (1 << len(reference)) - 1
    places = _places(reference)
    rises, falls = everywhere, 0
    yield rises, falls
    for symbol in hypothesis:
        same = places.get(symbol, 0)
        # Where d(i, j) = d(i-1, j-1): an addition carries a match down through the rows that rise.
        carried = (((same & rises) + rises) ^ rises) | same | falls
        grows = (
            (falls | ~(carried | rises)) << 1 | 1
        ) & everywhere  # d(i-1, j) - d(i-1, j-1) is 1; d(0, j) = j
        shrinks = (carried & rises) << 1 & everywhere  # is -1
        across = same | falls
        rises = (shrinks | ~(across | grows)) & everywhere
        falls = grows & across
        yield rises, falls


def _last_column(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> list[int]:
    """d(i, J) for i = 0 .. I."""
    ((rises, falls),) = deque(_columns(reference, hypothesis), maxlen=1)
    size = len(reference)
    up, down = bin(rises)[2:].zfill(size)[::-1], bin(falls)[2:].zfill(size)[::-1]
    value, found = len(hypothesis), [len(hypothesis)]
    for i in range(size):
        value += (up[i] == "1") - (down[i] == "1")
        found.append(value)
    return found


def _inner(
    reference: Sequence[Hashable],
    hypothesis: Sequence[Hashable],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> list[Edit]:
    """The edits of a part: rows and columns from .. to."""
    part, other = reference[slice(*rows)], hypothesis[slice(*columns)]
    if 2 * len(part) * (len(other) + 1) > LIMIT and len(other) > 1:
        middle = len(other) // 2
        before = _last_column(part, other[:middle])
        after = _last_column(part[::-1], other[middle:][::-1])[::-1]
        split = min(range(len(before)), key=lambda i: before[i] + after[i])
        left = _inner(reference, hypothesis, (rows[0], rows[0] + split), (columns[0], columns[0] + middle))
        return left + _inner(
            reference, hypothesis, (rows[0] + split, rows[1]), (columns[0] + middle, columns[1])
        )
    table = list(_columns(part, other))
    found: list[Edit] = []
    i, j = len(part), len(other)
    while i or j:
        row, column = rows[0] + i - 1, columns[0] + j - 1
        if i and table[j][0] >> (i - 1) & 1:
            found.append(Edit("deletion", row, None))
            i -= 1
        # d(i, j) is not less than d(i-1, j-1), which is d(i, j-1) + 1 where column j - 1 falls at i.
        elif j and (not i or table[j - 1][1] >> (i - 1) & 1):
            found.append(Edit("insertion", None, column))
            j -= 1
        else:
            kind: Kind = "hit" if part[i - 1] == other[j - 1] else "substitution"
            found.append(Edit(kind, row, column))
            i, j = i - 1, j - 1
    return found[::-1]
