"""What decoders of CTC outputs give: the symbols of an utterance, where they stand, and how sure they are."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Transcript:
    """One reading of an utterance.

    score: ln of what the decoder says it maximises, in nats; a partial one's still holds what the search
    looks ahead. text: the words with a space between, or the symbols on end where no words are known.
    symbols: classes without blanks. For each of them the frames starts .. ends - 1 in which the likeliest
    alignment has it, and its greatest probability there as confidence; empty where times were not asked for.
    """

    text: str
    symbols: tuple[int, ...]
    score: float
    words: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    confidences: tuple[float, ...] = ()
