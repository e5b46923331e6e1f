"""One stage from claim to record: the same in a worker process and in this one."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from apportion.errors import ApportionError, StoreError
from apportion.run.context import Ancestor, Body, Context
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
    lost: the artifact of `parent` is missing or damaged; failed: with a reason.
    """

    key: str
    status: Literal["done", "reused", "busy", "lost", "failed"]
    seconds: float = 0.0
    tokens: int = 0
    reason: str | None = None
    parent: str | None = None


class _Lost(Exception):
    pass


def perform(
    store: Store,
    stage: Stage,
    bodies: Mapping[str, Body],
    *,
    threads: int,
    worker: Mapping[str, Any],
    progress: Callable[[float], None],
) -> Outcome:
    """Run `stage` unless it is done or claimed elsewhere; failures are recorded, not raised.

    StoreError (full disk, lost permission, …) is raised: no other stage would fare better.
    """
    claim = store.claim(stage.key)
    if claim is None:
        return Outcome(stage.key, "busy")
    with claim:
        if store.artifact(stage.key, claim=claim) is not None:
            return Outcome(stage.key, "reused")
        try:
            ancestors = _ancestors(store, stage)
        except _Lost as lost:
            return Outcome(stage.key, "lost", parent=str(lost))
        places = (store.path / "tmp", store.path / "cache")
        context = Context(stage, ancestors, *places, threads=threads, progress=progress)
        return _execute(store, claim, bodies[stage.kind], context, worker)


def _execute(
    store: Store, claim: Claim, body: Body, context: Context, worker: Mapping[str, Any]
) -> Outcome:
    """Run `body` and keep what it writes; its folder is the commit's to choose."""
    stage = context.stage

    def write(out: Path) -> Mapping[str, Any]:
        return body(replace(context, out=out))

    facts = {**worker, "pid": os.getpid(), "threads": context.threads}
    try:
        record = store.commit(stage, write, claim=claim, worker=facts)
    except StoreError:
        raise
    except Exception as error:
        reason = _reason(error, store)
        store.fail(stage, reason, claim=claim, traceback=traceback.format_exc(), worker=facts)
        return Outcome(stage.key, "failed", reason=reason)
    return Outcome(stage.key, "done", seconds=record.seconds, tokens=record.tokens)


def _ancestors(store: Store, stage: Stage) -> tuple[Ancestor, ...]:
    """The parent and the training stages below it that its weights need, oldest first.

    Under a whole model nothing older is needed; an adapter needs all that it was trained on.
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
            keys.extend(record.parents)
    return tuple(reversed(chain))


def _reason(error: Exception, store: Store) -> str:
    """One line for people, without paths or numbers that differ between two runs."""
    text = str(error) if isinstance(error, ApportionError) else f"{type(error).__name__}: {error}"
    text = " ".join(text.split())
    for place in {str(store.path), str(store.path.resolve())}:
        text = text.replace(place, "<store>")
    return text[:_REASON_LIMIT]
