"""A study without models: quick deterministic bodies, and every kind of trouble on demand.

`FAKE_TROUBLE` in the environment is JSON {part of a label: action}; see `_trouble`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

from apportion.compile import Cell, Plan, Stage, stage_key
from apportion.errors import StageError
from apportion.run import bodies as real
from apportion.run.common import read_lines, write_lines
from apportion.run.run import run_plan

DOTTED = "fake_study:BODIES"
N_ITEMS = 8


def stage(kind, spec, parent, label, tokens=100):
    spec = {"kind": kind, "parent": parent, **spec}
    return Stage(stage_key(spec), kind, () if parent is None else (parent,), spec, label, tokens)


def fake_plan(n_sft=(0, 2, 4), n_pref=(0, 3), replicates=1, delay=0.0, size=1000, salt=""):
    """A lattice of cells with shared stages, as a compiled study has them."""
    stages, cells = {}, []

    def add(*args, **kwargs):
        new = stage(*args, **kwargs)
        return stages.setdefault(new.key, new).key

    for r in range(replicates):
        for a in n_sft:
            for b in n_pref:
                common = {"salt": salt, "delay": delay, "size": size}
                parent, keys = None, []
                if a:
                    name = f"sft {a} · replicate {r}"
                    parent = add("sft", {**common, "n": a, "seed": r}, None, name, tokens=100 * a)
                    keys.append(parent)
                if b:
                    name = f"preference {b} after {a} · replicate {r}"
                    spec = {**common, "n": b, "seed": r}
                    parent = add("preference", spec, parent, name, tokens=300 * b)
                    keys.append(parent)
                name = f"{a}+{b} · replicate {r}"
                seed = {"seed": r} if parent is None else {}
                keys.append(add("generate", {**common, **seed}, parent, f"generate {name}"))
                keys.append(add("score", {"primary": "strict"}, keys[-1], f"score {name}", 0))
                cells.append(
                    Cell("fake:model", "fake", "dpo", a, b, r, tuple(keys), ((10.0, 0.5),))
                )
    return Plan(None, tuple(cells), stages)


def _trouble(context):
    wishes = json.loads(os.environ.get("FAKE_TROUBLE", "{}"))
    for part, action in wishes.items():
        if part in context.stage.label:
            _act(action, context)


def _act(action, context):
    if action == "raise":
        raise ValueError(f"no luck in {context.out}")
    if action == "stage_error":
        raise StageError("the loss is not finite.")
    if action == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if action == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "exit":
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)
    if action == "full":
        (context.out / "half").write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")
    if action.startswith("sleep"):
        time.sleep(float(action.split(":")[1]))


def _bytes(*parts, size):
    seed = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).digest()
    return (seed * (size // 32 + 1))[:size]


def train(context):
    spec = context.stage.spec
    start = b"".join((a.folder / "weights.bin").read_bytes() for a in context.ancestors)
    (context.out / "sub").mkdir()
    (context.out / "sub" / "notes.txt").write_text(context.stage.label)
    for step in range(4):
        time.sleep(spec["delay"] / 4)
        context.progress((step + 1) / 4)
    _trouble(context)
    digest = hashlib.sha256(start).hexdigest()
    weights = _bytes(context.stage.key, digest, size=spec["size"])
    (context.out / "weights.bin").write_bytes(weights)
    return {"tokens": 7 * spec["n"]}


def generate(context):
    _trouble(context)
    time.sleep(context.stage.spec["delay"] / 2)
    start = b"".join((a.folder / "weights.bin").read_bytes() for a in context.ancestors)
    rows = []
    for i in range(N_ITEMS):
        draw = hashlib.sha256(start + context.stage.key.encode() + bytes([i])).digest()[0]
        rows.append(
            {"item_id": str(i), "text": str(draw), "n_tokens": draw, "truncated": draw > 250}
        )
    write_lines(context.out / real.COMPLETIONS, rows)
    return {"tokens": sum(row["n_tokens"] for row in rows)}


def score(context):
    _trouble(context)
    rows = []
    for answer in read_lines(context.ancestors[-1].folder / real.COMPLETIONS):
        number = int(answer["text"])
        judged = {"strict": float(number > 128), "lenient": float(number > 100), "format_ok": True}
        rows.append({**answer, **judged})
    write_lines(context.out / real.ITEMS, rows)
    return real.summarise(rows, "strict")


def group_body(contexts, keeper):
    """One after the other, each kept as it ends."""
    for context in contexts:
        keeper.done(context, lambda out, c=context: train(replace(c, out=out)), 0.5)


GROUP_BODY = group_body
BODIES = {"sft": train, "preference": train, "generate": generate, "score": score}


def run_fake(plan, store, workers=0, **kwargs):
    from apportion.run.layout import Layout

    return run_plan(plan, store, layout=Layout(workers, 1), bodies=DOTTED, **kwargs)


def in_child(work, *, own_group=False) -> int:
    """Fork and call `work()`; returns the process id. It exits with 0, or 99 if `work` raised."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        if own_group:  # here too: it may be killed before it gets to it
            with contextlib.suppress(OSError):
                os.setpgid(pid, pid)
        return pid
    code = 99
    try:
        if own_group:
            os.setpgid(0, 0)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def end_of(pid: int) -> int:
    """Exit code of a child, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def artifacts(store: Path) -> set[str]:
    """Keys of the artifacts that are visible."""
    return {folder.name for folder in (Path(store) / "artifacts").glob("*/*")}
