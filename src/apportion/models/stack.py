"""Several runs' adapters beside one another over one base model.

Every run has its own chain: the frozen adapters that it starts from, and one new one that it
trains. All hang in the same PEFT model under names of their own, so that the weights of the base
are there once. Which of them compute is said from outside: `using` for one run's frozen chain,
`apportion.training.stacked` for all runs at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from apportion.config.recipe import LoraRecipe
from apportion.models.policy import (
    adapters_of,
    causal_lm,
    side_effects_undone,
    with_adapter,
    with_new_adapter,
)


class UnsuitedToStack(Exception):
    """The model or its adapters are of a kind that is trained one at a time only."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The names of a run's adapters in the shared model: frozen ones, oldest first, and its own."""

    frozen: tuple[str, ...]
    own: str


def add_run(
    model: nn.Module, folders: Sequence[Path], lora: LoraRecipe, *, index: int, seed: int
) -> tuple[nn.Module, Chain]:
    """`model` with the adapters in `folders`, frozen, and a new one drawn under `seed`.

    The new one is what `prepare_for_training` would draw; nothing is active afterwards, and nothing
    has a gradient. `index` tells the runs of a model apart.
    """
    frozen = tuple(f"run{index}_stage{place + 1}" for place in range(len(folders)))
    own = f"run{index}_stage{len(folders) + 1}"
    with side_effects_undone():
        for folder, name in zip(folders, frozen, strict=True):
            model = with_adapter(model, folder, name)
    with side_effects_undone(seed):
        model = with_new_adapter(model, lora, own)
    return model.requires_grad_(False).eval(), Chain(frozen, own)


def adapted_layers(model: nn.Module) -> dict[str, Any]:
    """The linear layers that have adapters, by name. UnsuitedToStack where an adapter is more than
    a pair of matrices beside a linear layer, or belongs to the output layer."""
    from peft.tuners.lora.layer import Linear, LoraLayer

    found: dict[str, Any] = {}
    head = causal_lm(model).get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            odd = module.lora_embedding_A or module.lora_variant or any(module.lora_bias.values())
            if type(module) is not Linear or module is head or odd:
                raise UnsuitedToStack(f"{name} is not a plain linear layer with an adapter.")
            found[name] = module
    return found


@contextmanager
def silenced(model: nn.Module) -> Iterator[None]:
    """Within: no adapter computes; the layers are the base's."""
    layers = adapted_layers(model).values() if adapters_of(model) else ()
    before = {layer: layer._disable_adapters for layer in layers}
    try:
        for layer in before:
            layer._disable_adapters = True
        yield
    finally:
        for layer, was in before.items():
            layer._disable_adapters = was


@contextmanager
def using(model: nn.Module, frozen: Sequence[str]) -> Iterator[None]:
    """Within: the adapters `frozen` compute, in their order, and no others: one run's start.

    Which adapters are active is otherwise without meaning in a shared model, and not put back.
    """
    if not frozen:
        with silenced(model):
            yield
        return
    whole: Any = model
    whole.base_model.set_adapter(list(frozen), inference_mode=True)
    yield
