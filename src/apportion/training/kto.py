"""Kahneman-Tversky optimisation, as TRL's trainer does it.

| symbol | meaning |
|---|---|
| g | a group of labels: fixed before training, the same in every epoch |
| r_i | log p(y_i | x_i) under the policy minus the same under the reference, in nats |
| s_i | the same for a mismatched response: y of the label before i in its group, behind x_i |
| z | max(0, mean over g of s_i), without gradient: the group's estimate of the KL |
| d, u | the weights of desirable and undesirable labels |

Loss of a desirable label: d * (1 - sigmoid(beta * (r_i - z))); of an undesirable one:
u * (1 - sigmoid(beta * (z - r_i))). Loss of a step: the mean over its groups of the means over
their labels. Since z ties a group's labels together, groups are never cut or regrouped, and have at
least two labels: of one alone the mismatched response would be its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from apportion.config.recipe import KtoRecipe, PreferenceRecipe
from apportion.data.records import Label
from apportion.errors import StageError, StudyError
from apportion.models.template import Template
from apportion.training.batches import Row, numbers_like, sequence_logps
from apportion.training.behind import can_go_behind, logps_and_behind
from apportion.training.loop import Loss, fit
from apportion.training.modes import evaluating
from apportion.training.objective import Groups, Indices, Means
from apportion.training.packing import Batches, batches_for
from apportion.training.steps import OnStep, StepLog
from apportion.training.trajectory import Leg

Reference = tuple[Sequence[float], Sequence[float]]  # log p of matched, of mismatched responses


@dataclass(frozen=True, slots=True)
class KtoRows:
    """Labels as tokens, in the order of their groups; all three have one entry per label.

    `matched`: each response behind its own prompt; `mismatched`: the response of the label before
    it in its group (of the first: of the last) behind that prompt. Prompts are whole.
    """

    matched: tuple[Row, ...]
    mismatched: tuple[Row, ...]
    desirable: tuple[bool, ...]
    group_size: int
    dropped: int  # labels whose prompt fills `max_length`, and a last one that is left alone

    @property
    def groups(self) -> list[range]:
        """The indices of each group; the last may be smaller."""
        n, size = len(self.matched), self.group_size
        return [range(begin, min(n, begin + size)) for begin in range(0, n, size)]


def label_order(
    prompts: Sequence[int], *, max_length: int, group_size: int, seed: int
) -> list[int]:
    """The labels that are trained on, by their index, in the order that is cut into groups.

    `prompts`: tokens of every label's prompt. Left out: prompts that are empty or fill
    `max_length`, and a last label that would be alone in its group.
    """
    fitting = [index for index, length in enumerate(prompts) if 0 < length < max_length]
    stream = torch.Generator().manual_seed(seed)
    order = [fitting[index] for index in torch.randperm(len(fitting), generator=stream).tolist()]
    if len(order) % group_size == 1:
        order.pop()
    return order


def encode_labels(
    template: Template,
    labels: Sequence[Label],
    *,
    max_length: int,
    group_size: int,
    seed: int,
) -> KtoRows:
    """Labels in an order drawn once from `seed`, cut into groups of `group_size`.

    Sequences are cut at `max_length` from their start; a response that is mismatched is cut anew.
    """
    words = [
        (
            tuple(template.prompt_ids(label.prompt, label.context)),
            tuple(template.response_ids(label.response)),
        )
        for label in labels
    ]
    order = label_order(
        [len(prompt) for prompt, _ in words],
        max_length=max_length,
        group_size=group_size,
        seed=seed,
    )
    before: list[int] = []
    for begin in range(0, len(order), group_size):
        group = order[begin : begin + group_size]
        before += [group[-1], *group[:-1]]

    def row(prompt_of: int, response_of: int) -> Row:
        prompt, response = words[prompt_of][0], words[response_of][1]
        return Row(ids=(*prompt, *response)[:max_length], start=len(prompt))

    return KtoRows(
        matched=tuple(row(index, index) for index in order),
        mismatched=tuple(row(own, other) for own, other in zip(order, before, strict=True)),
        desirable=tuple(labels[index].desirable for index in order),
        group_size=group_size,
        dropped=len(labels) - len(order),
    )


def kto_schedule(rows: KtoRows, recipe: PreferenceRecipe) -> list[list[list[int]]]:
    """Steps of groups of indices: every epoch the same. StudyError for groups that do not fit."""
    per_step, rest = divmod(recipe.batch_size, rows.group_size)
    if rest or rows.group_size < 2:
        raise StudyError(
            f"KTO groups of {rows.group_size} do not make up a batch of {recipe.batch_size}.",
            field="recipe.kto.group_size",
            mend="write a divisor of the batch size that is at least 2.",
        )
    groups = [list(group) for group in rows.groups]
    epoch = [groups[begin : begin + per_step] for begin in range(0, len(groups), per_step)]
    return epoch * recipe.epochs


def kto_reference(
    model: nn.Module, tokenizer: Any, rows: KtoRows, *, batch_size: int
) -> tuple[list[float], list[float]]:
    """log p of the matched and of the mismatched responses under `model`, in nats.

    Call it on the model that training starts from (a new adapter has no effect yet).
    """
    pairs = list(zip(rows.matched, rows.mismatched, strict=True))  # a label's two begin alike
    batches = batches_for(model, pad=tokenizer.pad_token_id)
    by_length = sorted(range(len(pairs)), key=lambda i: max(len(row.ids) for row in pairs[i]))
    found = [(0.0, 0.0)] * len(pairs)
    with evaluating(model), torch.no_grad():
        for begin in range(0, len(pairs), batch_size):
            part = by_length[begin : begin + batch_size]
            logps = sequence_logps(model, batches.of([pairs[index] for index in part]))
            for index, (matched, other) in zip(part, logps.view(-1, 2).tolist(), strict=True):
                found[index] = (matched, other)
    return [matched for matched, _ in found], [other for _, other in found]


def train_kto(
    model: nn.Module,
    tokenizer: Any,
    rows: KtoRows,
    recipe: PreferenceRecipe,
    kto: KtoRecipe,
    *,
    reference: Reference,
    seed: int,
    on_step: OnStep | None = None,
    leg: Leg | None = None,
) -> list[StepLog]:
    """Train `model` (from `prepare_for_training`) in place; one record per step.

    `reference`: what `kto_reference` gave for the same rows; `recipe.beta` is not read. Each
    record's `extra` has `kl` (z above, mean over groups), `dropped`, and, where the step has such
    labels, `chosen_logp`, `rejected_logp` (nats), their rewards (beta * r_i) and the difference of
    these, `margin`. `leg`: these are the labels of one leg of a shared trajectory.
    Raises StageError where fewer than two labels are left, or loss or gradient is not finite.
    """
    enough_labels(rows)
    batches = batches_for(model, pad=tokenizer.pad_token_id, training=True)
    return fit(
        model,
        kto_loss(model, rows, reference, kto, batches),
        [len(row.ids) for row in rows.matched],
        recipe,
        seed=seed,
        on_step=on_step,
        leg=leg,
        constants={"dropped": float(rows.dropped)},
        schedule=kto_schedule(rows, recipe),
        expect=batches.expecting(KtoObjective(rows, reference, kto)),
    )


def enough_labels(rows: KtoRows) -> None:
    """StageError where fewer than two labels are left."""
    if len(rows.matched) < 2:
        raise StageError(
            "KTO needs at least two labels to train on.",
            mend="raise `max_length`, or give more examples.",
        )


@dataclass(frozen=True)
class KtoObjective:
    """Labels in their groups as an `Objective`; `reference`: what `kto_reference` gave for them.

    A pass is a whole group: what is wanted before are its mismatched responses.
    """

    rows: KtoRows
    reference: Reference
    kto: KtoRecipe

    @property
    def lengths(self) -> list[int]:
        return [len(row.ids) for row in self.rows.matched]

    @property
    def dropped(self) -> int:
        return self.rows.dropped

    def groups(self, micro: Indices) -> Groups:
        return [[self.rows.matched[index]] for index in micro]

    def groups_before(self, micro: Indices) -> Groups:
        return [[self.rows.mismatched[index]] for index in micro]

    def loss(
        self, logps: torch.Tensor, before: torch.Tensor | None, micro: Indices, batch: Indices
    ) -> tuple[torch.Tensor, Means]:
        assert before is not None  # noqa: S101 - `groups_before` is never empty
        policy, kto, desirable = logps, self.kto, self.rows.desirable
        share = 1.0 / -(-len(batch) // self.rows.group_size)  # of the step's groups
        fixed, other = (
            numbers_like([logp[index] for index in micro], policy) for logp in self.reference
        )
        with torch.no_grad():
            kl = (before - other).mean().clamp(min=0)
        wanted = numbers_like([desirable[index] for index in micro], policy) > 0
        gain = torch.where(wanted, policy - fixed - kl, kl - (policy - fixed))
        weight = torch.where(wanted, kto.desirable_weight, kto.undesirable_weight)
        loss = (weight * (1 - torch.sigmoid(kto.beta * gain))).mean() * share
        with torch.no_grad():
            means = {"kl": kl * share}
            means |= _means(desirable, batch, wanted, policy, kto.beta * (policy - fixed))
        return loss, means


def kto_loss(
    model: nn.Module, rows: KtoRows, reference: Reference, kto: KtoRecipe, batches: Batches
) -> Loss:
    """A function from a group (in the order of the rows) to its part of its step's loss."""
    told = KtoObjective(rows, reference, kto)

    def loss_of(group: Indices, batch: Indices) -> tuple[torch.Tensor, Means]:
        own, others = told.groups(group), told.groups_before(group)
        if can_go_behind(model, batches):
            logps, before = logps_and_behind(model, own, others, batches)
        else:
            with torch.no_grad():
                before = sequence_logps(model, batches.of(others))
            logps = sequence_logps(model, batches.of(own))
        return told.loss(logps, before, group, batch)

    return loss_of


def _means(
    desirable: Sequence[bool],
    batch: Sequence[int],
    wanted: torch.Tensor,
    logps: torch.Tensor,
    rewards: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """A group's parts of its step's means over desirable and over undesirable labels."""
    n_wanted = sum(desirable[index] for index in batch)
    found: dict[str, torch.Tensor] = {}
    for name, chosen, n in (
        ("chosen", wanted, n_wanted),
        ("rejected", ~wanted, len(batch) - n_wanted),
    ):
        if n:  # no mean of nothing
            found[f"{name}_logp"] = torch.where(chosen, logps, 0.0).sum() / n
            found[f"{name}_reward"] = torch.where(chosen, rewards, 0.0).sum() / n
    if "chosen_logp" in found and "rejected_logp" in found:
        found["margin"] = found["chosen_reward"] - found["rejected_reward"]
    return found
