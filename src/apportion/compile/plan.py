"""Stages, cells and plans, and the key that stands for a stage.

A stage's key is the SHA-256 of everything that decides its outcome (`spec`), so equal work has an
equal key, within a study and between studies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Literal

from apportion.config.study import Study

Kind = Literal["sft", "preference", "generate", "score"]

#: What a stage of each kind means; a change of its outcome for the same spec increases it.
SEMANTICS: Mapping[Kind, int] = MappingProxyType(
    {"sft": 2, "preference": 2, "generate": 1, "score": 1}
)


@dataclass(frozen=True)
class Stage:
    """One unit of work."""

    key: str  # 32 hex characters, see stage_key
    kind: Kind
    # Keys of the stages whose artifacts it reads: () or (parent,); of a leg of a shared trajectory
    # the model that the trajectory starts from and the leg before, where there are any.
    parents: tuple[str, ...]
    spec: Mapping[str, Any]  # JSON-able and complete: everything needed to run it
    label: str  # for people
    tokens: int  # estimated tokens that it processes; see `apportion.compile.estimate`


@dataclass(frozen=True)
class Cell:
    """A point of one model, task, method and replicate, and the stages that measure it."""

    model: str
    task: str
    method: str
    n_sft: int
    n_pref: int
    replicate: int
    # Keys in order: [sft], [preference], generate, score; with a shared trajectory each training
    # has its legs in order, the cool-down last.
    stages: tuple[str, ...]
    lines: tuple[tuple[float, float], ...]  # the (budget level, share) pairs that it lies on

    @property
    def score_key(self) -> str:
        return self.stages[-1]


@dataclass(frozen=True)
class Tally:
    """How much work: stages by kind, and estimated tokens that the training stages process."""

    stages: Mapping[str, int]
    training_tokens: int

    @property
    def total(self) -> int:
        """Stages of all kinds."""
        return sum(self.stages.values())


@dataclass(frozen=True)
class Plan:
    """A compiled study; `stages` (by key) are in an order that has parents before children.

    `audit`: cells of a shared trajectory once more, as independent runs; never among `cells`.
    """

    study: Study
    cells: tuple[Cell, ...]
    stages: Mapping[str, Stage]
    audit: tuple[Cell, ...] = ()

    @property
    def wanted(self) -> tuple[str, ...]:
        """Keys of the scores that a run is for."""
        return tuple(cell.score_key for cell in (*self.cells, *self.audit))

    @cached_property
    def naive(self) -> Tally:
        """The work if every cell did all of its own."""
        return _tally(self.stages[key] for cell in self.cells for key in cell.stages)

    @cached_property
    def unique(self) -> Tally:
        """The work as planned: no stage twice."""
        return _tally(self.stages.values())


def _tally(stages: Iterable[Stage]) -> Tally:
    kinds: dict[str, int] = dict.fromkeys(SEMANTICS, 0)
    tokens = 0
    for stage in stages:
        kinds[stage.kind] += 1
        tokens += stage.tokens if stage.kind in ("sft", "preference") else 0
    return Tally(kinds, tokens)


def canonical_json(value: Any) -> str:
    """The one way to write a JSON value: sorted keys, no spaces, no NaN (ValueError)."""
    return _ENCODER.encode(value)


#: Made once: `json.dumps` with these settings makes one per call, a tenth of compiling a study.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def stage_key(spec: Mapping[str, Any]) -> str:
    """32 hex characters that stand for a spec.

    A model is what its weights, tokenizer and template are: its name or folder is not in the key.
    Nor is the place of a task card (examples and metric are in the spec by their digests), nor
    where a training is reported to.
    """
    content = {k: v for k, v in spec.items() if k not in ("task_card", "trackers")}
    if "model" in content:
        content["model"] = {k: v for k, v in content["model"].items() if k != "name"}
    return sha256(canonical_json(content).encode()).hexdigest()[:32]
