"""The JSON schema of a study file, for editors: with the friendly forms that the loader accepts.

A schema cannot say all that the loader checks (what parts say to each other); what it refuses, the
loader refuses too.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from apportion.config.presets import DECODINGS, RECIPES
from apportion.config.price_presets import PRICES
from apportion.config.study import Study

URL = "https://json-schema.org/draft/2020-12/schema"


def study_json_schema() -> dict[str, Any]:
    """A JSON schema (draft 2020-12) for study files; a new value at every call."""
    schema: dict[str, Any] = deepcopy(Study.model_json_schema(mode="validation"))
    definitions = schema["$defs"]
    _add_presets(definitions)
    decoding = definitions.pop("Decoding")
    definitions["Decoding"] = {"anyOf": [{"enum": list(DECODINGS)}, decoding]}
    for name in ("shares", "levels", "n_sft", "n_pref"):
        for owner in (schema, definitions["Budget"], definitions["Lattice"]):
            if name in owner["properties"]:
                _all_different(owner["properties"][name])
    _name_bounds(schema)
    schema["$schema"] = URL
    schema["title"] = "A study of apportion"
    schema["oneOf"] = [_needs("budget", "shares"), _needs("lattice")]
    return schema


_BOUNDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
}


def _name_bounds(node: Any) -> None:
    """Bounds under JSON schema's own names: pydantic keeps its own for validated numbers."""
    if isinstance(node, list):
        for value in node:
            _name_bounds(value)
    elif isinstance(node, dict):
        if node.get("type") in ("number", "integer"):
            for ours, theirs in _BOUNDS.items():
                if ours in node:
                    node[theirs] = node.pop(ours)
        for value in node.values():
            _name_bounds(value)


def _needs(*names: str) -> dict[str, Any]:
    """The keys are there, with a value."""
    return {
        "required": list(names),
        "properties": {name: {"not": {"type": "null"}} for name in names},
    }


def _all_different(field: dict[str, Any]) -> None:
    for branch in (field, *field.get("anyOf", [])):
        if branch.get("type") == "array":
            branch["uniqueItems"] = True


def _add_presets(definitions: dict[str, Any]) -> None:
    """A recipe is a preset's name, a whole recipe, or changes to a preset; so are prices."""
    whole = definitions.pop("Recipe")
    for name in ("SftRecipe", "PreferenceRecipe"):
        definitions[f"{name}Changes"] = {
            key: value for key, value in definitions[name].items() if key != "required"
        }
    changes = deepcopy(whole)
    changes["properties"]["preset"] = {"enum": list(RECIPES)}
    changes["properties"]["sft"] = {"$ref": "#/$defs/SftRecipeChanges"}
    changes["properties"]["preference"] = {"$ref": "#/$defs/PreferenceRecipeChanges"}
    changes["required"] = ["preset"]
    definitions["Recipe"] = {"anyOf": [{"enum": list(RECIPES)}, whole, changes]}
    prices = definitions["Prices"]
    prices["properties"]["preset"] = {"enum": list(PRICES)}
    paid = {"not": {"const": 0}}  # data may be free where compute has a price
    prices["if"] = {"required": ["gpu_hour"]}
    prices["else"] = {"properties": {"sft": paid, "preference": paid}}
    definitions["Prices"] = {"anyOf": [{"enum": list(PRICES)}, prices]}
