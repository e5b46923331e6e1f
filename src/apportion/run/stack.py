"""Several training stages at once over one base model; each is committed as soon as it ends.

What a stage is made of (examples, references, seeds, schedule, files) is what it would be alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.config.recipe import LoraRecipe, PreferenceRecipe, SftRecipe, StageRecipe
from apportion.run.common import computing, write_lines
from apportion.run.context import Context, Keeper
from apportion.run.policies import Policy, load
from apportion.run.train import (
    STEPS,
    examples_of,
    kto_recipe,
    kto_rows,
    on_step,
    pair_reference,
    summary,
    write_label_reference,
    write_pair_reference,
)

if TYPE_CHECKING:
    from apportion.models.stack import Chain
    from apportion.training.objective import Objective
    from apportion.training.packing import Batches
    from apportion.training.stacked import Run

Write = Callable[[Path], None]


def stacked(contexts: Sequence[Context], keeper: Keeper) -> None:
    """Train the stages of a group (see `compile/groups.py`) at once.

    A stage that cannot begin, or whose loss is not finite, fails alone. Raises what concerns all
    of them: UnsuitedToStack, a base that cannot be loaded, want of memory.
    """
    from apportion.training.stacked import train_stacked

    spec = contexts[0].stage.spec
    recipe = (SftRecipe if spec["kind"] == "sft" else PreferenceRecipe).model_validate(
        spec["recipe"]
    )
    with computing(contexts[0].threads):
        # the base alone: the chains are the runs' own
        group = _Group(load(replace(contexts[0], ancestors=())), recipe)
        for index, context in enumerate(contexts):
            try:
                group.add(context, index)
            except Exception as error:
                keeper.failed(context, error)

        def ended(run: Run) -> None:
            member = group.members[id(run)]
            if run.error is not None:
                keeper.failed(member.context, run.error)
            else:
                keeper.done(member.context, group.writer(run, member), member.begun + run.seconds)

        runs = [member.run for member in group.members.values()]
        if runs:
            train_stacked(group.policy.model, runs, recipe, group.batches, ended=ended)


@dataclass(frozen=True)
class _Member:
    context: Context
    run: Run
    references: Write  # writes the stage's reference log-probabilities, if it has any
    begun: float  # seconds that went into its references


class _Group:
    """The shared model, and the stages that are trained over it."""

    def __init__(self, base: Policy, recipe: StageRecipe) -> None:
        from apportion.training.packing import batches_for

        self.policy = base
        self.recipe = recipe
        self.batches: Batches = batches_for(base.model, pad=base.tokenizer.pad_token_id)
        self.members: dict[int, _Member] = {}

    def add(self, context: Context, index: int) -> None:
        """Everything of a stage that comes before its first step."""
        from apportion.models.stack import add_run
        from apportion.training.stacked import Run

        clock = time.monotonic()
        spec = context.stage.spec
        examples = examples_of(spec)
        model, chain = add_run(
            self.policy.model,
            [ancestor.folder for ancestor in context.ancestors],
            LoraRecipe.model_validate(spec["lora"]),
            index=index,
            seed=spec["train_seed"],
        )
        self.policy = replace(self.policy, model=model)
        objective, references = self._objective(context, chain, examples)
        run = Run(objective, chain, self._schedule(objective, spec), on_step(context))
        begun = time.monotonic() - clock
        self.members[id(run)] = _Member(context, run, references, begun)

    def _objective(
        self, context: Context, chain: Chain, examples: Sequence[Any]
    ) -> tuple[Objective, Write]:
        """What the stage learns from, and what writes its references."""
        from apportion.models.stack import using
        from apportion.training.dpo import dpo_objective
        from apportion.training.kto import KtoObjective, enough_labels, kto_reference
        from apportion.training.sft import sft_objective

        spec, policy, recipe = context.stage.spec, self.policy, self.recipe
        length = spec["max_length"]
        if isinstance(recipe, SftRecipe):
            told = sft_objective(policy.template, examples, recipe, max_length=length)
            return told, lambda out: None
        assert isinstance(recipe, PreferenceRecipe)  # noqa: S101 - there are two kinds
        with using(policy.model, chain.frozen):
            if spec["method"] == "dpo":
                fixed = pair_reference(context, policy, examples)
                pairs = dpo_objective(
                    policy.template, examples, recipe, reference=fixed, max_length=length
                )
                return pairs, lambda out: write_pair_reference(out, fixed)
            rows = kto_rows(spec, policy.template, examples)
            enough_labels(rows)
            batch = recipe.micro_batch_size or recipe.batch_size
            known = kto_reference(policy.model, policy.tokenizer, rows, batch_size=batch)
            labels = KtoObjective(rows, known, kto_recipe(spec))
            return labels, lambda out: write_label_reference(out, known)

    def _schedule(self, objective: Objective, spec: Mapping[str, Any]) -> list[list[list[int]]]:
        """What every step of the stage sees, as alone."""
        from apportion.training.kto import KtoObjective, kto_schedule
        from apportion.training.loop import enough_examples, schedule_of

        enough_examples(objective.lengths)
        if isinstance(objective, KtoObjective):
            assert isinstance(self.recipe, PreferenceRecipe)  # noqa: S101 - as its kind has it
            return kto_schedule(objective.rows, self.recipe)
        groups = objective.groups(range(len(objective.lengths)))
        return schedule_of(
            objective.lengths,
            self.recipe,
            seed=spec["train_seed"],
            costs=self.batches.costs(groups),
            cpu=self.batches.device.type == "cpu",
        )

    def writer(self, run: Run, member: _Member) -> Callable[[Path], Mapping[str, Any]]:
        """Writes what the stage alone would have written, and gives its summary."""
        from apportion.models.policy import save_adapter

        def write(out: Path) -> Mapping[str, Any]:
            member.references(out)
            write_lines(out / STEPS, (asdict(log) for log in run.logs))
            save_adapter(self.policy.model, run.chain.own, out)
            return summary(member.context, run.logs)

        return write
