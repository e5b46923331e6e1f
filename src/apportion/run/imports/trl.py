"""Runs of TRL's (and transformers') trainers: the last value of one metric they logged.

A trainer's log holds losses and what its ``compute_metrics`` returned. A loss is no score; an
accuracy that the run measured itself is, if all runs measured it on the same items.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.errors import ResultsError
from apportion.run.imports.place import Place

if TYPE_CHECKING:
    from apportion.run.results import CellResult

STATE = "trainer_state.json"


def find_state(path: str | Path) -> Path | None:
    """The trainer_state.json that `path` is, or holds, or the newest checkpoint in it holds."""
    path = Path(path)
    if path.name == STATE and path.is_file():
        return path
    if (path / STATE).is_file():
        return path / STATE
    steps: list[tuple[int, Path]] = []
    for folder in path.glob("checkpoint-*") if path.is_dir() else ():
        number = folder.name.removeprefix("checkpoint-")
        if number.isdecimal() and (folder / STATE).is_file():
            steps.append((int(number), folder / STATE))
    return max(steps)[1] if steps else None


def result_of(state: str | Path, place: Place, metric: str | None, n_items: int) -> CellResult:
    """The cell whose run logged `metric` last, on `n_items` test items.

    Raises ResultsError where it was not logged, or is no score from 0 to 1.
    """
    state = Path(state)
    history = _history(state)
    there = sorted({name for entry in history for name in entry if name.startswith("eval_")})
    scores = [name for name in there if _is_score(name, history)]
    listed = f"it logged: {', '.join(scores)}" if scores else "it logged no score"
    if metric is None or metric not in there:
        problem = "no metric is named" if metric is None else f"the run logged no {metric!r}"
        raise ResultsError(
            f"{problem}; {listed}.",
            file=state,
            field="--metric",
            mend="name one of them, or evaluate the model with lm-eval and import its samples.",
        )
    entry = next(one for one in reversed(history) if metric in one)
    value = entry[metric]
    if not _is_score(metric, history):
        raise ResultsError(
            f"{metric} is {value!r} at step {entry.get('step')}: no score from 0 to 1.",
            file=state,
            field="--metric",
            mend="name an accuracy; a loss or a length is no score.",
        )
    if n_items < 1:
        raise ResultsError("there must be test items.", field="--items", mend="say how many.")
    return place.result(float(value), n_items=n_items)


def _history(state: Path) -> list[dict[str, Any]]:
    try:
        whole = json.loads(state.read_text(encoding="utf-8"))
        history: list[dict[str, Any]] = whole["log_history"]
        good = isinstance(history, list) and all(isinstance(one, dict) for one in history)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ResultsError(
            f"it is no trainer's state: {type(error).__name__}: {error}.",
            file=state,
            mend=f"give a {STATE}, or the folder of a run.",
        ) from error
    if not good:
        raise ResultsError("its log_history is no list of entries.", file=state)
    return history


def _is_score(name: str, history: list[dict[str, Any]]) -> bool:
    """Whether the last value of a metric can be a score; losses and timings never are."""
    if name.endswith(("loss", "runtime", "per_second", "_tokens", "entropy")):
        return False
    value = next(one[name] for one in reversed(history) if name in one)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value <= 1
