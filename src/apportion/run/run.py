"""Running a plan: what is not done yet, in this store, on this machine."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from apportion.errors import StoreError
from apportion.run import events
from apportion.run.context import DEFAULT_BODIES
from apportion.run.engine import require_engine
from apportion.run.events import Event, RunReport
from apportion.run.inline import Inline
from apportion.run.layout import Layout, plan_layout
from apportion.run.schedule import Agenda, needed
from apportion.run.workers import Message, Workers
from apportion.store.records import NoClaim
from apportion.store.store import Store

if TYPE_CHECKING:
    from apportion.compile import Plan, Stage

__all__ = ["OnEvent", "RunReport", "run_plan"]

OnEvent = Callable[[Event], None]
POLL_SECONDS = 0.2  # how often a stage that another process runs is looked at


class Executor(Protocol):
    """What runs stages and says how they ended."""

    @property
    def idle(self) -> bool: ...

    def submit(self, stages: Sequence[Stage]) -> None: ...

    def wait(self, timeout: float | None) -> list[Message]: ...

    def close(self) -> None: ...


def run_plan(
    plan: Plan,
    store_path: str | Path,
    *,
    workers: int | None = None,
    on_event: OnEvent | None = None,
    bodies: str = DEFAULT_BODIES,
    layout: Layout | None = None,
    time_box: float | None = None,
) -> RunReport:
    """Run the stages of `plan` that are not done and whose results the plan's cells need.

    `workers`: processes; None chooses by model and machine, 0 runs in this process. `time_box`:
    seconds after which no stage is started any more; those that run are finished, so the run may
    end later by the longest of them. A failed stage stops only what depends on it. Ctrl-C and
    SIGTERM end the run with `interrupted` set; what finished is kept. Raises ManyErrors where this
    machine cannot run the study's engine, before anything runs, and StoreError (disk full,
    read-only, …) after stopping everything else.
    """
    tell = on_event or (lambda event: None)
    warnings: list[str] = []

    def warn(text: str) -> None:
        warnings.append(text)
        tell(events.Warning(text))

    with Store.open(store_path, warn=warn) as store:
        todo = needed(plan.stages, plan.wanted, _done_in(store))
        require_engine(plan, todo)
        layout = layout or _layout(plan, workers, todo)
        agenda = Agenda(plan.stages, todo, _groups(plan))
        run = _Run(plan, store=store, agenda=agenda, layout=layout, tell=tell, warn=warn)
        if time_box is not None:
            run.deadline = run.clock + time_box
        executor: Executor
        if layout.workers == 0:
            executor = Inline(store, bodies, layout, tell)
        else:
            executor = Workers(store.path, bodies, layout)
        return run.go(executor, warnings)


def _groups(plan: Plan) -> tuple[tuple[str, ...], ...]:
    """Keys of the stages to be run at once: trained over one base, or answered by one engine."""
    from apportion.compile import engine_groups, stack_groups, stack_size

    size = 1 if plan.study is None else stack_size(plan.study.stack)  # a plan made by hand
    return stack_groups(plan.stages, size) + engine_groups(plan.stages)


def _layout(plan: Plan, workers: int | None, todo: set[str]) -> Layout:
    if not todo:  # nothing to run: do not even look at the machine
        return Layout(workers or 0, 1)
    return plan_layout(plan, workers)


def _done_in(store: Store) -> Callable[[str], bool]:
    """Whether a stage is done; scores are what is read in the end, so they are verified here."""

    def done(key: str) -> bool:
        record = store.record(key)
        if record is None or record.status != "done":
            return False
        return record.kind != "score" or store.artifact_of(record) is not None

    return done


class _Run:
    """One run: what the executor says goes into the agenda and to the listener."""

    def __init__(
        self,
        plan: Plan,
        *,
        store: Store,
        agenda: Agenda,
        layout: Layout,
        tell: OnEvent,
        warn: Callable[[str], None],
    ) -> None:
        self.stages = plan.stages
        self.total = len(needed(plan.stages, plan.wanted, lambda key: False))
        self.store = store
        self.agenda = agenda
        self.layout = layout
        self.tell = tell
        self.warn = warn
        self.executed: set[str] = set()
        self.clock = time.monotonic()
        self.deadline = math.inf  # of time.monotonic(): after it no stage is started
        self.out_of_time = False

    def go(self, executor: Executor, warnings: list[str]) -> RunReport:
        self._announce()
        interrupted = False
        try:
            with _signals():
                self._loop(executor)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            executor.close()
            # What was cut short here must not fill the disk; nor what an earlier, killed run left
            # where its worker was still dying (and so held its claim) when this run began.
            self.store.sweep()
        report = self._report(interrupted, warnings)
        self.tell(events.RunFinished(report))
        return report

    def _announce(self) -> None:
        left: Counter[str] = Counter()
        for key in self.agenda.todo:
            left[self.stages[key].kind] += self.stages[key].tokens
        self.tell(
            events.PlanStarted(
                total=self.total,
                reused=self.total - len(self.agenda.todo),
                tokens_left=dict(left),
                workers=self.layout.workers,
                threads=self.layout.threads,
            )
        )

    def _loop(self, executor: Executor) -> None:
        while not self.agenda.over:
            while executor.idle and not self._late() and (keys := self.agenda.next_group()):
                executor.submit([self.stages[key] for key in keys])
            if self._late() and not self.agenda.running:
                self.out_of_time = True
                return
            if not self.agenda.running and self.agenda.waiting:
                time.sleep(POLL_SECONDS)
            elif self.agenda.running:
                for message in executor.wait(POLL_SECONDS if self.agenda.waiting else None):
                    self._hear(message)
            elif not self.agenda.over:
                raise RuntimeError("stages wait for each other: the plan is not a tree")
            self._look_at_waiting()

    def _late(self) -> bool:
        return time.monotonic() >= self.deadline

    def _hear(self, message: Message) -> None:
        body = message.body
        if message.op == "warning":
            self.warn(body["text"])
        elif message.op == "store":
            raise StoreError(body["problem"], file=body["file"], mend=body["mend"])
        elif message.op == "died":
            for key in body["keys"]:
                stage, alone = self.stages[key], body["alone"]
                self._died(stage, body["reason"], body["words"], alone=alone)
        elif message.op == "started":
            stage = self.stages[body["key"]]
            self.tell(events.StageStarted(stage.key, stage.kind, stage.label, stage.tokens))
        elif message.op == "progress":
            self.tell(events.StageProgress(body["key"], body["fraction"]))
        elif message.op == "outcome":
            self._ended(self.stages[body["key"]], body)

    def _ended(self, stage: Stage, outcome: Mapping[str, Any]) -> None:
        status = outcome["status"]
        if status == "busy":
            self.agenda.held(stage.key)
            self.tell(events.StageWaiting(stage.key, stage.label))
        elif status == "lost":
            self.agenda.lost(stage.key, outcome["parent"], _done_in(self.store))
            if stage.key in self.agenda.failed:
                self._failed(stage, self.agenda.failed[stage.key])
        elif status == "failed":
            self._failed(stage, outcome["reason"])
        elif status == "apart":
            self._apart(stage, outcome["reason"])
        else:
            self._done(stage, reused=status == "reused", seconds=outcome["seconds"])

    def _done(self, stage: Stage, *, reused: bool, seconds: float = 0.0) -> None:
        self.agenda.done(stage.key)
        if not reused:
            self.executed.add(stage.key)
        self.tell(
            events.StageFinished(
                stage.key, stage.kind, stage.label, stage.tokens, seconds, reused=reused
            )
        )

    def _failed(self, stage: Stage, reason: str) -> None:
        self.agenda.fail(stage.key, reason)
        self.tell(events.StageFailed(stage.key, stage.kind, stage.label, reason))

    def _apart(self, stage: Stage, reason: str) -> None:
        self.agenda.apart(stage.key)
        self.warn(f"{stage.label} is run alone, not with its group: {reason}")

    def _died(self, stage: Stage, reason: str, words: str, *, alone: bool) -> None:
        """The worker died: before its commit the stage failed, after it the stage is done.

        Of several that it ran at once nobody knows who is to blame: each is tried again, alone.
        """
        with self.store.claim(stage.key) or NoClaim() as claim:
            record = self.store.record(stage.key)
            if record is not None and record.status == "done":
                self._done(stage, reused=False, seconds=record.seconds)
                return
            if claim is not None and alone:
                self.store.fail(stage, reason, claim=claim, traceback=words)
        (self._failed if alone else self._apart)(stage, reason)
        self.store.sweep()

    def _look_at_waiting(self) -> None:
        for key in sorted(self.agenda.waiting):
            claim = self.store.claim(key)
            if claim is None:
                continue
            claim.release()
            if _done_in(self.store)(key):
                self._done(self.stages[key], reused=True)
            else:
                self.agenda.again(key)

    def _report(self, interrupted: bool, warnings: list[str]) -> RunReport:
        agenda = self.agenda
        left = agenda.todo | agenda.running | agenda.waiting | agenda.blocked
        return RunReport(
            total=self.total,
            reused=self.total - len(self.executed | set(agenda.failed) | left),
            executed=len(self.executed),
            failed=tuple(
                events.Failure(key, self.stages[key].label, reason)
                for key, reason in agenda.failed.items()
            ),
            not_run=tuple(stage.label for key, stage in self.stages.items() if key in left),
            seconds=time.monotonic() - self.clock,
            workers=self.layout.workers,
            threads=self.layout.threads,
            interrupted=interrupted,
            warnings=tuple(warnings),
            out_of_time=self.out_of_time,
        )


@contextmanager
def _signals() -> Iterator[None]:
    """Within: SIGTERM and SIGHUP end the run as Ctrl-C does (where this thread may say so)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.signal(name, stop) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
