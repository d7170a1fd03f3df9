"""Tasks: the nouns of the command line. `TASKS` is the closed table that a run folder may name."""

from elman.errors import ConfigError
from elman.tasks.base import Task
from elman.tasks.captioning import CaptioningTask
from elman.tasks.dialogue import DialogueTask
from elman.tasks.language_model import LanguageModelTask
from elman.tasks.translation import TranslationTask

TASKS: dict[str, type[Task]] = {
    LanguageModelTask.name: LanguageModelTask,
    DialogueTask.name: DialogueTask,
    TranslationTask.name: TranslationTask,
    CaptioningTask.name: CaptioningTask,
}


def find_task(name: str, place: str = "task") -> type[Task]:
    """The task of that name; raises ConfigError, which begins with `place`, where there is none."""
    if name not in TASKS:
        raise ConfigError(f"{place}: expected one of {', '.join(TASKS)}, got {name!r}")
    return TASKS[name]
