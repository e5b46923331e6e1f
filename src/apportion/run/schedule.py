"""Which stage runs next: a pure bookkeeping of a plan's stages.

Scores first, then generation (results become visible early and cost little), then training with
the most tokens on the path that starts there, so that the longest chain never starts last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apportion.compile import Stage

_FIRST = {"score": 0, "generate": 1}
_MOST_LOSSES = 3  # a parent that is lost again and again is not mended by running it again


def path_tokens(stages: Mapping[str, Stage]) -> dict[str, int]:
    """Tokens of the longest path that starts with each stage, its own included."""
    longest: dict[str, int] = {}
    below: dict[str, int] = {}
    for key in reversed(list(stages)):  # topological order backwards: children before parents
        longest[key] = stages[key].tokens + below.get(key, 0)
        for parent in stages[key].parents:
            below[parent] = max(below.get(parent, 0), longest[key])
    return longest


def needed(
    stages: Mapping[str, Stage], wanted: Iterable[str], is_done: Callable[[str], bool]
) -> set[str]:
    """Keys that have to run so that all of `wanted` are done: ancestors only where they are used.

    `is_done` is asked at most once per key.
    """
    todo: set[str] = set()
    seen: set[str] = set()
    queue = list(wanted)
    while queue:
        key = queue.pop()
        if key in seen:
            continue
        seen.add(key)
        if not is_done(key):
            todo.add(key)
            queue.extend(stages[key].parents)
    return todo


class Agenda:
    """The stages of a run and where each of them stands; keys are never in two states."""

    def __init__(
        self,
        stages: Mapping[str, Stage],
        todo: Iterable[str],
        groups: Iterable[tuple[str, ...]] = (),
    ) -> None:
        """`groups`: keys of stages to be run at once."""
        self.stages = stages
        self._group = {key: group for group in groups for key in group}
        self._weight = path_tokens(stages)
        self.todo = set(todo)
        self.running: set[str] = set()
        self.waiting: set[str] = set()  # run by another process
        self.failed: dict[str, str] = {}
        self.blocked: set[str] = set()  # an ancestor failed
        self._losses: dict[str, int] = {}
        self._children: dict[str, list[str]] = {}
        for key, stage in stages.items():
            for parent in stage.parents:
                self._children.setdefault(parent, []).append(key)
        # What may be ready, most urgent first. A stage is offered when it comes into `todo`, when
        # a parent finishes and when one of its group will not run with it; what is not ready as
        # it comes up is dropped until then. So a stage costs a few operations, however many.
        self._offered: list[tuple[int, int, str]] = []
        self._offer(self.todo)

    @property
    def over(self) -> bool:
        return not (self.todo or self.running or self.waiting)

    def next_group(self) -> tuple[str, ...]:
        """Take the most urgent ready stage and those of its group that are to be run; () for none.

        A group waits until all of them are ready: for parents that are still to come, never for
        stages that are done, failed, blocked or run elsewhere.
        """
        while self._offered:
            *_, key = heappop(self._offered)
            taken = self._companions(key) if key in self.todo else ()
            if taken and all(map(self._is_ready, taken)):
                self.todo.difference_update(taken)
                self.running.update(taken)
                return taken
        return ()

    def _offer(self, keys: Iterable[str]) -> None:
        for key in keys:
            if key in self.todo and self._is_ready(key):
                heappush(self._offered, self._urgency(key))

    def _is_ready(self, key: str) -> bool:
        unfinished = (self.todo, self.running, self.waiting, self.failed, self.blocked)
        return not any(up in some for up in self.stages[key].parents for some in unfinished)

    def _companions(self, key: str) -> tuple[str, ...]:
        """`key` and those of its group that are to be run."""
        return tuple(one for one in self._group.get(key, (key,)) if one in self.todo)

    def apart(self, key: str) -> None:
        """`key` did not run with its group: it may be run here now, alone."""
        rest = tuple(one for one in self._group.pop(key, ()) if one != key)
        self._group.update(dict.fromkeys(rest, rest))
        self._offer(rest)
        self.again(key)

    def _urgency(self, key: str) -> tuple[int, int, str]:
        return (_FIRST.get(self.stages[key].kind, 2), -self._weight[key], key)

    def done(self, key: str) -> None:
        """`key` finished (here or elsewhere)."""
        self._take(key)
        self._offer(self._children.get(key, ()))

    def held(self, key: str) -> None:
        """`key` is being run by another process."""
        self._take(key)
        self.waiting.add(key)

    def again(self, key: str) -> None:
        """`key` may be run here now."""
        self._take(key)
        self.todo.add(key)
        self._offer([key])

    def fail(self, key: str, reason: str) -> None:
        """`key` failed: what depends on it will not run."""
        self._take(key)
        self.failed[key] = reason
        below = list(self._children.get(key, ()))
        while below:
            child = below.pop()
            if child in self.todo:
                self._take(child)
                self.blocked.add(child)
                below += self._children.get(child, ())

    def lost(self, key: str, parent: str, is_done: Callable[[str], bool]) -> bool:
        """`key` found its parent's artifact missing or damaged: both run again, parent first.

        False (and `key` fails) where that happened too often.
        """
        self._losses[parent] = self._losses.get(parent, 0) + 1
        if self._losses[parent] > _MOST_LOSSES or parent not in self.stages:
            self.fail(key, f"the artifact of its parent ({parent}) is lost again and again")
            return False
        self.again(key)
        known = self.todo | self.running | self.waiting | set(self.failed) | self.blocked
        if parent not in known:
            above = needed(self.stages, self.stages[parent].parents, is_done) - known
            self.todo |= {parent, *above}
            self._offer({parent, *above})
        return True

    def _take(self, key: str) -> None:
        self.todo.discard(key)
        self.running.discard(key)
        self.waiting.discard(key)
        self._offer(self._group.get(key, ()))  # they need not wait for it any longer
