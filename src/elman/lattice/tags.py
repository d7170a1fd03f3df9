"""Which tags may follow each other: segments written as one tag a token.

    IOB     B-x begins a segment of kind x, I-x goes on with one, O is outside (Ramshaw and Marcus 1995, as
    IOB2)
    IOBES   also E-x, the last token of a segment, and S-x, one of a single token; B-x is never alone

A tag is O, or a letter of its scheme, a hyphen and a kind.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from elman.errors import ConfigError

# What may stand before and after a letter: whether it begins or goes on with a segment, and whether that is
# then open.
BEGINS = {"IOB": "B", "IOBES": "BS"}
GOES_ON = {"IOB": "I", "IOBES": "IE"}
MUST_GO_ON = {"IOB": "", "IOBES": "BI"}
MAY_GO_ON = {"IOB": "BI", "IOBES": "BI"}
SCHEMES = tuple(BEGINS)


class Legality(NamedTuple):
    """True where legal: start (S,), steps (S, S) from the row's tag to the column's, end (S,)."""

    start: Tensor
    steps: Tensor
    end: Tensor


def legality(tags: Sequence[str], scheme: str) -> Legality:
    """Which of the tags may begin a sequence, follow each other and end it.

    Raises ConfigError for an unknown scheme, a tag that is not of the scheme, or one that is there twice.
    """
    if scheme not in SCHEMES:
        raise ConfigError(f"scheme: expected one of {', '.join(SCHEMES)}, got {scheme!r}")
    if len(set(tags)) != len(tags):
        twice = next(tag for tag in tags if list(tags).count(tag) > 1)
        raise ConfigError(f"tags: {twice!r} is there twice; each tag is one state")
    parts = [_parts(tag, scheme) for tag in tags]
    outside = ("O", "")
    start = [_may_follow(outside, part, scheme) for part in parts]
    steps = [[_may_follow(before, part, scheme) for part in parts] for before in parts]
    end = [part[0] not in MUST_GO_ON[scheme] for part in parts]
    return Legality(*(torch.tensor(table, dtype=torch.bool) for table in (start, steps, end)))


def _parts(tag: str, scheme: str) -> tuple[str, str]:
    letter, hyphen, kind = tag.partition("-")
    if tag == "O":
        return "O", ""
    if not (hyphen and kind and len(letter) == 1 and letter in BEGINS[scheme] + GOES_ON[scheme]):
        letters = ", ".join(f"{letter}-kind" for letter in BEGINS[scheme] + GOES_ON[scheme])
        raise ConfigError(f"tags: {tag!r} is no tag of {scheme}: expected O or one of {letters}")
    return letter, kind


def _may_follow(before: tuple[str, str], after: tuple[str, str], scheme: str) -> bool:
    goes_on = after[0] in GOES_ON[scheme]
    same = before[0] in MAY_GO_ON[scheme] and before[1] == after[1]
    return same if goes_on else before[0] not in MUST_GO_ON[scheme]
