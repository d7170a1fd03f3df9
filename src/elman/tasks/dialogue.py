"""Dialogue: what was said -> a model that answers.

Files: FILE.tsv of rows turn TAB turn ..., or FILE of rows turn __eou__ turn __eou__ (elman.data.dialogues).
The model is that of translation, with one vocabulary for both sides: it reads the last turns and writes the
next.
Two relatives of it choose among its answers (elman.search.reranking): a run with data.reverse=true writes
what an answer answers, one with data.history=0 reads nothing and is a language model of answers.

Figures: nats per symbol; of what it writes distinct-1, distinct-2 and the share of generic answers
(elman.metrics.diversity), each beside that of the answers in the file.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self, final

from pydantic import Field, model_validator
from torch import Tensor, nn

from elman.data.dialogues import TURN, join_turns, read_dialogues
from elman.data.pairs import Pairs
from elman.errors import DataError
from elman.metrics.diversity import QUESTIONS, distinct, generic_answers, generic_share
from elman.models.encoder_decoder import EncoderDecoder
from elman.streaming import Precision
from elman.tasks.dialogue_predictor import DialoguePredictor
from elman.tasks.pair_task import PairTask
from elman.tasks.sequence_settings import PairDataSettings
from elman.tasks.translation import TranslationConfig


class DialogueDataSettings(PairDataSettings):
    """What is read, and as what."""

    shared: bool = Field(True, description="one vocabulary for both sides")
    longest: int = Field(100, ge=1, description="symbols of what was said, and of an answer")
    history: int = Field(2, ge=0, description="turns that an answer is given to, at most; 0: none are read")
    reverse: bool = Field(False, description="read an answer, write the turn before it: to choose answers")
    topic: bool = Field(False, description="the first field of a .tsv row is a topic, no turn")
    drop_known: bool = Field(
        True, description="leave out dialogues of other files that stand in the training files too"
    )
    generic_questions: int = Field(
        QUESTIONS, ge=2, description="different questions with one answer, from which on it is generic"
    )


class DialogueConfig(TranslationConfig):
    """All settings of the task, with defaults that do well on short turns on a laptop."""

    data: DialogueDataSettings = DialogueDataSettings()
    bleu_sentences: int = Field(
        0, ge=0, description="validation: so many are written, greedily, for BLEU; 0: none"
    )

    @model_validator(mode="after")
    def _has_a_question(self) -> "DialogueConfig":
        if self.data.reverse and not self.data.history:
            raise ValueError("data.reverse: there is nothing to write with data.history=0; set it to 1")
        return self


@final
class DialogueTask(PairTask):
    """Reading, model, loss, metrics and prediction of answers."""

    name = "dialogue"
    Config = DialogueConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    reading: ClassVar[tuple[str, ...]] = ("data.skip", "data.drop_known")

    generic: tuple[str, ...] = ()
    """Answers that go with many questions in the training data."""

    @classmethod
    def begin(cls, config: Any, files: Sequence[str]) -> Self:
        task = super().begin(config, files)
        training, codec = task.data()[0], task.codecs.source
        questions = [
            codec.extended(training.words_of(row)).decode(source.tolist()).rpartition(TURN)[2]
            for row, source in enumerate(training.sources)
        ]
        found = generic_answers(zip(questions, training.texts, strict=True), config.data.generic_questions)
        task.generic = tuple(found)
        return task

    @classmethod
    def restore(cls, config: Any, codec: Any, files: list[dict[str, Any]], name: str) -> Self:
        codec = dict(codec) if isinstance(codec, dict) else codec
        generic = codec.pop("generic", None) if isinstance(codec, dict) else None
        if not isinstance(generic, list) or not all(isinstance(text, str) for text in generic):
            raise DataError(f"{name}: expected a list of texts under 'generic'")
        task = super().restore(config, codec, files, name)
        task.generic = tuple(generic)
        return task

    @classmethod
    def read_pairs(cls, config: Any, files: Sequence[str], training: Sequence[str] = ()) -> Pairs:
        data = config.data
        read = read_dialogues(files, data.topic, data.skip)
        if training and data.drop_known:
            try:
                known = read_dialogues(training, data.topic, data.skip)
            except DataError as error:
                raise DataError(
                    f"{error} (the training files are read for the dialogues that stand in them too: "
                    f"data.drop_known)"
                ) from error
            read = read.without(known)
        return read.pairs(data.history, data.reverse)

    def codec_json(self) -> Any:
        return {**super().codec_json(), "generic": list(self.generic)}

    def limit(self, length: int) -> int:
        # A short question may have a long answer.
        return self.config.data.longest + 1

    def require(self) -> None:
        """Nothing: its figures need no other library."""

    def measure(self, references: Sequence[str], hypotheses: Sequence[str]) -> dict[str, Any]:
        """Diversity of the answers, beside that of those in the file."""
        found: dict[str, Any] = {}
        for name, texts in (("", hypotheses), ("reference_", references)):
            words = [self.target.normalise(text).split() for text in texts]
            found |= {f"{name}distinct_{n}": distinct(words, n) for n in (1, 2)}
            found[f"{name}generic"] = generic_share(texts, self.generic)
        return found

    def predictor(self, model: nn.Module, weights: Precision = "float32") -> DialoguePredictor:
        assert isinstance(model, EncoderDecoder)
        return DialoguePredictor(self, model, weights)

    def history_ids(self, turns: Sequence[str], name: str) -> Tensor:
        """The source of an answer to `turns`; raises DataError as `fitting_history`, and for one too long."""
        return self.source_ids(self.fitting_history(turns, name), name)

    def fitting_history(self, turns: Sequence[str], name: str) -> str:
        """The last turns, old ones left out until they are short enough, or one is left.

        Raises DataError where there is no turn, an empty one, or one with TURN in it.
        """
        data = self.config.data
        check_turns(turns, name)
        for history in range(min(data.history, len(turns)), 1, -1):
            text = join_turns(turns, history)
            if len(self.codecs.source.encode(text, name)) <= data.longest:
                return text
        return join_turns(turns, min(data.history, 1))


def check_turns(turns: Sequence[str], name: str) -> None:
    """Raises DataError where no turn is given, one is empty, or one holds what stands between turns."""
    if not turns:
        raise DataError(f"{name}: expected at least one turn, got none")
    for number, turn in enumerate(turns, 1):
        if not turn.strip():
            raise DataError(f"{name}: turn {number} of {len(turns)} is empty; expected turn TAB turn ...")
        if TURN in turn:
            raise DataError(f"{name}: turn {number} holds {TURN}, which stands between turns; leave it out")
