"""Translation: pairs of sentences -> a model that writes the second of the first.

Files: FILE.tsv ..., or two that stand line by line beside each other (elman.data.pairs). The model is an
encoder-decoder with attention (elman.models.seq2seq); its batches are of sentences of like length.
"""

from typing import Any, ClassVar, final

from pydantic import Field, model_validator

from elman.tasks.base import Settings
from elman.tasks.pair_task import PairTask
from elman.tasks.sequence_settings import (
    PairDataSettings,
    SearchSettings,
    SequenceModelSettings,
    SequenceTrainSettings,
)


class TranslationConfig(Settings):
    """All settings of the task, with defaults that do well on short sentences on a laptop."""

    data: PairDataSettings = PairDataSettings()
    model: SequenceModelSettings = SequenceModelSettings()
    train: SequenceTrainSettings = SequenceTrainSettings()
    search: SearchSettings = SearchSettings()
    bleu_sentences: int = Field(
        500, ge=0, description="validation: so many are written, greedily, for BLEU; 0: none"
    )

    @model_validator(mode="after")
    def _fits(self) -> "TranslationConfig":
        if self.model.shared and not self.data.shared:
            raise ValueError("model.shared: one embedding needs one vocabulary; set data.shared=true too")
        return self


# Some minutes on two cores for some ten thousand short sentences.
QUICK: dict[str, Any] = {
    "data.lowercase": True, "data.vocabulary": 3000, "model.hidden": 256, "model.embedding": 128,
    "model.dropout": 0.2, "model.dropout_embedding": 0.2, "model.dropout_output": 0.2,
    "train.updates": 1500, "train.tokens": 2048, "train.learning_rate": 5e-3, "train.average": 0.99,
    "train.evaluate_every": 500, "train.save_every": 500, "bleu_sentences": 200,
}  # fmt: skip


TRANSFORMER: dict[str, Any] = {
    "model.kind": "transformer", "model.embedding": 256, "model.hidden": 1024, "model.layers": 3,
    "train.learning_rate": 0.001, "train.warmup": 400,
}  # fmt: skip


@final
class TranslationTask(PairTask):
    """Reading, model, loss, metrics and prediction of translations."""

    name = "translation"
    Config = TranslationConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {"quick": QUICK, "transformer": TRANSFORMER}
