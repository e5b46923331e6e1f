"""Supervised fine-tuning with the loss on the response alone.

| symbol | meaning |
|---|---|
| b | an effective batch of demonstrations |
| n_i | response tokens of demonstration i, its end-of-text among them |
| l_it | -log p of response token t of demonstration i, in nats |

Token weighting: sum over i and t of l_it / sum over i of n_i.
Sequence weighting: mean over i of (sum over t of l_it / n_i).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from apportion.config.recipe import SftRecipe
from apportion.data.records import Demonstration
from apportion.models.template import Template
from apportion.training.batches import Row, encode, numbers_like, token_logps
from apportion.training.loop import Loss, fit
from apportion.training.objective import Groups, Indices, Means
from apportion.training.packing import Batches, batches_for
from apportion.training.steps import OnStep, StepLog
from apportion.training.trajectory import Leg


def train_sft(
    model: nn.Module,
    tokenizer: Any,
    template: Template,
    demonstrations: Sequence[Demonstration],
    recipe: SftRecipe,
    *,
    max_length: int,
    seed: int,
    on_step: OnStep | None = None,
    leg: Leg | None = None,
) -> list[StepLog]:
    """Train `model` (from `prepare_for_training`) in place; one record per step.

    Each record's `extra` has `dropped`: demonstrations whose prompt alone fills `max_length`.
    `leg`: these are the demonstrations of one leg of a shared trajectory.
    Raises StageError where nothing is left, or loss or gradient is not finite.
    """
    told = sft_objective(template, demonstrations, recipe, max_length=max_length)
    batches = batches_for(model, pad=tokenizer.pad_token_id, training=True)
    return fit(
        model,
        sft_loss(model, told.rows, recipe.loss_weighting, batches),
        told.lengths,
        recipe,
        seed=seed,
        on_step=on_step,
        leg=leg,
        constants={"dropped": float(told.dropped)},
        expect=batches.expecting(told),
        costs=batches.costs([[row] for row in told.rows]),
    )


@dataclass(frozen=True)
class SftObjective:
    """Demonstrations as an `Objective`; `dropped`: those whose prompt alone fills the length."""

    rows: Sequence[Row]
    weighting: Literal["token", "sequence"]
    dropped: int = 0

    @property
    def lengths(self) -> list[int]:
        return [len(row.ids) for row in self.rows]

    def groups(self, micro: Indices) -> Groups:
        return [[self.rows[index]] for index in micro]

    def groups_before(self, micro: Indices) -> Groups:
        return []

    def shares(self, micro: Indices, batch: Indices) -> list[float]:
        """What each sequence's tokens weigh in the loss of their batch."""
        if self.weighting == "token":
            return [1.0 / sum(self.rows[index].n_response for index in batch)] * len(micro)
        return [1.0 / (self.rows[index].n_response * len(batch)) for index in micro]

    def loss(
        self, logps: torch.Tensor, before: torch.Tensor | None, micro: Indices, batch: Indices
    ) -> tuple[torch.Tensor, Means]:
        return -(logps * numbers_like(self.shares(micro, batch), logps)).sum(), {}


def sft_objective(
    template: Template,
    demonstrations: Sequence[Demonstration],
    recipe: SftRecipe,
    *,
    max_length: int,
) -> SftObjective:
    """The demonstrations as rows, cut at `max_length` tokens."""
    found = [
        encode(template, d.prompt, d.response, max_length=max_length, context=d.context)
        for d in demonstrations
    ]
    rows = [row for row in found if row is not None]
    return SftObjective(rows, recipe.loss_weighting, len(found) - len(rows))


def sft_loss(
    model: nn.Module,
    rows: Sequence[Row],
    weighting: Literal["token", "sequence"],
    batches: Batches,
) -> Loss:
    """A function from a forward pass's indices to its part of its effective batch's loss.

    Token by token; the objective's own loss is of whole sequences, the same but for rounding.
    """
    told = SftObjective(rows, weighting)

    def loss_of(micro: Indices, batch: Indices) -> tuple[torch.Tensor, Means]:
        tokens = batches.of(told.groups(micro))
        logps = token_logps(model, tokens)
        shares = numbers_like(told.shares(micro, batch), logps)
        return -(logps * shares[tokens.row]).sum(), {}

    return loss_of
