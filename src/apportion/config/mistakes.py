"""Pydantic's errors in plain words, each with its mend."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel

from apportion.config.study import Study
from apportion.config.values import show

Loc = tuple[str | int, ...]

#: How a part of a study is written, for whoever left it out or wrote something else.
EXAMPLES: Mapping[str, str] = {
    "models": "models: [sandbox:small]",
    "tasks": "tasks: [math]",
    "methods": "methods: [dpo]",
    "budget": "budget: {unit: examples, levels: [250, 1000]}",
    "levels": "levels: [250, 1000]",
    "shares": "shares: [0, 0.1, 0.25, 0.5, 0.75, 1]",
    "lattice": "lattice: {n_sft: [0, 100, 400], n_pref: [0, 100, 400]}",
    "n_sft": "n_sft: [0, 100, 400]",
    "n_pref": "n_pref: [0, 100, 400]",
    "seeds": "seeds: {data: vary, train: vary, sample: vary}",
    "prices": "prices: {sft: 2.50, preference: 0.60}",
    "price": "price: 2.50",
    "gpu_hour": "gpu_hour: 2.00",
    "seconds": "seconds: {sft: 0.8, preference: 1.9}",
    "recipe": "recipe: default (recipe: sandbox for the embedded models)",
    "sft": "sft: {learning_rate: 1e-4}",
    "preference": "preference: {learning_rate: 1e-5}",
    "learning_rate": "learning_rate: 1e-4",
    "lora": "lora: {r: 32, alpha: 32}",
    "evaluation": "evaluation: {n_items: 300}",
    "decoding": "decoding: greedy",
    "low": "low: 0.40",
    "high": "high: 0.90",
}

_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}


def explain(
    error: Mapping[str, Any],
    root: type[BaseModel] = Study,
    examples: Mapping[str, str] = EXAMPLES,
) -> tuple[str, str]:
    """The problem and the mend of one entry of `ValidationError.errors()` of a `root`."""
    kind, loc, value = error["type"], tuple(error["loc"]), error["input"]
    context = error.get("ctx", {})
    if kind == "mistake":
        return context["problem"], context["mend"]
    if kind == "extra_forbidden":
        return _unknown_key(loc, root)
    if kind in _BOUNDS:
        return _out_of_bounds(kind, context, value, loc)
    name = next((part for part in reversed(loc) if isinstance(part, str)), "")
    message = context.get("expected", str(error["msg"]))
    return _wrong_kind(kind, name, value, message, examples.get(name, ""))


def _wrong_kind(kind: str, name: str, value: Any, message: str, example: str) -> tuple[str, str]:
    if kind == "missing":
        return f"{name} is missing.", f"add {example or f'{name}: ...'}."
    if kind == "literal_error":
        return _unknown_word(value, message)
    if kind == "too_short":
        return "the list is empty.", f"write, say, {example or 'one value'}."
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        mend = f"write, say, {example}." if example else "write `key: value` rows."
        return f"a mapping (rows of `key: value`) is wanted, not {show(value)}.", mend
    return _wrong_text(kind, name, value, message, example)


def _wrong_text(kind: str, name: str, value: Any, message: str, example: str) -> tuple[str, str]:
    if kind in ("tuple_type", "list_type"):
        inside = show(value) if isinstance(value, int | float | str) else "value"
        return f"a list is wanted, not {show(value)}.", f"write {name}: [{inside}]."
    if kind == "string_type":
        mend = f"write, say, {example}." if example else "write a name."
        return f"a text is wanted, not {show(value)}.", mend
    return f"{show(value)} cannot be used here: {message}.", "correct the value."


def _out_of_bounds(kind: str, context: Any, value: Any, loc: Loc) -> tuple[str, str]:
    words, key = _BOUNDS[kind]
    bound = int(context[key]) if float(context[key]).is_integer() else context[key]
    problem = f"{show(value)} is out of range: it must be {words} {bound}."
    if loc and loc[0] == "shares" and kind == "less_than_equal" and value <= 100:
        return problem, f"shares are parts of one: write {value / 100:g}."
    return problem, f"write a number {words} {bound}."


def nearest(word: str, words: list[str]) -> str | None:
    """The one of `words` that was probably meant, however it was capitalised."""
    folded = {known.casefold(): known for known in words}
    found = difflib.get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.5)
    return folded[found[0]] if found else None


def _unknown_word(value: Any, expected: str) -> tuple[str, str]:
    words = expected.replace(" or ", ", ").replace("'", "").split(", ")
    guess = nearest(value, words) if isinstance(value, str) else None
    mend = f"write {guess}." if guess else f"write one of: {', '.join(words)}."
    return f"{show(value)} is not one of {', '.join(words)}.", mend


def _unknown_key(loc: Loc, root: type[BaseModel]) -> tuple[str, str]:
    key, model = str(loc[-1]), model_at(loc[:-1], root)
    problem = f"there is no setting called {show(key)} here."
    if key == "<<":
        return problem, "write the keys out; merging is not supported."
    if model is None:
        return problem, "remove it."
    names = list(model.model_fields)
    if model.__name__ in ("Recipe", "Prices"):
        names.append("preset")
    guess = nearest(key, names)
    if guess is not None:
        return problem, f"write {guess}."
    homes = _homes(root, key, "")
    if homes:
        return problem, f"write it as {' or '.join(homes)}."
    return problem, f"remove it; the settings here are {', '.join(names)}."


def _homes(model: type[BaseModel], key: str, path: str) -> list[str]:
    """Where else in a study a setting called `key` is."""
    found = [path + key] if key in model.model_fields else []
    for name in model.model_fields:
        inner = _inner_model(model, name)
        if inner is not None:
            found += _homes(inner, key, f"{path}{name}.")
    return found


def model_at(loc: Loc, root: type[BaseModel] = Study) -> type[BaseModel] | None:
    """The model that reads the mapping at `loc` of a study (or other root), where one does."""
    model = root
    for part in loc:
        if isinstance(part, int) or part not in model.model_fields:
            return None
        inner = _inner_model(model, part)
        if inner is None:
            return None
        model = inner
    return model


def _inner_model(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    annotation = model.model_fields[name].annotation
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
