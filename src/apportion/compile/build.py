"""From a study to its plan.

Replicates, methods and budget lines share what they have in common: a stage is built where it is
first wanted, and found again by what it is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from apportion import prices
from apportion.compile.audit import audited
from apportion.compile.engine import engine_spec
from apportion.compile.estimate import characters_per_token
from apportion.compile.identity import Identity, identify
from apportion.compile.plan import SEMANTICS, Cell, Kind, Plan, Stage, stage_key
from apportion.compile.pools import Pools, read_pools
from apportion.compile.problems import problems
from apportion.compile.trainer import trainer_spec
from apportion.compile.trajectory import Part, as_leg, cut_points, legs
from apportion.config.study import Study
from apportion.data.prefixes import Prefix
from apportion.errors import ManyErrors
from apportion.tasks import registry
from apportion.tasks.base import Task

Side = Literal["sft", "preference"]


def compile_study(study: Study) -> Plan:
    """The plan of a study.

    Pure but for reading pools and the digests of model files. Raises ManyErrors with all that
    `problems` finds, and DataError where a pool gives less than it promised.
    """
    found = problems(study)
    if found:
        raise ManyErrors(found)
    wanted = prices.points(study)
    shared = study.trajectory == "shared"
    lengths = [*wanted, *cut_points(study, wanted)] if shared else wanted
    tasks = [registry.get_task(name) for name in study.tasks]
    pools = [read_pools(task, study, lengths) for task in tasks]
    stages: dict[str, Stage] = {}
    cells: list[Cell] = []
    audit: list[Cell] = []
    for model in study.models:
        for task, pool in zip(tasks, pools, strict=True):
            builder = _Builder(study, identify(model), task, pool, stages, tuple(wanted))
            own = list(_cells(builder, model, wanted))
            cells += own
            audit += [builder.independent(cell) for cell in audited(own)] if shared else []
    return Plan(study, tuple(cells), MappingProxyType(stages), tuple(audit))


def _cells(
    builder: _Builder, model: str, wanted: Mapping[tuple[int, int], tuple[prices.Line, ...]]
) -> Iterator[Cell]:
    """One replicate after the other, so that a study cut short has whole replicates."""
    shared = builder.study.trajectory == "shared"
    for replicate in range(builder.study.replicates):
        for method in builder.study.methods:
            for (n_sft, n_pref), lines in wanted.items():
                keys = builder.stages_of(method, n_sft, n_pref, replicate, shared=shared)
                yield Cell(model, builder.task.name, method, n_sft, n_pref, replicate, keys, lines)


@dataclass
class _Builder:
    """Builds the stages of one model and task into `stages`."""

    study: Study
    model: Identity
    task: Task
    pools: Pools
    stages: dict[str, Stage]
    points: tuple[tuple[int, int], ...]
    built: dict[Hashable, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        recipe, evaluation = self.study.recipe, self.study.evaluation
        self.lora = None if recipe.lora is None else recipe.lora.model_dump(mode="json")
        self.recipes = {
            "sft": recipe.sft.model_dump(mode="json"),
            "preference": recipe.preference.model_dump(mode="json"),
        }
        self.kto = {
            **recipe.kto.model_dump(mode="json"),
            "group_size": recipe.kto.group(recipe.preference),
        }
        self.kto_rates = {k: v for k, v in self.recipes["preference"].items() if k != "beta"}
        # Named only where they are used, so that the keys of all others stay what they are.
        self.trainer = trainer_spec(self.study, self.model.ref)
        self.engine = engine_spec(self.study)
        self.base = {} if recipe.quantization == "none" else {"quantization": recipe.quantization}
        self.decoding = evaluation.decoding.model_dump(mode="json")
        if self.decoding["max_new_tokens"] is None:
            self.decoding["max_new_tokens"] = self.task.max_new_tokens
        self.items = {"n": self.pools.items.n, "digest": self.pools.items.digest}
        self.per_token = characters_per_token(self.model.ref, self.pools.sample)

    def stages_of(
        self, method: str, n_sft: int, n_pref: int, replicate: int, *, shared: bool
    ) -> tuple[str, ...]:
        """The keys of a cell's stages, in order; what is not yet built is built.

        `shared`: its trainings are legs of trajectories that other cells share.
        """
        keys: list[str] = []
        if n_sft:
            sizes = {n for n, _ in self.points if n} if shared else None
            keys += self._parts("sft", n_sft, sizes, lambda part: self._sft(part, replicate))
        start = keys[-1] if keys else None
        if n_pref:
            sizes = {n for of, n in self.points if of == n_sft and n} if shared else None
            keys += self._parts(
                "preference",
                n_pref,
                sizes,
                lambda part: self._preference(method, part, replicate, start),
            )
        generated = self._generate(keys[-1] if keys else None, (n_sft, n_pref), replicate)
        return (*keys, generated, self._score(generated))

    def independent(self, cell: Cell) -> Cell:
        """The same cell by runs of its own, with the keys of an ordinary study."""
        place = cell.method, cell.n_sft, cell.n_pref, cell.replicate
        return replace(cell, stages=self.stages_of(*place, shared=False))

    def _parts(
        self, side: Side, n: int, sizes: set[int] | None, train: Callable[[Part], str]
    ) -> list[str]:
        """Keys of the stages that train on `n` examples: one, or (with `sizes`) its legs."""
        if sizes is None:
            return [train(Part(n))]
        keys: list[str] = []
        for leg in legs(n, sizes, getattr(self.study.recipe, side)):
            before = keys[-1] if keys else None
            keys.append(train(Part(leg.end, leg, before)))
        return keys

    def _once(self, made_of: Hashable, make: Callable[[], Stage]) -> str:
        key = self.built.get(made_of)
        if key is None:
            stage = make()
            key = self.built[made_of] = stage.key
            self.stages.setdefault(key, stage)
        return key

    def _stage(
        self,
        kind: Kind,
        parents: Iterable[str | None],
        spec: dict[str, Any],
        label: str,
        tokens: float,
    ) -> Stage:
        spec = {"kind": kind, "semantics_version": SEMANTICS[kind], **spec}
        known = tuple(parent for parent in parents if parent is not None)
        return Stage(stage_key(spec), kind, known, spec, label, round(tokens))

    @property
    def _named(self) -> dict[str, Any]:
        """The task in a spec; `task_card`, the card's file, is not part of a key."""
        card = {} if self.task.card is None else {"task_card": self.task.card}
        return {"task": self.task.name, **card}

    def _where(self, replicate: int) -> str:
        return f"{self.task.name} · {self.model.ref.name} · replicate {replicate}"

    def _training(self, side: Side, data: Prefix, seeds: tuple[int, int]) -> dict[str, Any]:
        """What the specs of both training stages have in common."""
        data_seed, train_seed = seeds
        return {
            "model": self.model.spec,
            "template": self.model.template,
            **self._named,
            "task_version": self.task.version,
            "data": {"side": side, "n": data.n, "seed": data_seed, "digest": data.digest},
            "recipe": self.recipes[side],
            "lora": self.lora,
            "max_length": self.study.recipe.max_length,
            "dtype": self.study.recipe.dtype,
            "train_seed": train_seed,
            **self.base,
            **self.trainer,
        }

    def _tokens(self, side: Side, part: Part, of: Mapping[int, Prefix]) -> float:
        begin = part.leg.begin if part.leg else 0
        before = of[begin].characters if begin else 0
        # a label has one sequence: at most
        sequences = (part.n - begin) * (2 if side == "preference" else 1)
        longest = sequences * self.study.recipe.max_length
        epochs = getattr(self.study.recipe, side).epochs
        own = (of[part.n].characters - before) / self.per_token
        return float(min(own, longest) * epochs)

    def _seeds(self, replicate: int) -> tuple[int, int]:
        return self.study.seeds.of("data", replicate), self.study.seeds.of("train", replicate)

    def _sft(self, part: Part, replicate: int) -> str:
        seeds = self._seeds(replicate)

        def make() -> Stage:
            draw = self.pools.draws[seeds[0]].demonstrations
            label = f"sft {part.told} · {self._where(replicate)}"
            spec = as_leg(self._training("sft", draw[part.n], seeds), part)
            tokens = self._tokens("sft", part, draw)
            return self._stage("sft", [part.previous], spec, label, tokens)

        return self._once(("sft", part, seeds), make)

    def _preference(self, method: str, part: Part, replicate: int, start: str | None) -> str:
        seeds = self._seeds(replicate)

        def make() -> Stage:
            drawn = self.pools.draws[seeds[0]]
            draw = drawn.labels if method == "kto" else drawn.pairs
            after = f" after sft {self.stages[start].spec['data']['n']}" if start else ""
            label = f"{method} {part.told}{after} · {self._where(replicate)}"
            spec = {
                **self._training("preference", draw[part.n], seeds),
                "method": method,
                "parent": start,
                "stage_two": self.study.recipe.stage_two,
            }
            if method == "kto":  # its own beta, and the group that its KL is estimated in
                spec |= {"recipe": self.kto_rates, "kto": self.kto}
            spec, parents = as_leg(spec, part), [start, part.previous]
            tokens = self._tokens("preference", part, draw)
            return self._stage("preference", parents, spec, label, tokens)

        return self._once(("preference", method, part, seeds, start), make)

    def _generate(self, parent: str | None, point: tuple[int, int], replicate: int) -> str:
        sampled = self.decoding["strategy"] == "sample"
        seed = self.study.seeds.of("sample", replicate) if sampled else None

        def make() -> Stage:
            spec = {
                "model": self.model.spec,
                "template": self.model.template,
                **self._named,
                "parent": parent,
                "dtype": self.study.recipe.dtype,
                "lora": None if parent is None else self.lora,
                "items": self.items,
                "decoding": self.decoding,
                "stop": list(self.task.stop),
                "batch_size": self.study.evaluation.batch_size,
                "sample_seed": seed,
                **self.engine,
                **self.base,
            }
            label = f"generate after {_point(point)} · {self._where(replicate)}"
            return self._stage("generate", [parent], spec, label, self._generated_tokens())

        return self._once(("generate", parent, seed), make)

    def _generated_tokens(self) -> float:
        longest = float(self.decoding["max_new_tokens"])
        mean = self.pools.response_characters
        response = longest if mean is None else min(mean / self.per_token, longest)
        return self.pools.items.characters / self.per_token + self.pools.items.n * response

    def _score(self, generated: str) -> str:
        def make() -> Stage:
            spec = {
                "parent": generated,
                **self._named,
                "task_version": self.task.version,
                "items": self.items,
                "metric": self.task.metric,
                "metric_version": self.task.metric_version,
                "primary": self.task.primary,
            }
            label = self.stages[generated].label.replace("generate", "score", 1)
            return self._stage("score", [generated], spec, label, 0)

        return self._once(("score", generated), make)


def _point(point: tuple[int, int]) -> str:
    return "no training" if point == (0, 0) else f"sft {point[0]} and preference {point[1]}"
