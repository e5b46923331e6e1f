"""The built-in tasks by name, and task cards by their path. Light: no data are read here."""

from __future__ import annotations

import importlib

from apportion.config.load import is_card
from apportion.errors import StudyError
from apportion.tasks.base import Task

#: Generated tasks; each is `TASK` in the module of its name in this room.
EMBEDDED = ("math", "instructions", "summarization", "helpfulness")
NAMES = (*EMBEDDED, "gsm8k", "ifeval")


def get_task(name: str) -> Task:
    """The built-in task called `name`, or that of the task card at the path `name`.

    StudyError with the names there are where it is unknown; ManyErrors for a card with mistakes.
    """
    if name in EMBEDDED:
        task: Task = importlib.import_module(f"apportion.tasks.{name}").TASK
        return task
    if name in NAMES:
        from apportion.tasks.card import built_in

        return built_in(name)
    if is_card(name):
        from apportion.tasks.card import card_task

        return card_task(name)
    raise StudyError(
        f"there is no task {name!r}.",
        field="tasks",
        mend=f"use one of: {', '.join(NAMES)}, or the path of a task card (.yaml).",
    )
