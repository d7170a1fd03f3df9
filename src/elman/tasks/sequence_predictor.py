"""A trained model that writes sequences, in use."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import torch

from elman.errors import ConfigError
from elman.models.encoder_decoder import EncoderDecoder
from elman.streaming import Precision
from elman.tasks.base import Predictor
from elman.tasks.sequence_search import find

if TYPE_CHECKING:
    from elman.tasks.pair_task import PairTask


@final
class TextPredictor(Predictor):
    """A model from text to text, with its codecs."""

    def __init__(self, task: "PairTask", model: EncoderDecoder, weights: Precision = "float32") -> None:
        if weights != "float32":
            raise ConfigError(f"weights: {task.name} uses float32 only, got {weights}")
        self.task = task
        self.model = model.eval()

    def predict(self, inputs: Sequence[str], best: int = 1) -> list[dict[str, Any]]:
        """What the model writes for each source, and its score."""
        sources = [self.task.source_ids(text, f"input {row}") for row, text in enumerate(inputs, 1)]
        limits = torch.tensor([self.task.limit(len(source)) for source in sources])
        found = find(self.model, self.task.collate(sources), self.task.target, limits)
        return [
            {"source": text, "text": self.task.target.decode(hypotheses[0].ids), "score": hypotheses[0].score}
            for text, hypotheses in zip(inputs, found, strict=True)
        ]
