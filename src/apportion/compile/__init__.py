"""A study compiled to cells and stages: what has to be run, each thing once."""

from apportion.compile.build import compile_study
from apportion.compile.engine import engine_missing
from apportion.compile.groups import engine_groups, stack_groups, stack_size
from apportion.compile.plan import (
    SEMANTICS,
    Cell,
    Kind,
    Plan,
    Stage,
    Tally,
    canonical_json,
    stage_key,
)
from apportion.compile.problems import Checked, check_file, problems

__all__ = [
    "SEMANTICS",
    "Cell",
    "Checked",
    "Kind",
    "Plan",
    "Stage",
    "Tally",
    "canonical_json",
    "check_file",
    "compile_study",
    "engine_groups",
    "engine_missing",
    "problems",
    "stack_groups",
    "stack_size",
    "stage_key",
]
