"""Shows a run while it goes on: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from types import TracebackType
from typing import TYPE_CHECKING, Self

from apportion.run import events
from apportion.run.estimate import seconds_left

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class ProgressDisplay:
    """A context manager to be passed as `on_event`."""

    def __init__(self, console: Console | None = None) -> None:
        if console is None:
            from rich.console import Console

            console = Console(stderr=True, highlight=False)
        self._console = console
        self._live = console.is_terminal and os.environ.get("CI", "").lower() != "true"
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._total = 0
        self._reused = 0
        self._done = 0
        self._workers = 1
        self._left: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._tokens: Counter[str] = Counter()
        self._running: dict[str, tuple[str, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def __call__(self, event: events.Event) -> None:
        """Take one event of a run."""
        match event:
            case events.PlanStarted():
                self._begin(event)
            case events.StageStarted():
                self._running[event.key] = (event.label, 0.0)
            case events.StageProgress():
                label, _ = self._running.get(event.key, ("", 0.0))
                self._running[event.key] = (label, event.fraction)
            case events.StageFinished():
                self._finished(event)
            case events.StageFailed():
                self._ended(event.key, event.kind, 0)
                self._say(f"failed: {event.label}: {event.reason}")
            case events.StageWaiting():
                self._running.pop(event.key, None)
                self._say(f"waiting: another run is doing {event.label}")
            case events.Warning():
                self._say(f"note: {event.text}")
            case events.RunFinished():
                self._end(event.report)
        self._refresh()

    def _begin(self, event: events.PlanStarted) -> None:
        self._total, self._reused = event.total, event.reused
        self._done = event.reused
        self._workers = max(1, event.workers)
        self._left = Counter(event.tokens_left)
        if event.total == event.reused:
            return
        self._say(
            f"{event.total} stages: {event.reused} reused, {event.total - event.reused} to run "
            f"({event.workers or 'in this process; no'} workers, {event.threads} threads each)"
        )
        if self._live:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._bar = Progress(
                MofNCompleteColumn(),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[left]}"),
                TextColumn("{task.description}", style="dim"),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total, completed=self._done, left="")

    def _finished(self, event: events.StageFinished) -> None:
        self._ended(event.key, event.kind, event.tokens)
        if not event.reused:
            self._seconds[event.kind] += event.seconds
            self._tokens[event.kind] += event.tokens
        if not self._live:
            how = "done by another run" if event.reused else f"{event.seconds:.1f} s"
            left = self._time_left()
            tail = f", {left} left" if left else ""
            self._say(f"[{self._done}/{self._total}] {event.label}: {how}{tail}")

    def _ended(self, key: str, kind: str, tokens: int) -> None:
        self._running.pop(key, None)
        self._done += 1
        self._left[kind] -= tokens

    def _time_left(self) -> str:
        left = dict(self._left)
        seconds = seconds_left(left, dict(self._tokens), dict(self._seconds), self._workers)
        return "" if seconds is None else readable(seconds)

    def _refresh(self) -> None:
        if self._bar is None or self._task is None:
            return
        now = "  ".join(f"{label} {share:.0%}" for label, share in self._running.values())
        left = self._time_left()
        self._bar.update(
            self._task,
            completed=self._done,
            description=now,
            left=f"{left} left" if left else "",
        )

    def _end(self, report: events.RunReport) -> None:
        self._stop()
        parts = [f"{report.executed} run", f"{report.reused} reused"]
        if report.failed:
            parts.append(f"{len(report.failed)} failed")
        if report.not_run:
            parts.append(f"{len(report.not_run)} not run")
        how = "finished"
        if report.interrupted:
            how = "interrupted: finished stages are kept"
        elif report.out_of_time:
            how = "time is up"
        self._say(f"{how} after {readable(report.seconds)} ({', '.join(parts)})")
        if report.out_of_time:
            left = len(report.not_run)
            self._say(
                f"{left} of {report.total} {'stage is' if left == 1 else 'stages are'} left"
                f"{self._about()}; the same command goes on from here."
            )

    def _about(self) -> str:
        left = self._time_left()
        return f" (about {left})" if left else ""

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def readable(seconds: float) -> str:
    """Seconds in the words of a clock: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
