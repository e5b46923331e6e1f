"""lm-eval's sample logs (``--log_samples``): one JSON object per test item and filter.

A line has ``doc_id``, ``doc_hash``, ``filter``, the names of its ``metrics``, and each metric's
value under its name: a number, a truth value, or a list of them (IFEval's instructions).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from apportion.errors import ResultsError
from apportion.run.imports.place import Place, stderr

if TYPE_CHECKING:
    from apportion.run.results import CellResult

NO_FILTER = "none"
_FILE = re.compile(r"samples_(?P<task>.+)_\d{4}-\d{2}-\d{2}T[\d.:-]+")
# What stands for strict and lenient scoring where both were logged: of the metric, of the filter.
_PAIRS = (("strict_acc", "loose_acc"), ("strict-match", "flexible-extract"))


@dataclass(frozen=True)
class Samples:
    """One log. `scores[name]` has the values of metric `name` in order of doc_id: one number per
    item, or one per instruction. Names are ``metric`` or ``metric,filter``. `items` is a digest of
    the test items in that order."""

    path: Path
    task: str | None
    scores: Mapping[str, tuple[float, ...]]
    items: str


def looks_like_samples(path: Path) -> bool:
    """Whether the first line of a file is a sample of lm-eval."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            first = json.loads(lines.readline())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(first, dict) and "doc_id" in first and "resps" in first


def read_samples(path: str | Path) -> Samples:
    """Read a log. ResultsError, with the line's number, for the first thing that cannot be used."""
    path = Path(path)
    found: dict[str, dict[int, tuple[float, ...]]] = {}
    hashes: dict[int, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(
            f"it cannot be read: {error}.", file=path, mend="give a samples_*.jsonl file."
        ) from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            _Line(path, number, line).add_to(found, hashes)
    if not found:
        raise ResultsError("the log has no samples.", file=path, mend="run lm-eval again.")
    ids = sorted(hashes)
    for name, values in found.items():
        if len(values) != len(ids):
            raise ResultsError(
                f"{name} is there for {len(values)} of {len(ids)} items.",
                file=path,
                mend="the log is not whole: run lm-eval again.",
            )
    total = hashlib.sha256("\n".join(f"{i} {hashes[i]}" for i in ids).encode())
    named = _FILE.fullmatch(path.stem)
    return Samples(
        path=path,
        task=named["task"] if named else None,
        scores={name: tuple(v for i in ids for v in values[i]) for name, values in found.items()},
        items=total.hexdigest(),
    )


class _Line:
    """One line being read."""

    def __init__(self, path: Path, number: int, text: str) -> None:
        self.path, self.number = path, number
        try:
            self.row = json.loads(text)
        except (ValueError, RecursionError) as error:
            self._refuse(None, f"it is not JSON: {error}.")
        if not isinstance(self.row, dict):
            self._refuse(None, "a sample must be a JSON object.")

    def _refuse(self, field: str | None, problem: str) -> NoReturn:
        raise ResultsError(
            problem,
            file=self.path,
            row=self.number,
            field=field,
            mend="give a file that `lm_eval --log_samples` wrote.",
        )

    def add_to(
        self, found: dict[str, dict[int, tuple[float, ...]]], hashes: dict[int, str]
    ) -> None:
        item, names = self.row.get("doc_id"), self.row.get("metrics")
        if not isinstance(item, int) or isinstance(item, bool):
            self._refuse("doc_id", f"{item!r} is not the number of a test item.")
        if not isinstance(names, list) or not names:
            self._refuse("metrics", "there are no names of metrics.")
        told = str(self.row.get("doc_hash", ""))
        if hashes.setdefault(item, told) != told:
            self._refuse("doc_hash", f"item {item} is another one than in an earlier line.")
        kept = self.row.get("filter", NO_FILTER)
        for name in names:
            full = str(name) if kept == NO_FILTER else f"{name},{kept}"
            values = found.setdefault(full, {})
            if item in values:
                self._refuse("doc_id", f"item {item} stands twice for {full}.")
            values[item] = self._values(str(name))

    def _values(self, name: str) -> tuple[float, ...]:
        value: Any = self.row.get(name)
        several = value if isinstance(value, list) and value else [value]
        for one in several:
            if not isinstance(one, int | float) or not math.isfinite(one) or not 0 <= one <= 1:
                self._refuse(name, f"{one!r} is not a score from 0 to 1.")
        return tuple(float(one) for one in several)


def result_of(samples: Samples, place: Place, metric: str | None = None) -> CellResult:
    """The cell that `samples` are of, scored by `metric` (needed where there are several).

    Raises ResultsError where the metric is not there, or not said.
    """
    names = sorted(samples.scores)
    if metric is None and len(names) > 1:
        raise ResultsError(
            f"the log has several metrics: {'; '.join(names)}.",
            file=samples.path,
            field="--metric",
            mend="say which one is the score, with --metric.",
        )
    name = names[0] if metric is None else metric
    if name not in samples.scores:
        raise ResultsError(
            f"the log has no metric {name!r}.",
            file=samples.path,
            field="--metric",
            mend=f"write one of: {'; '.join(names)}.",
        )
    scores = samples.scores[name]
    return place.result(
        math.fsum(scores) / len(scores),
        stderr=stderr(scores),
        n_items=len(scores),
        item_scores=scores,
        items_digest=samples.items,
        **_both(samples, name),
    )


def _both(samples: Samples, name: str) -> dict[str, float]:
    """Strict and lenient means, where the log has both for this metric."""
    for strict, lenient in _PAIRS:
        for own, other in ((strict, lenient), (lenient, strict)):
            if name.endswith(own):
                twin = name.removesuffix(own) + other
                if twin in samples.scores:
                    pair = {"strict" if own == strict else "lenient": name}
                    pair["lenient" if own == strict else "strict"] = twin
                    return {
                        kind: math.fsum(samples.scores[one]) / len(samples.scores[one])
                        for kind, one in sorted(pair.items())
                    }
    return {}
