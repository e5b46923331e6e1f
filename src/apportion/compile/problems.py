"""What is wrong with a study that only its tasks, models and pools can tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from apportion import prices
from apportion.compile.engine import engine_missing, engine_problems
from apportion.compile.identity import identify
from apportion.compile.trainer import trainer_problems
from apportion.compile.trajectory import trajectory_problems
from apportion.config.load import StudyFile, is_card, read_study
from apportion.config.study import Study
from apportion.data.hub import HubError
from apportion.errors import ManyErrors, MissingPackage, ModelError, StudyError, UserError
from apportion.models.resolve import resolve_model
from apportion.tasks import registry
from apportion.tasks.base import Task

#: A larger plan is a slip of the finger.
MAX_CELLS = 200_000


@dataclass(frozen=True)
class Checked:
    """A study file with every mistake in it; `study` is None where it could not be read at all."""

    study: Study | None
    errors: tuple[UserError, ...]
    unchecked: tuple[UserError, ...] = ()  # only `offline`: what the hub would have to say


def check_file(path: str | Path, *, offline: bool = False, here: bool = False) -> Checked:
    """Every mistake in a study file at once: its own, and those of the tasks and models it names.

    Raises nothing for the user's mistakes; each has file, row (where known), field and mend. With
    `offline`, models and data sets of the hub that are not on this machine are no mistakes; with
    `here`, what this machine lacks to run the study is one.
    """
    read = read_study(path)
    study = read.study
    others = _named_in_a_faulty_file(read) if study is None else problems(study)
    if here and study is not None:
        others += engine_missing(study)
    for error in others:
        if error.file is None:  # else the mistake is in a task card or a data file
            error.file = read.path
            error.row = read.row_of(error.field)
    unchecked = [error for error in others if offline and _of_the_hub(error, read)]
    told = [*read.errors, *(error for error in others if error not in unchecked)]
    errors = sorted(told, key=lambda error: (error.file != read.path, error.row or 0))
    return Checked(read.study, tuple(errors), tuple(unchecked))


def _of_the_hub(error: UserError, read: StudyFile) -> bool:
    """Whether a mistake only says that the hub, or what reading it needs, is not here."""
    if isinstance(error, ModelError):
        names = {field: name for name, field in read.names("models")}
        name = names.get(error.field or "")
        with suppress(UserError):
            return name is not None and resolve_model(name).kind == "hub"
        return False
    return isinstance(error, HubError | MissingPackage)


def problems(study: Study) -> list[UserError]:
    """Unknown tasks, models and data that cannot be used, pools too small, too many cells."""
    found: list[UserError] = []
    tasks: list[Task] = []
    for place, name in enumerate(study.tasks):
        errors = _try(registry.get_task, name, f"tasks[{place}]")
        if not errors:
            tasks.append(registry.get_task(name))
        found += errors
    found += _same_names(tasks)
    for place, name in enumerate(study.models):
        found += _try(identify, name, f"models[{place}]")
    found += trainer_problems(study)
    found += trajectory_problems(study)
    found += engine_problems(study)
    cells = _upper_bound(study)
    if cells > MAX_CELLS:
        mend = "write fewer levels, shares or replicates."
        found.append(
            StudyError(
                f"the study has up to {cells} cells, and at most {MAX_CELLS} can be planned.",
                field="lattice" if study.lattice else "budget",
                mend=mend,
            )
        )
        return found
    for task in tasks:
        found += _data(task, study)
    return found


def _data(task: Task, study: Study) -> list[UserError]:
    """What the task needs that is not there, wrong rows, and cells that cannot be filled."""
    found: list[UserError] = []
    try:
        if task.require is not None:
            task.require()
    except UserError as error:
        found.append(error)
    if task.pref_unit == "label" and "dpo" in study.methods:
        found.append(
            StudyError(
                f"the method dpo needs pairs, and task {task.name} has labels.",
                field="methods",
                mend="write methods: [kto], or give the task pairs (chosen and rejected).",
            )
        )
    try:
        found += _too_small(task, study)
    except UserError as error:
        found.append(error)
    return found


def _same_names(tasks: list[Task]) -> Iterator[StudyError]:
    names = [task.name for task in tasks]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            mend = "give their cards different names."
            yield StudyError(f"two tasks are called {name!r}.", field="tasks", mend=mend)


def _try(use: Callable[[str], object], name: str, field: str) -> list[UserError]:
    """The mistakes that using a name makes; those of a task card keep their own places."""
    try:
        use(name)
    except ManyErrors as errors:
        return list(errors.errors)
    except UserError as error:
        if error.file is None or not is_card(name):
            error.field = field
        return [error]
    return []


def _named_in_a_faulty_file(read: StudyFile) -> list[UserError]:
    """Unknown tasks and models, where the file says nothing worse of the same place."""
    faulty = {error.field for error in read.errors}
    found = []
    for key, use in (("tasks", registry.get_task), ("models", identify)):
        for name, field in read.names(key):
            found += [] if field in faulty else _try(use, name, field)
    return found


def cell_count(study: Study) -> int:
    """How many cells the study has, with the base model's."""
    asked = len(study.models) * len(study.tasks) * len(study.methods) * study.replicates
    return len(prices.points(study)) * asked


def _upper_bound(study: Study) -> int:
    """How many cells there may be, without listing them."""
    if study.lattice is not None:
        points = len(study.lattice.n_sft) * len(study.lattice.n_pref)
    else:
        levels = study.budget.levels if study.budget else ()
        points = len(levels) * len(study.shares or ())
    asked = len(study.models) * len(study.tasks) * len(study.methods) * study.replicates
    return (points + 1) * asked


def _too_small(task: Task, study: Study) -> Iterator[StudyError]:
    """Cells that the task's pools cannot fill, and test items that there are not."""
    unit = " or ".join(
        f"{'label' if method == 'kto' else task.pref_unit}s" for method in study.methods
    )
    sides: tuple[tuple[Literal["sft", "preference"], str], ...] = (
        ("sft", "demonstrations"),
        ("preference", f"preference units ({unit})"),
    )
    points = list(prices.points(study))
    for axis, (side, what) in enumerate(sides):
        capacity = task.pool.capacity(side)
        unfilled = [p for p in points if capacity is not None and p[axis] > capacity]
        if unfilled:
            shown = ", ".join(str(point) for point in unfilled[:5])
            more = f" and {len(unfilled) - 5} more" if len(unfilled) > 5 else ""
            yield StudyError(
                f"task {task.name} has {capacity} {what}: too few for {len(unfilled)} of the "
                f"study's {len(points)} cells, (n_sft, n_pref) = {shown}{more}.",
                field=_axis_field(study, axis),
                mend=f"ask for at most {capacity}, or add data to the pool.",
            )
    capacity = task.pool.capacity("test")
    if capacity is not None and study.evaluation.n_items > capacity:
        yield StudyError(
            f"task {task.name} has {capacity} test items, and {study.evaluation.n_items} "
            "are wanted.",
            field="evaluation.n_items",
            mend=f"write n_items: {capacity}.",
        )


def _axis_field(study: Study, axis: int) -> str:
    return "budget.levels" if study.lattice is None else ("lattice.n_sft", "lattice.n_pref")[axis]
