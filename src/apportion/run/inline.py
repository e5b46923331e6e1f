"""The executor without processes: stages run here, one at a time (tests, debugging, notebooks)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from apportion.run import events
from apportion.run.context import find_bodies, warm_up
from apportion.run.layout import Layout
from apportion.run.perform import perform
from apportion.run.workers import Message
from apportion.store.store import Store

if TYPE_CHECKING:
    from apportion.compile import Stage

OnEvent = Callable[[events.Event], None]


class Inline:
    """Runs stages in this process, one at a time."""

    def __init__(self, store: Store, bodies: str, layout: Layout, tell: OnEvent) -> None:
        self._store = store
        self._dotted = bodies
        self._bodies = find_bodies(bodies)
        self._threads = layout.threads
        self._tell = tell
        self._stage: Stage | None = None

    @property
    def idle(self) -> bool:
        return self._stage is None

    def submit(self, stage: Stage) -> None:
        self._stage = stage

    def wait(self, timeout: float | None) -> list[Message]:
        """Run what was submitted; `timeout` does not matter here."""
        stage, self._stage = self._stage, None
        if stage is None:
            return []
        self._tell(events.StageStarted(stage.key, stage.kind, stage.label, stage.tokens))
        warm_up(self._dotted, stage.kind)
        outcome = perform(
            self._store,
            stage,
            self._bodies,
            threads=self._threads,
            worker={"workers": 0, "device": "this process"},
            progress=lambda fraction: self._tell(events.StageProgress(stage.key, fraction)),
        )
        return [Message("outcome", asdict(outcome))]

    def close(self) -> None:
        return
