"""The executor without processes: stages run here, one at a time (tests, debugging, notebooks)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        self._stages: Sequence[Stage] = ()

    @property
    def idle(self) -> bool:
        return not self._stages

    def submit(self, stages: Sequence[Stage]) -> None:
        self._stages = stages

    def wait(self, timeout: float | None) -> list[Message]:
        """Run what was submitted; `timeout` does not matter here."""
        stages, self._stages = self._stages, ()
        heard: list[Message] = []
        if not stages:
            return heard
        for stage in stages:
            self._tell(events.StageStarted(stage.key, stage.kind, stage.label, stage.tokens))
        warm_up(self._dotted, stages[0])
        perform(
            self._store,
            stages,
            self._bodies,
            threads=self._threads,
            worker={"workers": 0, "device": "this process"},
            progress=lambda key, fraction: self._tell(events.StageProgress(key, fraction)),
            tell=lambda outcome: heard.append(Message("outcome", asdict(outcome))),
        )
        return heard

    def close(self) -> None:
        return
