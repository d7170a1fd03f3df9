"""What predictors that write a sequence for each input have in common: how they are asked, their lines."""

from collections.abc import Sequence
from typing import Any, ClassVar

from elman.errors import ConfigError
from elman.tasks.base import Predictor
from elman.tasks.sequence_search import Search


class WritingPredictor(Predictor):
    """A model that gives {text, score, alternatives} for each input, and whatever else."""

    best: ClassVar[int] = 1

    def label(self, prediction: dict[str, Any]) -> str:
        """What stands before each line of a prediction."""
        return ""

    def text(self, prediction: dict[str, Any]) -> str:
        """One line: the text; with alternatives a line for each, the score before it."""
        found, label = prediction["alternatives"], self.label(prediction)
        if len(found) < 2:
            return f"{label}{prediction['text']}"
        return "\n".join(f"{label}{one['score']:.4f}\t{one['text']}" for one in found)


def asked_search(
    search: Search, inputs: Sequence[str], prefixes: Sequence[str] | None, **options: Any
) -> Search:
    """`Search.asked` with these options; ConfigError where there is not a prefix for each input."""
    if prefixes is not None and len(prefixes) != len(inputs):
        raise ConfigError(f"prefixes: expected one for each of {len(inputs)} inputs, got {len(prefixes)}")
    return search.asked(**options)
