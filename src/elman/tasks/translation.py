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
    check_fits,
)


class TranslationConfig(Settings):
    """All settings of the task; the defaults are those of reproduce/multi30k.toml, in float32."""

    data: PairDataSettings = PairDataSettings()
    model: SequenceModelSettings = SequenceModelSettings()
    train: SequenceTrainSettings = SequenceTrainSettings()
    search: SearchSettings = SearchSettings()
    bleu_sentences: int = Field(
        500, ge=0, description="validation: so many are written, greedily, for BLEU; 0: none"
    )

    @model_validator(mode="after")
    def _fits(self) -> "TranslationConfig":
        check_fits(self)
        return self


# Five minutes of one core for ten thousand short sentences: reproduce/multi30k_quick.sh.
QUICK: dict[str, Any] = {
    "data.lowercase": True, "data.vocabulary": 4000, "data.shared": True,
    "model.shared": True, "model.hidden": 256, "model.embedding": 192,
    "model.dropout": 0.3, "model.dropout_embedding": 0.2, "model.dropout_output": 0.3,
    "train.updates": 1600, "train.tokens": 2000, "train.learning_rate": 3e-3, "train.warmup": 100,
    "train.average": 0.995, "train.evaluate_every": 400, "train.save_every": 400, "bleu_sentences": 200,
}  # fmt: skip


# As large as the recurrent default; dropout is one for all its places.
TRANSFORMER: dict[str, Any] = {
    "model.kind": "transformer", "model.embedding": 256, "model.hidden": 1024, "model.layers": 3,
    "model.dropout": 0.3, "train.learning_rate": 0.001, "train.warmup": 400,
}  # fmt: skip


@final
class TranslationTask(PairTask):
    """Reading, model, loss, metrics and prediction of translations."""

    name = "translation"
    Config = TranslationConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {"quick": QUICK, "transformer": TRANSFORMER}
