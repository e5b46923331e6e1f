"""Whether this machine can run what is left of a plan."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from apportion.errors import ManyErrors

if TYPE_CHECKING:
    from apportion.compile import Plan


def require_engine(plan: Plan, todo: Iterable[str]) -> None:
    """ManyErrors where this machine lacks what the stages `todo` need to generate."""
    from apportion.compile import engine_missing

    if plan.study is None or not any(plan.stages[key].kind == "generate" for key in todo):
        return  # a plan made by hand, or nothing to generate
    missing = engine_missing(plan.study)
    if missing:
        raise ManyErrors(missing)
