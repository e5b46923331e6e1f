"""The built-in tasks by name."""

from __future__ import annotations

from apportion.errors import StudyError
from apportion.tasks.base import Task

NAMES = ("math",)


def get_task(name: str) -> Task:
    """The task called `name`; StudyError with the names there are where it is unknown."""
    if name == "math":
        from apportion.tasks.math import TASK

        return TASK
    raise StudyError(
        f"there is no task {name!r}.", field="tasks", mend=f"use one of: {', '.join(NAMES)}."
    )
