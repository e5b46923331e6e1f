"""A task in a YAML file: where its examples are, how it is asked, how a response is scored.

name: capitals
prompt: "Question: {question}\\nAnswer:"
sft: {path: sft.jsonl, columns: {response: answer}}
preference: pairs.jsonl
test: {path: test.jsonl, columns: {reference: answer}}
metric: exact
stop: ["\\n"]
max_new_tokens: 32
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from apportion.config.base import Frozen
from apportion.config.load import read_document
from apportion.config.mistakes import explain
from apportion.config.values import (
    Mistake,
    Positive,
    Text,
    as_list,
    plain_name,
    refuse,
    show,
    wrong,
)
from apportion.config.yaml_text import Document, Loc, field_name
from apportion.data.source import Source
from apportion.errors import ManyErrors, StudyError
from apportion.metrics import ifeval
from apportion.tasks.base import Task
from apportion.tasks.metric import Metric, read_reference, scorer, version
from apportion.tasks.sources import PoolSpec, SourcePool

BUILT_IN = Path(__file__).resolve().parent / "cards"
EXAMPLES: Mapping[str, str] = {
    "name": "name: my-task",
    "sft": "sft: train.jsonl",
    "preference": "preference: pairs.jsonl",
    "test": "test: {path: test.jsonl, columns: {reference: answer}}",
    "metric": "metric: exact",
    "columns": "columns: {response: answer}",
    "stop": 'stop: ["\\n\\n"]',
    "path": "path: train.jsonl",
    "hub": "hub: openai/gsm8k",
    "prompt": 'prompt: "Question: {question}\\nAnswer:"',
}


def _format(value: str) -> str:
    """A prompt's format string with plain fields only: no attributes, indices or conversions."""
    try:
        parts = list(string.Formatter().parse(value))
    except ValueError as error:
        raise wrong(
            f"the prompt is not a format string ({error}).", "write {{ and }} for braces."
        ) from None
    names = [name for _, name, _, _ in parts if name is not None]
    for _, name, spec, conversion in parts:
        if name is not None and (not name.isidentifier() or spec or conversion):
            raise wrong(
                f"the prompt has a field {show('{' + name + '}')} that is not a plain name.",
                "write the name of a column, such as {question}; {{ and }} for braces.",
            )
    if not names:
        raise wrong("the prompt has no field.", "write, say, {prompt} or {question} in it.")
    return value


def _card_name(value: str) -> str:
    plain_name(value)
    if len(value) > 60 or "/" in value:
        raise wrong(f"{show(value)} is not a name.", "write a short name such as my-task.")
    return value


class TaskCard(Frozen):
    """What a task card says. Paths are relative to the card's folder."""

    name: Annotated[Text, AfterValidator(_card_name)]
    prompt: Annotated[Text, AfterValidator(_format)] = "{prompt}"
    system: Text | None = None
    sft: Source | None = None
    preference: Source | None = None
    test: Source
    metric: Metric
    primary: Literal["strict", "lenient"] = "strict"
    pref_unit: Literal["pair", "label"] = "pair"
    stop: Annotated[tuple[Text, ...], BeforeValidator(as_list)] = ()
    max_new_tokens: Positive = 256
    bad_rows: Annotated[
        Literal["refuse", "drop"], Field(description="Rows that cannot be used.")
    ] = "refuse"
    test_in_pool: Annotated[
        Literal["remove", "refuse"], Field(description="Pool rows with a test item's prompt.")
    ] = "remove"
    shared_prompts: Annotated[
        Literal["split", "keep"], Field(description="Prompts that both sides hold.")
    ] = "split"
    allow_python: Annotated[bool, Field(strict=True, description="Code of yours may be run.")] = (
        False
    )
    published_as: Text | None = None

    @model_validator(mode="after")
    def _agrees(self) -> TaskCard:
        refuse(self._disagreements())
        return self

    def _disagreements(self) -> Iterator[Mistake]:
        if self.metric.kind == "python" and not self.allow_python:
            yield Mistake(
                ("metric",),
                "the metric is a Python function, and the card does not allow to run it.",
                "read the code, then add allow_python: true.",
            )
        if self.sft is None and self.preference is None:
            yield Mistake(
                (),
                "there are no examples to learn from.",
                "add sft: train.jsonl, preference: pairs.jsonl, or both.",
            )
        if "" in self.stop:
            yield Mistake(("stop", self.stop.index("")), "a stop string is empty.", "remove it.")


def card_task(path: str | Path) -> Task:
    """The task that the card at `path` describes. Nothing but the card (and a hook) is read.

    Raises ManyErrors with every mistake in the card, each with file, row, field and mend.
    """
    file = Path(path).expanduser().resolve()
    card = read_card(file)
    try:
        metric_version = version(card.metric, file.parent)
    except StudyError as error:
        error.file = str(file)
        raise
    return _task(card, file, metric_version, card_file=str(file))


def built_in(name: str) -> Task:
    """The built-in task whose card comes with the package."""
    file = BUILT_IN / f"{name}.yaml"
    card = read_card(file)
    return _task(card, file, version(card.metric, file.parent), card_file=None)


def _task(card: TaskCard, file: Path, metric_version: str, card_file: str | None) -> Task:
    spec = PoolSpec(
        folder=file.parent,
        sft=card.sft,
        preference=card.preference,
        test=card.test,
        prompt=card.prompt,
        system=card.system,
        pref_unit=card.pref_unit,
        bad_rows=card.bad_rows,
        test_in_pool=card.test_in_pool,
        shared_prompts=card.shared_prompts,
        reference=read_reference(card.metric),
    )
    return Task(
        name=card.name,
        version=1,  # examples are in the keys by their digests, scoring by the metric's version
        pool=SourcePool(spec),
        score=scorer(card.metric, file.parent),
        metric=card.metric.kind,
        metric_version=metric_version,
        primary=card.primary,
        pref_unit=card.pref_unit,
        stop=card.stop,
        max_new_tokens=card.max_new_tokens,
        published_as=card.published_as,
        card=card_file,
        require=ifeval.require if card.metric.kind == "ifeval" else None,
    )


def read_card(path: Path) -> TaskCard:
    """The card in the YAML file at `path`; ManyErrors with every mistake in it."""
    document = read_document(path, "task card", "see examples/cards for some.")
    card: TaskCard | None = None
    if isinstance(document.value, dict) and not document.errors:
        card = _validated(document, path)
    if card is None:
        for error in document.errors:
            error.file = str(path)
        raise ManyErrors(sorted(document.errors, key=lambda error: error.row or 0))
    return card


def _validated(document: Document, path: Path) -> TaskCard | None:
    values = dict(document.value)
    base = values.pop("base", None)
    if base is not None:
        known = sorted(file.stem for file in BUILT_IN.glob("*.yaml"))
        if base not in known:
            _wrong(document, ("base",), f"there is no built-in task {show(base)} to build on.",
                   f"write one of: {', '.join(known)}.")  # fmt: skip
            return None
        values = _over(_values(BUILT_IN / f"{base}.yaml"), values, path.stem)
    try:
        return TaskCard.model_validate(values)
    except ValidationError as error:
        for entry in error.errors(include_url=False):
            problem, mend = explain(entry, TaskCard, EXAMPLES)
            _wrong(document, tuple(entry["loc"]), problem, mend)
    return None


def _wrong(document: Document, loc: Loc, problem: str, mend: str) -> None:
    document.errors.append(
        StudyError(problem, field=field_name(loc), row=document.row(loc), mend=mend)
    )


def _values(file: Path) -> dict[str, Any]:
    return dict(read_document(file, "task card", "").value)


def _over(base: Mapping[str, Any], own: Mapping[str, Any], stem: str) -> dict[str, Any]:
    """A built-in card with another's values over it.

    A source keeps its base's columns and what is removed, unless it says otherwise.
    """
    values = {**base, "name": stem, **own}
    for side in ("sft", "preference", "test"):
        source, inherited = own.get(side), base.get(side)
        if isinstance(source, str):
            source = {"path": source}
        if isinstance(source, dict) and isinstance(inherited, dict):
            kept = {k: inherited[k] for k in ("columns", "remove") if k in inherited}
            values[side] = {**kept, **source}
    return values
