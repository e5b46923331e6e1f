"""The same training by the native loop and by TRL, and how far apart the two are.

Every case is hard enough to fail: rates that move the loss by more than 0.1, a reference that is
not the policy, unequal lengths, sequences that are cut, accumulation, clipping that bites, and a
last batch that is not full. `Difference` has what was measured; `agrees` has the limits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from apportion.config.recipe import KtoRecipe, LoraRecipe, PreferenceRecipe, SftRecipe
from apportion.data.records import Demonstration, Pair, labels_of
from apportion.models.policy import load_base, prepare_for_training
from apportion.models.resolve import resolve_model
from apportion.models.template import load_tokenizer, make_template
from apportion.training import kto as kto_module
from apportion.training.batches import encode
from apportion.training.dpo import encode_pairs, reference_logps, train_dpo
from apportion.training.kto import encode_labels, kto_reference, train_kto
from apportion.training.sft import train_sft

MAX_LENGTH = 48
SEED = 5
_COLOURS = ("red", "blue or green", "a rather dark violet", "none", "yellow, said she")
DEMONSTRATIONS = tuple(
    Demonstration(f"Item {i}: " + "which colour? " * (i % 3), _COLOURS[i % 5] + "!" * (i % 4))
    for i in range(11)
)
PAIRS = tuple(
    Pair(d.prompt, d.response, "it is " + "not " * (i % 4) + "known")
    for i, d in enumerate(DEMONSTRATIONS)
)
_STAGE: dict[str, Any] = {
    "epochs": 2, "batch_size": 4, "micro_batch_size": 2, "warmup_ratio": 0.2, "weight_decay": 0.1,
}  # fmt: skip


KTO = KtoRecipe(beta=0.2, desirable_weight=1.3, undesirable_weight=0.8)


@dataclass(frozen=True)
class Case:
    name: str
    method: str
    recipe: Any
    lora: LoraRecipe | None = None
    kto: KtoRecipe = KTO


LORA = LoraRecipe(r=4, alpha=8)


def _sft(rate: float, **changes: Any) -> SftRecipe:
    return SftRecipe(learning_rate=rate, **{"max_grad_norm": 2.0, **_STAGE, **changes})


def _preference(rate: float, **changes: Any) -> PreferenceRecipe:
    return PreferenceRecipe(
        learning_rate=rate, **{"beta": 0.05, "max_grad_norm": 1.0, **_STAGE, **changes}
    )


CASES = (
    Case("sft", "sft", _sft(3e-3)),
    Case("sft, LoRA", "sft", _sft(1e-2, max_grad_norm=1.5), LORA),
    Case("sft by sequence", "sft", _sft(3e-3, loss_weighting="sequence", micro_batch_size=1)),
    Case("dpo", "dpo", _preference(1e-3)),
    Case("dpo, LoRA, linear", "dpo", _preference(3e-3, schedule="linear", max_grad_norm=0.7), LORA),
    Case("dpo, whole batches", "dpo", _preference(1e-3, micro_batch_size=None)),
    Case("kto", "kto", _preference(1e-3, max_grad_norm=0.1)),
    Case("kto, LoRA", "kto", _preference(3e-3, max_grad_norm=0.1), LORA),
    Case("kto, one group a step", "kto", _preference(3e-3, max_grad_norm=0.1,
         micro_batch_size=None)),
)  # fmt: skip


@dataclass
class Run:
    """What a training left: a record per step, its first gradient, its weights before and after."""

    logs: list[Any]
    gradient: dict[str, torch.Tensor]
    before: dict[str, torch.Tensor]
    after: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Difference:
    """The largest over steps; gradients and weights by the lengths of whole vectors.

    `loss`: nats; log-probabilities and margins: relative where above 1; `gradient`: of the first
    step, relative, after clipping; `weights`: relative to how far training moved them.
    """

    loss: float
    lr: float
    grad_norm: float
    gradient: float
    weights: float
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        return (
            self.loss <= 1e-5
            and self.lr <= 1e-12
            and self.gradient <= 1e-4
            and self.grad_norm <= 1e-4
            and self.weights <= 1e-4
            and all(value <= 1e-4 for value in self.extra.values())
        )

    def row(self, name: str) -> str:
        extra = [self.extra.get(key) for key in ("chosen_logp", "rejected_logp", "margin", "kl")]
        own = [getattr(self, f.name) for f in fields(self) if f.name not in ("extra", "lr")]
        cells = [f"{value:.1e}" if value is not None else "" for value in [*own, *extra]]
        return f"| {name} | {' | '.join(cells)} |"


HEAD = (
    "| case | loss | gradient norm | first gradient | final weights | chosen log p "
    "| rejected log p | margin | KL |\n|---|---|---|---|---|---|---|---|---|"
)


class World:
    """A tiny model, another one as the reference, and both trainers on them."""

    def __init__(self, folder: Any) -> None:
        self.ref = resolve_model(str(folder))
        self.tokenizer = load_tokenizer(self.ref)
        self.template = make_template(self.ref, self.tokenizer)

    def policy(self, case: Case) -> Any:
        return prepare_for_training(load_base(self.ref, dtype="float32"), case.lora, seed=SEED)

    def reference(self) -> Any:
        """Not the policy: its weights are moved."""
        model = load_base(self.ref, dtype="float32")
        stream = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for weight in model.parameters():
                weight += 0.02 * torch.randn(weight.shape, generator=stream)
        return model

    def native(self, case: Case, *, beta: float | None = None, own_reference: bool = False) -> Run:
        """By the native loop; the keywords put a fault in."""
        how = (self.tokenizer, self.template)
        recipe, kto = case.recipe, case.kto
        if beta is not None and case.method == "dpo":
            recipe = recipe.model_copy(update={"beta": beta})
        elif beta is not None:
            kto = kto.model_copy(update={"beta": beta})
        frozen = self.policy(case) if own_reference else self.reference()
        if case.method == "sft":
            return watched(self.policy(case), lambda model: train_sft(
                model, *how, DEMONSTRATIONS, recipe, max_length=MAX_LENGTH, seed=SEED))  # fmt: skip
        if case.method == "dpo":
            known = reference_logps(frozen, *how, PAIRS, max_length=MAX_LENGTH, batch_size=3)
            return watched(self.policy(case), lambda model: train_dpo(
                model, *how, PAIRS, recipe, reference=known, max_length=MAX_LENGTH, seed=SEED,
            ))  # fmt: skip
        rows = self.kto_rows(case)
        fixed = kto_reference(frozen, self.tokenizer, rows, batch_size=3)
        return watched(self.policy(case), lambda model: train_kto(
            model, self.tokenizer, rows, recipe, kto, reference=fixed, seed=SEED))  # fmt: skip

    def kto_rows(self, case: Case) -> Any:
        return kto_module.encode_labels(
            self.template,
            labels_of(PAIRS),
            max_length=MAX_LENGTH,
            group_size=case.kto.group(case.recipe),
            seed=SEED,
        )

    def by_trl(self, case: Case, folder: Any) -> Run:
        from apportion.training.trl.columns import dpo_columns, kto_columns, sft_columns
        from apportion.training.trl.settings import Settings
        from apportion.training.trl.train import train

        if case.method == "sft":
            rows = [encode(self.template, d.prompt, d.response, max_length=MAX_LENGTH)
                    for d in DEMONSTRATIONS]  # fmt: skip
            columns = sft_columns(rows)
        elif case.method == "dpo":
            columns = dpo_columns(encode_pairs(self.template, PAIRS, max_length=MAX_LENGTH))
        else:
            columns = kto_columns(
                encode_labels(
                    self.template, labels_of(PAIRS), max_length=MAX_LENGTH,
                    group_size=case.kto.group(case.recipe), seed=SEED,
                )
            )  # fmt: skip
        settings = Settings(
            case.method, case.recipe, MAX_LENGTH, SEED,
            kto=case.kto if case.method == "kto" else None,
        )  # fmt: skip
        reference = None if case.method == "sft" else self.reference

        def by_trl(model: Any) -> list[Any]:
            return train(model, self.tokenizer, columns, settings, folder, reference=reference).logs

        return watched(self.policy(case), by_trl)


def watched(model: Any, train: Callable[[Any], list[Any]]) -> Run:
    """Train, and keep the gradient that the first optimiser step is given."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    before = weights(model)
    first: dict[str, torch.Tensor] = {}

    def keep(optimizer: Any, *_: Any) -> None:
        if not first:
            for group in optimizer.param_groups:
                for weight in group["params"]:
                    first[names[id(weight)]] = weight.grad.clone()

    handle = register_optimizer_step_pre_hook(keep)
    try:
        logs = train(model)
    finally:
        handle.remove()
    return Run(logs, first, before, weights(model))


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def compare(ours: Run, theirs: Run, case: Case) -> Difference:
    assert [log.step for log in ours.logs] == [log.step for log in theirs.logs]
    pairs = list(zip(ours.logs, theirs.logs, strict=True))
    # With several groups a step TRL's means are of means over groups, ours over labels.
    several = case.method == "kto" and case.kto.group(case.recipe) < case.recipe.batch_size
    names = {"kl"} if several else {"chosen_logp", "rejected_logp", "margin", "kl"}
    moved = {name: value - ours.before[name] for name, value in ours.after.items()}
    apart = {name: value - theirs.after[name] for name, value in ours.after.items()}
    return Difference(
        loss=max(abs(a.loss - b.loss) for a, b in pairs),
        lr=max(abs(a.lr - b.lr) for a, b in pairs),
        grad_norm=max(abs(a.grad_norm - b.grad_norm) / b.grad_norm for a, b in pairs),
        gradient=length({n: g - theirs.gradient[n] for n, g in ours.gradient.items()})
        / length(theirs.gradient),
        weights=length(apart) / length(moved),
        extra={
            name: max(
                abs(a.extra[name] - b.extra[name]) / max(1.0, abs(b.extra[name]))
                for a, b in pairs
                if name in a.extra and name in b.extra
            )
            for name in sorted(names & set(pairs[0][0].extra) & set(pairs[0][1].extra))
        },
    )


def length(vectors: dict[str, torch.Tensor]) -> float:
    return float(sum(float((v.double() ** 2).sum()) for v in vectors.values())) ** 0.5


def faults(case: Case, monkeypatch: Any) -> dict[str, Callable[[World], Run]]:
    """Native runs with one thing wrong each."""

    def wrong_mask(world: World) -> Run:
        """The first two tokens of each response are left out. (One alone, the space, or a prompt's
        last one put in, is the same in both of a pair, and DPO's margin is blind to it.)"""
        from apportion.training import batches

        def one_less(*args: Any, **kwargs: Any) -> Any:
            row = batches.encode(*args, **kwargs)
            return row and replace(row, start=row.start + 2)

        with monkeypatch.context() as patch:
            for module in ("sft", "dpo"):
                patch.setattr(f"apportion.training.{module}.encode", one_less)
            real = kto_module.encode_labels

            def labels(*args: Any, **kwargs: Any) -> Any:
                rows = real(*args, **kwargs)
                moved = tuple(replace(row, start=row.start + 2) for row in rows.matched)
                return replace(rows, matched=moved)

            patch.setattr(kto_module, "encode_labels", labels)
            return world.native(case)

    def shifted(world: World) -> Run:
        """Each token is predicted from itself."""
        from apportion.training import batches

        real = batches.token_logps

        def one_late(model: Any, batch: Any) -> Any:
            return real(model, replace(batch, place=batch.place + 1))

        with monkeypatch.context() as patch:
            for module in ("batches", "sft"):
                patch.setattr(f"apportion.training.{module}.token_logps", one_late)
            return world.native(case)

    found = {"wrong mask": wrong_mask, "shifted labels": shifted}
    if case.method != "sft":
        beta = case.recipe.beta if case.method == "dpo" else case.kto.beta
        found["wrong beta"] = lambda world: world.native(case, beta=beta * 1.01)
        found["wrong reference"] = lambda world: world.native(case, own_reference=True)
    return found
