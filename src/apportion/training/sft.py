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
from typing import Any, Literal

import torch
from torch import nn

from apportion.config.recipe import SftRecipe
from apportion.data.records import Demonstration
from apportion.models.template import Template
from apportion.training.batches import Row, encode, token_logps
from apportion.training.loop import Loss, OnStep, StepLog, fit
from apportion.training.packing import Batches, batches_for


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
) -> list[StepLog]:
    """Train `model` (from `prepare_for_training`) in place; one record per step.

    Each record's `extra` has `dropped`: demonstrations whose prompt alone fills `max_length`.
    Raises StageError where nothing is left, or loss or gradient is not finite.
    """
    found = [
        encode(template, d.prompt, d.response, max_length=max_length, context=d.context)
        for d in demonstrations
    ]
    rows = [row for row in found if row is not None]
    batches = batches_for(model, pad=tokenizer.pad_token_id)
    return fit(
        model,
        sft_loss(model, rows, recipe.loss_weighting, batches),
        [len(row.ids) for row in rows],
        recipe,
        seed=seed,
        on_step=on_step,
        constants={"dropped": float(len(found) - len(rows))},
        costs=batches.costs([[row] for row in rows]),
    )


def sft_loss(
    model: nn.Module,
    rows: Sequence[Row],
    weighting: Literal["token", "sequence"],
    batches: Batches,
) -> Loss:
    """A function from a forward pass's indices to its part of its effective batch's loss."""

    def loss_of(
        micro: Sequence[int], batch: Sequence[int]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        if weighting == "token":
            shares = [1.0 / sum(rows[index].n_response for index in batch)] * len(micro)
        else:
            shares = [1.0 / (rows[index].n_response * len(batch)) for index in micro]
        tokens = batches.of([[rows[index]] for index in micro])
        logps = token_logps(model, tokens)
        weight = torch.tensor(shares, dtype=logps.dtype, device=logps.device)[tokens.row]
        return -(logps * weight).sum(), {}

    return loss_of
