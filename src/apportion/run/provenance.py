"""What a report says of how its numbers came about: recipe, models, data, versions, work done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.store.store import Store

if TYPE_CHECKING:
    from apportion.compile import Plan
    from apportion.store.record import Record

Facts = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
_DIGEST = 16  # characters of a digest that are shown


def provenance(plan: Plan, store: Path) -> Facts:
    """Titled lists of (name, value) about `plan` and the records that `store` has of it."""
    with Store.open(store, create=False, read_only=True) as opened:
        found = (opened.record(key) for key in plan.stages)
        records = [r for r in found if r is not None and r.status == "done"]
    return (
        ("Work", _work(plan, records)),
        ("Models and data", _identities(records)),
        ("Recipe", _recipe(plan)),
        ("Versions", _versions(records)),
    )


def _work(plan: Plan, records: list[Record]) -> tuple[tuple[str, str], ...]:
    seconds = sum(record.seconds for record in records)
    trained = sum(r.tokens for r in records if r.kind in ("sft", "preference"))
    return (
        ("Cells", str(len(plan.cells))),
        ("Stages done", f"{len(records)} of {len(plan.stages)}"),
        ("Stages without sharing", str(plan.naive.total)),
        ("Tokens trained on", f"{trained:,}"),
        ("Time of all stages", f"{seconds:,.0f} s"),
    )


def _identities(records: Iterable[Record]) -> tuple[tuple[str, str], ...]:
    """Digests of what the stages used; subsets are nested, so the largest stand for all."""
    models: dict[str, str] = {}
    data: dict[str, tuple[int, str]] = {}
    items: dict[str, str] = {}
    for record in records:
        spec = record.spec
        if "model" in spec:
            models[f"Weights of {spec['model']['name']}"] = spec["model"]["weights_digest"]
            models[f"Template of {spec['model']['name']}"] = (
                f"{spec['template']['name']} {spec['template']['digest']}"
            )
        if "data" in spec:
            name = f"{spec['task']}: {spec['data']['side']}, seed {spec['data']['seed']}"
            part = (int(spec["data"]["n"]), str(spec["data"]["digest"]))
            data[name] = max(part, data.get(name, part))
        if "items" in spec and "task" in spec:
            items[f"{spec['task']}: test items"] = (
                f"{spec['items']['n']:,}, {spec['items']['digest'][:_DIGEST]}"
            )
    return (
        *((name, _short(value)) for name, value in sorted(models.items())),
        *(
            (name, f"{n:,} examples, {digest[:_DIGEST]}")
            for name, (n, digest) in sorted(data.items())
        ),
        *sorted(items.items()),
    )


def _short(value: str) -> str:
    return " ".join(word[:_DIGEST] for word in value.split())


def _recipe(plan: Plan) -> tuple[tuple[str, str], ...]:
    recipe = plan.study.recipe.model_dump(mode="json")
    evaluation = plan.study.evaluation.model_dump(mode="json")
    shared = {} if plan.study.trajectory == "independent" else {"trajectory": "shared"}
    return (*_flat(shared), *_flat(recipe), *_flat({"evaluation": evaluation}))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "none" if value is None else str(value)


def _versions(records: Iterable[Record]) -> tuple[tuple[str, str], ...]:
    """Every version that any stage was made with; more than one is worth seeing."""
    seen: dict[str, dict[str, None]] = {}
    for record in records:
        for name, version in record.versions.items():
            if name != "host":  # a report is passed on: no machine's name in it
                seen.setdefault(name, {})[version] = None
    return tuple((name, ", ".join(versions)) for name, versions in seen.items())
