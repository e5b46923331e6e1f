"""A task card's metric: which one, and the function that scores a response by it."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import math
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from apportion.config.base import Frozen
from apportion.config.values import Text, show, wrong
from apportion.data.files import Row
from apportion.data.records import Item
from apportion.data.shape import RowProblem, Shape, get, plain_reference, text
from apportion.data.source import Regex
from apportion.errors import DataError, StudyError
from apportion.metrics import answers, final_number, ifeval
from apportion.tasks.base import ItemScore

Score = Callable[[Item, str], ItemScore]
Kind = Literal["final_number", "exact", "contains", "regex", "ifeval", "python"]


class Metric(Frozen):
    """A name, or `{regex: {strict: ..., lenient: ...}}`, `{ifeval: {level: prompt}}`,
    `{python: module:function}`.
    """

    kind: Kind
    strict: Annotated[Regex | None, Field(description="regex: its first match, first group.")] = (
        None
    )
    lenient: Annotated[Regex | None, Field(description="regex: its last match; else strict.")] = (
        None
    )
    level: Annotated[
        Literal["instruction", "prompt"], Field(description="ifeval: which accuracy is the score.")
    ] = "instruction"
    function: Annotated[Text | None, Field(description="python: module:function.")] = None

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"kind": value}
        if isinstance(value, Mapping) and "kind" not in value and len(value) == 1:
            (kind, inner), *_ = value.items()
            if kind == "python":
                return {"kind": kind, "function": inner}
            if inner is None or isinstance(inner, Mapping):
                return {"kind": kind, **(inner or {})}
            raise wrong(
                f"the settings of {kind} are a mapping, not {show(inner)}.",
                "write {regex: {strict: '...'}}, say.",
            )
        return value

    @model_validator(mode="after")
    def _whole(self) -> Metric:
        own = {"regex": {"strict", "lenient"}, "ifeval": {"level"}, "python": {"function"}}
        extra = self.model_fields_set - {"kind"} - own.get(self.kind, set())
        if extra:
            raise wrong(f"{self.kind} has no {', '.join(sorted(extra))}.", "remove it.")
        if self.kind == "regex" and self.strict is None:
            raise wrong("regex needs strict.", r"write {regex: {strict: 'Answer: (\d+)'}}, say.")
        if self.kind == "python":
            module, colon, name = (self.function or "").partition(":")
            if not (colon and name.isidentifier() and _dotted(module)):
                raise wrong(
                    f"{show(self.function)} is not module:function.",
                    "write {python: my_metric:score} for score in my_metric.py beside the card.",
                )
        return self


def _dotted(module: str) -> bool:
    return all(part.isidentifier() for part in module.split("."))


def read_reference(metric: Metric) -> Callable[[Row, Shape], str]:
    """How a test row becomes what the metric compares a response with."""
    return _ifeval_reference if metric.kind == "ifeval" else plain_reference


def _ifeval_reference(row: Row, shape: Shape) -> str:
    names, arguments = get(row, shape, "instruction_id_list"), get(row, shape, "kwargs")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise RowProblem(
            "instruction_id_list is not a list of names.", "instruction_id_list", "see IFEval."
        )
    right = isinstance(arguments, list) and all(isinstance(a, dict) for a in arguments)
    if not right or len(arguments) != len(names):
        raise RowProblem(
            "kwargs is not a list with one mapping for each instruction.", "kwargs", "see IFEval."
        )
    prompt = text(get(row, shape, "prompt"), "prompt")
    return ifeval.reference(prompt, names, arguments, row.values.get("key", row.number))


def scorer(metric: Metric, folder: Path) -> Score:
    """The function that scores a response; heavy packages are loaded at its first call."""
    if metric.kind == "final_number":
        return _final_number
    if metric.kind == "ifeval":
        return lambda item, response: _ifeval(item, response, metric.level)
    if metric.kind == "python":
        module, _, name = str(metric.function).partition(":")
        return lambda item, response: _by_hook(_hook(module, name, folder), item, response)
    if metric.kind == "regex":
        strict = str(metric.strict)
        return lambda item, response: _score(
            answers.by_regex(response, item.reference, strict, metric.lenient)
        )
    judge = answers.exact if metric.kind == "exact" else answers.contains
    return lambda item, response: _score(judge(response, item.reference))


def version(metric: Metric, folder: Path) -> str:
    """The digest of all that decides a score: settings, the code's versions, a hook's own source.

    StudyError where a hook cannot be found.
    """
    own = {"final_number": final_number.VERSION, "ifeval": ifeval.VERSION}
    content: list[Any] = [metric.model_dump(mode="json"), own.get(metric.kind, answers.VERSION)]
    if metric.kind == "python":
        module, _, name = str(metric.function).partition(":")
        source = _file_of(_module(module, folder))
        _hook(module, name, folder)
        content.append(hashlib.sha256(source.read_bytes()).hexdigest())
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


# -- the metrics as scores ----------------------------------------------------------------------


def _score(judged: answers.Judged) -> ItemScore:
    return ItemScore(judged.strict, judged.lenient, judged.format_ok)


def _final_number(item: Item, response: str) -> ItemScore:
    strict = final_number.strict_answer(response)
    lenient = final_number.lenient_answer(response)
    return ItemScore(
        strict=float(final_number.matches(strict, item.reference)),
        lenient=float(final_number.matches(lenient, item.reference)),
        format_ok=strict is not None,
    )


@lru_cache(maxsize=1)
def _checker() -> ifeval.Checker:
    return ifeval.lm_eval_checker()


def _ifeval(item: Item, response: str, level: str) -> ItemScore:
    verdict = _checker()(json.loads(item.reference), response)
    if level == "prompt":
        strict, lenient = float(all(verdict.strict)), float(all(verdict.loose))
        return ItemScore(strict, lenient, bool(response.strip()), verdict=verdict)
    n = len(verdict.strict)
    return ItemScore(
        sum(verdict.strict) / n,
        sum(verdict.loose) / n,
        bool(response.strip()),
        weight=float(n),
        verdict=verdict,
    )


# -- a user's own function ----------------------------------------------------------------------


def _module(name: str, folder: Path) -> ModuleType:
    """The module beside the card, else an installed one. StudyError where it cannot be imported."""
    beside = folder.joinpath(*name.split(".")).with_suffix(".py")
    try:
        if not beside.is_file():
            return importlib.import_module(name)
        stat = beside.stat()
        return _loaded(str(beside), stat.st_size, stat.st_mtime_ns)
    except Exception as error:
        raise StudyError(
            f"the module {name!r} of the metric cannot be imported: {type(error).__name__}: "
            f"{error}",
            field="metric",
            mend=f"put {name}.py beside the card, and see that it imports.",
        ) from error


@lru_cache(maxsize=16)
def _loaded(path: str, size: int, mtime_ns: int) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"apportion_hook_{size}_{mtime_ns}", path)
    assert spec is not None and spec.loader is not None  # noqa: S101 - a .py file has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _file_of(module: ModuleType) -> Path:
    file = inspect.getsourcefile(module)
    if file is None:
        raise StudyError(
            f"the module {module.__name__!r} has no source file.",
            field="metric",
            mend="name a module written in Python: its source is part of the key.",
        )
    return Path(file)


def _hook(module: str, name: str, folder: Path) -> Callable[..., Any]:
    function = getattr(_module(module, folder), name, None)
    if not callable(function):
        raise StudyError(
            f"the module {module!r} has no function {name!r}.",
            field="metric",
            mend=f"define def {name}(response, reference, prompt): ... in it.",
        )
    found: Callable[..., Any] = function
    return found


def _by_hook(function: Callable[..., Any], item: Item, response: str) -> ItemScore:
    """A number or truth is both scores; a mapping may hold strict, lenient and format_ok."""
    answer = function(response=response, reference=item.reference, prompt=item.prompt)
    values = answer if isinstance(answer, Mapping) else {"strict": answer}
    strict = _unit(values.get("strict"), "strict")
    lenient = _unit(values.get("lenient", strict), "lenient")
    return ItemScore(strict, lenient, bool(values.get("format_ok", True)))


def _unit(value: Any, name: str) -> float:
    number = isinstance(value, int | float) and math.isfinite(value)
    if not number or not 0 <= value <= 1:
        raise DataError(
            f"the metric's function gave {name} = {value!r}, not a number from 0 to 1.",
            field="metric",
            mend="return a truth, a number, or {strict: ..., lenient: ..., format_ok: ...}.",
        )
    return float(value)
