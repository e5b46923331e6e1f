"""What a study takes from a task's pools, asked once per task, side and seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from apportion.config.study import Study
from apportion.data.prefixes import Prefix, prefixes
from apportion.data.records import Demonstration, Label, Pair
from apportion.errors import DataError
from apportion.tasks.base import Task

Point = tuple[int, int]


@dataclass(frozen=True)
class Draw:
    """The data of one data seed: a prefix for every n that a cell wants."""

    seed: int
    demonstrations: Mapping[int, Prefix]
    pairs: Mapping[int, Prefix]  # empty where no method trains on pairs
    labels: Mapping[int, Prefix]  # empty where no method trains on labels


@dataclass(frozen=True)
class Pools:
    """All that a study takes from one task."""

    draws: Mapping[int, Draw]  # by data seed
    items: Prefix
    sample: tuple[str, ...]  # a few texts as a model reads them
    response_characters: float | None  # mean length of a response; None where none is drawn


def read_pools(task: Task, study: Study, points: Iterable[Point]) -> Pools:
    """Draws from a task what `points` want. DataError where it gives fewer than asked for."""
    wanted = list(points)
    n_sft = sorted({sft for sft, _ in wanted if sft})
    n_pref = sorted({pref for _, pref in wanted if pref})
    seeds = dict.fromkeys(study.seeds.of("data", r) for r in range(study.replicates))
    draws: dict[int, Draw] = {}
    texts: list[str] = []
    responses: list[int] = []
    for seed in seeds:
        demonstrations = task.pool.demonstrations(n_sft[-1], seed=seed) if n_sft else []
        _enough(task.name, "demonstrations", len(demonstrations), n_sft)
        pairs: list[Pair] = []
        labels: list[Label] = []
        n_pairs = n_pref if study.methods != ("kto",) else []
        n_labels = n_pref if "kto" in study.methods else []
        if n_pairs:
            pairs = task.pool.pairs(n_pairs[-1], seed=seed)
            _enough(task.name, "pairs", len(pairs), n_pairs)
        if n_labels:
            labels = task.pool.labels(n_labels[-1], seed=seed)
            _enough(task.name, "labels", len(labels), n_labels)
        draws[seed] = Draw(
            seed,
            prefixes(demonstrations, n_sft),
            prefixes(pairs, n_pairs),
            prefixes(labels, n_labels),
        )
        if not texts:
            texts, responses = _typical(demonstrations, pairs, labels)
    items = task.pool.items(study.evaluation.n_items)
    _enough(task.name, "test items", len(items), [study.evaluation.n_items])
    return Pools(
        draws=draws,
        items=prefixes(items, [len(items)])[len(items)],
        sample=tuple(texts or [item.prompt for item in items[:_FEW]]),
        response_characters=sum(responses) / len(responses) if responses else None,
    )


_FEW = 64


def _typical(
    demonstrations: list[Demonstration], pairs: list[Pair], labels: list[Label]
) -> tuple[list[str], list[int]]:
    """A few texts (prompt and response), and the lengths of their responses."""
    both = [(d.prompt, d.response) for d in demonstrations[:_FEW]]
    both = both or [(p.prompt, p.chosen) for p in pairs[:_FEW]]
    both = both or [(label.prompt, label.response) for label in labels[:_FEW]]
    return [f"{prompt} {text}" for prompt, text in both], [len(text) for _, text in both]


def _enough(task: str, what: str, got: int, wanted: list[int]) -> None:
    if wanted and got < wanted[-1]:
        raise DataError(
            f"task {task} gave {got} {what} where {wanted[-1]} were asked for.",
            field="tasks",
            mend=f"ask for at most {got}, or add data.",
        )
