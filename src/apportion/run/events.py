"""What a run tells while it goes on: frozen values, in the order in which things happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PlanStarted:
    """A run begins: `total` stages that its cells need, of which `reused` need not run; tokens left
    by kind."""

    total: int
    reused: int
    tokens_left: Mapping[str, int]
    workers: int
    threads: int


@dataclass(frozen=True)
class StageStarted:
    """A stage begins to run."""

    key: str
    kind: str
    label: str
    tokens: int


@dataclass(frozen=True)
class StageProgress:
    """How far a running stage is, 0 to 1."""

    key: str
    fraction: float


@dataclass(frozen=True)
class StageFinished:
    """A stage is done; `reused`: another run did it meanwhile. `seconds` of its body."""

    key: str
    kind: str
    label: str
    tokens: int
    seconds: float
    reused: bool = False


@dataclass(frozen=True)
class StageFailed:
    """A stage failed; the rest goes on."""

    key: str
    kind: str
    label: str
    reason: str


@dataclass(frozen=True)
class StageWaiting:
    """Another process is running this stage; this run waits for it."""

    key: str
    label: str


@dataclass(frozen=True)
class Warning:
    """Something was mended, or is worth knowing."""

    text: str


@dataclass(frozen=True)
class Failure:
    """One failed stage of a report."""

    key: str
    label: str
    reason: str


@dataclass(frozen=True)
class RunReport:
    """How a run ended. `total` = `reused` + `executed` + failed + `not_run` stages."""

    total: int
    reused: int
    executed: int
    failed: tuple[Failure, ...]
    not_run: tuple[str, ...]  # labels of stages whose parents failed, or that were not reached
    seconds: float
    workers: int
    threads: int
    interrupted: bool = False
    warnings: tuple[str, ...] = field(default=())
    out_of_time: bool = False  # its time box ended before its stages did

    @property
    def exit_code(self) -> int:
        """0: all done, or time is up; 130: interrupted; 1: some stage failed."""
        if self.interrupted:
            return 130
        return 1 if self.failed else 0


@dataclass(frozen=True)
class RunFinished:
    """The run ended, in whatever way."""

    report: RunReport


Event = (
    PlanStarted
    | StageStarted
    | StageProgress
    | StageFinished
    | StageFailed
    | StageWaiting
    | Warning
    | RunFinished
)
