"""Direct preference optimisation against the model that stage two starts from.

| symbol | meaning |
|---|---|
| b | an effective batch of pairs |
| w_i, l_i | log p(chosen | prompt), log p(rejected | prompt) under the policy, in nats |
| v_i, m_i | the same under the reference, computed once before training |
| r_i | beta * ((w_i - v_i) - (l_i - m_i)), the margin |

Loss: mean over b of -log sigmoid(r_i). Log-probabilities are sums over the response's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from apportion.config.recipe import PreferenceRecipe
from apportion.data.records import Pair
from apportion.errors import StageError
from apportion.models.template import Template
from apportion.training.batches import Row, encode, numbers_like, sequence_logps
from apportion.training.loop import Loss, fit
from apportion.training.modes import evaluating
from apportion.training.objective import Groups, Indices, Means
from apportion.training.packing import Batches, batches_for
from apportion.training.steps import OnStep, StepLog
from apportion.training.trajectory import Leg

PairRows = tuple[Row, Row]
Reference = tuple[Sequence[float | None], Sequence[float | None]]


def encode_pairs(
    template: Template, pairs: Sequence[Pair], *, max_length: int
) -> list[PairRows | None]:
    """Chosen and rejected rows per pair; None where the prompt alone fills `max_length`."""
    found: list[PairRows | None] = []
    for pair in pairs:
        chosen, rejected = (
            encode(template, pair.prompt, text, max_length=max_length, context=pair.context)
            for text in (pair.chosen, pair.rejected)
        )
        found.append(None if chosen is None or rejected is None else (chosen, rejected))
    return found


def reference_logps(
    model: nn.Module,
    tokenizer: Any,
    template: Template,
    pairs: Sequence[Pair],
    *,
    max_length: int,
    batch_size: int,
) -> tuple[list[float | None], list[float | None]]:
    """log p of chosen and rejected under `model`, in nats, in the order of `pairs`.

    Call it on the model that training starts from, before or after `prepare_for_training` (a new
    adapter has no effect yet). None for pairs that training drops. `batch_size` is in pairs.
    """
    found = encode_pairs(template, pairs, max_length=max_length)
    kept = [(index, rows) for index, rows in enumerate(found) if rows is not None]
    kept.sort(key=lambda pair: len(pair[1][0].ids) + len(pair[1][1].ids))
    chosen: list[float | None] = [None] * len(found)
    rejected: list[float | None] = [None] * len(found)
    batches = batches_for(model, pad=tokenizer.pad_token_id)
    with evaluating(model), torch.no_grad():
        for begin in range(0, len(kept), batch_size):
            part = kept[begin : begin + batch_size]
            both = _pair_logps(model, [rows for _, rows in part], batches)
            for (index, _), w, l_ in zip(part, *(half.tolist() for half in both), strict=True):
                chosen[index], rejected[index] = w, l_
    return chosen, rejected


def _pair_logps(
    model: nn.Module, rows: Sequence[PairRows], batches: Batches
) -> tuple[torch.Tensor, torch.Tensor]:
    """log p of chosen and of rejected, in nats, from one forward pass: each (pairs,)."""
    logps = sequence_logps(model, batches.of(rows)).view(-1, 2)
    return logps[:, 0], logps[:, 1]


def train_dpo(
    model: nn.Module,
    tokenizer: Any,
    template: Template,
    pairs: Sequence[Pair],
    recipe: PreferenceRecipe,
    *,
    reference: Reference,
    max_length: int,
    seed: int,
    on_step: OnStep | None = None,
    leg: Leg | None = None,
) -> list[StepLog]:
    """Train `model` (from `prepare_for_training`) in place; one record per step.

    `reference`: what `reference_logps` gave for the same pairs. Means over the effective batch in
    each record's `extra`: `margin` (r_i above), `chosen_logp`, `rejected_logp` (nats), `accuracy`
    (share with a positive margin); and `dropped`, the pairs whose prompt alone fills `max_length`.
    `leg`: these are the pairs of one leg of a shared trajectory.
    Raises StageError where nothing is left, or loss or gradient is not finite.
    """
    told = dpo_objective(template, pairs, recipe, reference=reference, max_length=max_length)
    batches = batches_for(model, pad=tokenizer.pad_token_id, training=True)
    return fit(
        model,
        dpo_loss(model, told.rows, told.reference, recipe.beta, batches),
        told.lengths,
        recipe,
        seed=seed,
        on_step=on_step,
        leg=leg,
        constants={"dropped": float(told.dropped)},
        expect=batches.expecting(told),
        costs=batches.costs(told.rows),
    )


@dataclass(frozen=True)
class DpoObjective:
    """Pairs as an `Objective`. `reference`: log p of chosen and rejected of each, in nats;
    `dropped`: pairs whose prompt alone fills the length."""

    rows: Sequence[PairRows]
    reference: Sequence[tuple[float, float]]
    beta: float
    dropped: int = 0

    @property
    def lengths(self) -> list[int]:
        return [len(chosen.ids) + len(rejected.ids) for chosen, rejected in self.rows]

    def groups(self, micro: Indices) -> Groups:
        return [self.rows[index] for index in micro]

    def groups_before(self, micro: Indices) -> Groups:
        return []

    def loss(
        self, logps: torch.Tensor, before: torch.Tensor | None, micro: Indices, batch: Indices
    ) -> tuple[torch.Tensor, Means]:
        both = logps.view(-1, 2)
        w, l_ = both[:, 0], both[:, 1]
        fixed = numbers_like([self.reference[index] for index in micro], w)
        margin = self.beta * ((w - fixed[:, 0]) - (l_ - fixed[:, 1]))
        share = 1.0 / len(batch)
        with torch.no_grad():
            means = {
                "margin": margin.sum() * share,
                "chosen_logp": w.sum() * share,
                "rejected_logp": l_.sum() * share,
                "accuracy": (margin > 0).sum() * share,
            }
        return -nn.functional.logsigmoid(margin).sum() * share, means


def dpo_objective(
    template: Template,
    pairs: Sequence[Pair],
    recipe: PreferenceRecipe,
    *,
    reference: Reference,
    max_length: int,
) -> DpoObjective:
    """Pairs as rows, with what `reference_logps` gave for them; StageError where it lacks one."""
    found = encode_pairs(template, pairs, max_length=max_length)
    rows: list[PairRows] = []
    fixed: list[tuple[float, float]] = []
    for pair, v, m in zip(found, *reference, strict=True):
        if pair is not None:
            if v is None or m is None:
                raise StageError("the reference lacks a pair that is trained on.")
            rows.append(pair)
            fixed.append((v, m))
    return DpoObjective(rows, fixed, recipe.beta, len(found) - len(rows))


def dpo_loss(
    model: nn.Module,
    rows: Sequence[PairRows],
    reference: Sequence[tuple[float, float]],
    beta: float,
    batches: Batches,
) -> Loss:
    """A function from a forward pass's indices to its part of its effective batch's loss."""
    told = DpoObjective(rows, reference, beta)

    def loss_of(micro: Indices, batch: Indices) -> tuple[torch.Tensor, Means]:
        logps = sequence_logps(model, batches.of(told.groups(micro)))
        return told.loss(logps, None, micro, batch)

    return loss_of
