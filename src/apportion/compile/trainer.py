"""Which trainer a study's training stages use, and what that adds to their specs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal

from apportion.compile.groups import stack_problems
from apportion.config.study import Study
from apportion.errors import StudyError, UserError
from apportion.models.resolve import ModelRef, resolve_model
from apportion.training.trl.installed import (
    VERSION,
    require_tracker,
    require_trl,
    trl_is_installed,
)


def trainer_of(study: Study, ref: ModelRef) -> Literal["native", "trl"]:
    """What `trainer: auto` stands for: TRL for hub models where it is installed."""
    if study.trainer != "auto":
        return study.trainer
    return "trl" if ref.kind == "hub" and trl_is_installed() else "native"


def trainer_spec(study: Study, ref: ModelRef) -> dict[str, Any]:
    """Fields for the specs of training stages: none for the native loop. No key has `trackers`."""
    if trainer_of(study, ref) == "native":
        return {}
    found: dict[str, Any] = {"trainer": {"name": "trl", "semantics_version": VERSION}}
    return found | ({"trackers": list(study.trackers)} if study.trackers else {})


def trainer_problems(study: Study) -> Iterator[UserError]:
    """What is missing for the trainer, the trackers and the methods that a study names."""
    refs: list[ModelRef] = []
    for name in study.models:
        with suppress(UserError):  # a model that there is not is somebody else's to tell
            refs.append(resolve_model(name))
    if study.trainer == "trl":
        try:
            require_trl()
        except StudyError as error:
            yield error
    native = [ref.name for ref in refs if trainer_of(study, ref) == "native"]
    if refs:
        yield from stack_problems(study, native=bool(native))
    if study.recipe.quantization != "none" and native:
        yield StudyError(
            f"the native loop does not train over a base in 4 bits ({native[0]}).",
            field="recipe.quantization",
            mend="write trainer: trl, or quantization: none.",
        )
    if study.trackers and refs and len(native) == len(refs):
        yield StudyError(
            "nothing would be reported: the native trainer has no trackers.",
            field="trackers",
            mend="write trainer: trl, or remove the trackers.",
        )
    for tracker in study.trackers:
        try:
            require_tracker(tracker)
        except StudyError as error:
            yield error
    if "kto" in study.methods:
        yield from _groups(study)


def _groups(study: Study) -> Iterator[StudyError]:
    recipe = study.recipe
    size, batch = recipe.kto.group(recipe.preference), recipe.preference.batch_size
    if size < 2 or batch % size:
        yield StudyError(
            f"KTO groups of {size} do not make up a batch of {batch} preference units.",
            field="recipe.kto.group_size",
            mend="write a divisor of recipe.preference.batch_size that is at least 2.",
        )
