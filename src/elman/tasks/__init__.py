"""Tasks: the nouns of the command line. `TASKS` is the closed table that a run folder may name."""

from elman.tasks.base import Task
from elman.tasks.language_model import LanguageModelTask

TASKS: dict[str, type[Task]] = {
    LanguageModelTask.name: LanguageModelTask,
}
