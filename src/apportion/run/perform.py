"""One stage, or several at once, from claim to record: in a worker process or in this one."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from apportion.errors import ApportionError, StoreError
from apportion.run.context import Ancestor, Bodies, Body, Context, GroupBody
from apportion.run.legs import start_key
from apportion.store.locks import Claim
from apportion.store.store import Store

if TYPE_CHECKING:
    from apportion.compile import Stage

_TRAINING = ("sft", "preference")
_REASON_LIMIT = 600


@dataclass(frozen=True)
class Outcome:
    """How an execution ended.

    done: by this execution; reused: it was done already; busy: another process runs it;
    lost: the artifact of `parent` is missing or damaged; failed: with a reason; apart: it could
    not be run with its group (for a reason) and has to be run alone.
    """

    key: str
    status: Literal["done", "reused", "busy", "lost", "failed", "apart"]
    seconds: float = 0.0
    tokens: int = 0
    reason: str | None = None
    parent: str | None = None


class _Lost(Exception):
    pass


def perform(
    store: Store,
    stages: Sequence[Stage],
    bodies: Bodies,
    *,
    threads: int,
    worker: Mapping[str, Any],
    progress: Callable[[str, float], None],
    tell: Callable[[Outcome], None],
) -> None:
    """Run `stages` (one, or a group at once) unless done or claimed elsewhere; `tell` how each
    ended, as soon as it has. Failures are recorded and told, not raised.

    StoreError (full disk, lost permission, …) is raised: no other stage would fare better.
    """
    with ExitStack() as claims:
        ready: list[tuple[Claim, Context]] = []
        for stage in stages:
            found = _prepared(store, stage, claims, threads=threads, progress=progress)
            if isinstance(found, Outcome):
                tell(found)
            else:
                ready.append(found)
        if len(ready) > 1 and bodies.of_group is not None:
            _run_group(store, ready, bodies.of_group, worker, tell)
            return
        for claim, context in ready:
            body = bodies.of_kind[context.stage.kind]
            outcome = _run_one(store, claim, body, context, worker)
            claim.release()
            tell(outcome)


def _prepared(
    store: Store,
    stage: Stage,
    claims: ExitStack,
    *,
    threads: int,
    progress: Callable[[str, float], None],
) -> tuple[Claim, Context] | Outcome:
    """The claim on a stage and what its body is given, or why it is not run."""
    claim = store.claim(stage.key)
    if claim is None:
        return Outcome(stage.key, "busy")
    claims.enter_context(claim)
    found: Outcome | None = None
    if store.artifact(stage.key, claim=claim) is not None:
        found = Outcome(stage.key, "reused")
    else:
        try:
            ancestors = _ancestors(store, stage)
        except _Lost as lost:
            found = Outcome(stage.key, "lost", parent=str(lost))
    if found is not None:
        claim.release()  # before it is told of: the next to try must find it free
        return found
    places = (store.path / "tmp", store.path / "cache")
    told = partial(progress, stage.key)
    return claim, Context(stage, ancestors, *places, threads=threads, progress=told)


def _run_one(
    store: Store, claim: Claim, body: Body, context: Context, worker: Mapping[str, Any]
) -> Outcome:
    """Run `body` and keep what it writes; its folder is the commit's to choose."""

    def write(out: Path) -> Mapping[str, Any]:
        return body(replace(context, out=out))

    return _kept(store, claim, context, write, worker)


def _run_group(
    store: Store,
    ready: Sequence[tuple[Claim, Context]],
    body: GroupBody,
    worker: Mapping[str, Any],
    tell: Callable[[Outcome], None],
) -> None:
    """Run `body` on all; what it keeps nothing of is told to be run alone."""
    keeper = _Keeper(store, ready, worker, tell)
    reason = "its group did not finish it"
    try:
        body([context for _, context in ready], keeper)
    except StoreError:
        raise
    except Exception as error:  # of all: who is to blame shows when each runs alone
        reason = _reason(error, store)
    for key, (claim, _) in list(keeper.left.items()):
        claim.release()
        tell(Outcome(key, "apart", reason=reason))


class _Keeper:
    """Commits the stages of a group as they end; the record of each names the whole group."""

    def __init__(
        self,
        store: Store,
        ready: Sequence[tuple[Claim, Context]],
        worker: Mapping[str, Any],
        tell: Callable[[Outcome], None],
    ) -> None:
        self._store = store
        self._tell = tell
        self.left = {context.stage.key: (claim, context) for claim, context in ready}
        # training at once changes last digits, sharing an engine does not: told apart
        trained = all(context.stage.kind in _TRAINING for _, context in ready)
        self._worker = {**worker, "stacked" if trained else "one_engine": list(self.left)}

    def done(
        self, context: Context, write: Callable[[Path], Mapping[str, Any]], seconds: float
    ) -> None:
        claim, _ = self.left[context.stage.key]
        outcome = _kept(self._store, claim, context, write, self._worker, spent=seconds)
        self._end(outcome)

    def failed(self, context: Context, error: Exception) -> None:
        claim, _ = self.left[context.stage.key]
        self._end(_failed(self._store, claim, context, error, self._worker))

    def _end(self, outcome: Outcome) -> None:
        claim, _ = self.left.pop(outcome.key)
        claim.release()
        self._tell(outcome)


def _kept(
    store: Store,
    claim: Claim,
    context: Context,
    write: Callable[[Path], Mapping[str, Any]],
    worker: Mapping[str, Any],
    *,
    spent: float = 0.0,
) -> Outcome:
    stage, facts = context.stage, _facts(context, worker)
    try:
        record = store.commit(stage, write, claim=claim, worker=facts, spent=spent)
    except StoreError:
        raise
    except Exception as error:
        return _failed(store, claim, context, error, worker)
    return Outcome(stage.key, "done", seconds=record.seconds, tokens=record.tokens)


def _failed(
    store: Store, claim: Claim, context: Context, error: Exception, worker: Mapping[str, Any]
) -> Outcome:
    reason = _reason(error, store)
    words = "".join(traceback.format_exception(error))
    facts = _facts(context, worker)
    store.fail(context.stage, reason, claim=claim, traceback=words, worker=facts)
    return Outcome(context.stage.key, "failed", reason=reason)


def _facts(context: Context, worker: Mapping[str, Any]) -> dict[str, Any]:
    return {**worker, "pid": os.getpid(), "threads": context.threads}


def _ancestors(store: Store, stage: Stage) -> tuple[Ancestor, ...]:
    """The parent and the training stages below it that its weights need, oldest first.

    Under a whole model nothing older is needed; an adapter needs all that it was trained on. A leg
    of a trajectory has, last of all, the state of the leg before it.
    """
    chain: list[Ancestor] = []
    keys = list(stage.parents)
    while keys:
        key = keys.pop()
        folder = store.artifact(key)
        record = store.record(key)
        if folder is None or record is None:
            raise _Lost(key)
        chain.append(Ancestor(record, folder))
        if record.kind in _TRAINING and (folder / "adapter_config.json").is_file():
            keys.extend(start_key(record.spec, record.parents))
    return tuple(reversed(chain))


def _reason(error: Exception, store: Store) -> str:
    """One line for people, without paths or numbers that differ between two runs."""
    text = str(error) if isinstance(error, ApportionError) else f"{type(error).__name__}: {error}"
    text = " ".join(text.split())
    for place in {str(store.path), str(store.path.resolve())}:
        text = text.replace(place, "<store>")
    return text[:_REASON_LIMIT]
