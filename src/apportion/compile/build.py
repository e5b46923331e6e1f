"""From a study to its plan.

Replicates, methods and budget lines share what they have in common: a stage is built where it is
first wanted, and found again by what it is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from apportion import prices
from apportion.compile.engine import engine_spec
from apportion.compile.estimate import characters_per_token
from apportion.compile.identity import Identity, identify
from apportion.compile.plan import SEMANTICS, Cell, Kind, Plan, Stage, stage_key
from apportion.compile.pools import Pools, read_pools
from apportion.compile.problems import problems
from apportion.compile.trainer import trainer_spec
from apportion.config.study import Study
from apportion.data.prefixes import Prefix
from apportion.errors import ManyErrors
from apportion.tasks import registry
from apportion.tasks.base import Task


def compile_study(study: Study) -> Plan:
    """The plan of a study.

    Pure but for reading pools and the digests of model files. Raises ManyErrors with all that
    `problems` finds, and DataError where a pool gives less than it promised.
    """
    found = problems(study)
    if found:
        raise ManyErrors(found)
    wanted = prices.points(study)
    tasks = [registry.get_task(name) for name in study.tasks]
    pools = [read_pools(task, study, wanted) for task in tasks]
    stages: dict[str, Stage] = {}
    cells: list[Cell] = []
    for model in study.models:
        for task, pool in zip(tasks, pools, strict=True):
            builder = _Builder(study, identify(model), task, pool, stages)
            cells += _cells(builder, model, wanted)
    return Plan(study, tuple(cells), MappingProxyType(stages))


def _cells(
    builder: _Builder, model: str, wanted: Mapping[tuple[int, int], tuple[prices.Line, ...]]
) -> Iterator[Cell]:
    """One replicate after the other, so that a study cut short has whole replicates."""
    for replicate in range(builder.study.replicates):
        for method in builder.study.methods:
            for (n_sft, n_pref), lines in wanted.items():
                keys = builder.stages_of(method, n_sft, n_pref, replicate)
                yield Cell(model, builder.task.name, method, n_sft, n_pref, replicate, keys, lines)


@dataclass
class _Builder:
    """Builds the stages of one model and task into `stages`."""

    study: Study
    model: Identity
    task: Task
    pools: Pools
    stages: dict[str, Stage]
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

    def stages_of(self, method: str, n_sft: int, n_pref: int, replicate: int) -> tuple[str, ...]:
        """The keys of a cell's stages, in order; what is not yet built is built."""
        keys: list[str] = []
        if n_sft:
            keys.append(self._sft(n_sft, replicate))
        if n_pref:
            keys.append(self._preference(method, n_pref, replicate, keys[-1] if keys else None))
        generated = self._generate(keys[-1] if keys else None, (n_sft, n_pref), replicate)
        return (*keys, generated, self._score(generated))

    def _once(self, made_of: Hashable, make: Callable[[], Stage]) -> str:
        key = self.built.get(made_of)
        if key is None:
            stage = make()
            key = self.built[made_of] = stage.key
            self.stages.setdefault(key, stage)
        return key

    def _stage(
        self, kind: Kind, parent: str | None, spec: dict[str, Any], label: str, tokens: float
    ) -> Stage:
        spec = {"kind": kind, "semantics_version": SEMANTICS[kind], **spec}
        parents = () if parent is None else (parent,)
        return Stage(stage_key(spec), kind, parents, spec, label, round(tokens))

    @property
    def _named(self) -> dict[str, Any]:
        """The task in a spec; `task_card`, the card's file, is not part of a key."""
        card = {} if self.task.card is None else {"task_card": self.task.card}
        return {"task": self.task.name, **card}

    def _where(self, replicate: int) -> str:
        return f"{self.task.name} · {self.model.ref.name} · replicate {replicate}"

    def _training(
        self, side: Literal["sft", "preference"], data: Prefix, data_seed: int, train_seed: int
    ) -> dict[str, Any]:
        """What the specs of both training stages have in common."""
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

    def _tokens(self, side: Literal["sft", "preference"], data: Prefix) -> float:
        sequences = data.n * (2 if side == "preference" else 1)  # a label has one: at most
        longest = sequences * self.study.recipe.max_length
        epochs = getattr(self.study.recipe, side).epochs
        return float(min(data.characters / self.per_token, longest) * epochs)

    def _seeds(self, replicate: int) -> tuple[int, int]:
        return self.study.seeds.of("data", replicate), self.study.seeds.of("train", replicate)

    def _sft(self, n: int, replicate: int) -> str:
        seeds = self._seeds(replicate)

        def make() -> Stage:
            data = self.pools.draws[seeds[0]].demonstrations[n]
            label = f"sft {n} · {self._where(replicate)}"
            spec = self._training("sft", data, *seeds)
            return self._stage("sft", None, spec, label, self._tokens("sft", data))

        return self._once(("sft", n, seeds), make)

    def _preference(self, method: str, n: int, replicate: int, parent: str | None) -> str:
        seeds = self._seeds(replicate)

        def make() -> Stage:
            draw = self.pools.draws[seeds[0]]
            data = draw.labels[n] if method == "kto" else draw.pairs[n]
            after = f" after sft {self.stages[parent].spec['data']['n']}" if parent else ""
            label = f"{method} {n}{after} · {self._where(replicate)}"
            spec = {
                **self._training("preference", data, *seeds),
                "method": method,
                "parent": parent,
                "stage_two": self.study.recipe.stage_two,
            }
            if method == "kto":  # its own beta, and the group that its KL is estimated in
                spec |= {"recipe": self.kto_rates, "kto": self.kto}
            return self._stage("preference", parent, spec, label, self._tokens("preference", data))

        return self._once(("preference", method, n, seeds, parent), make)

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
            return self._stage("generate", parent, spec, label, self._generated_tokens())

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
            return self._stage("score", generated, spec, label, 0)

        return self._once(("score", generated), make)


def _point(point: tuple[int, int]) -> str:
    return "no training" if point == (0, 0) else f"sft {point[0]} and preference {point[1]}"
