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


@final
class TranslationTask(PairTask):
    """Reading, model, loss, metrics and prediction of translations."""

    name = "translation"
    Config = TranslationConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "transformer": {
            "model.kind": "transformer",
            "model.embedding": 256,
            "model.hidden": 1024,
            "model.layers": 3,
            "train.learning_rate": 0.001,
            "train.warmup": 400,
        },
    }
