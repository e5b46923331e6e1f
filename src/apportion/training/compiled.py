"""A model's layers compiled by torch, while their CUDA graphs are recorded.

Between the products with weights, a layer's many small operations on all its numbers are made few.
That halves the time of a replay at 135M parameters (docs/speed.md) and costs 5 to 20 seconds once,
so it is for long stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from apportion.models.policy import causal_lm

# Tokens of a stage times hidden size times layers: about 4 million tokens of a model of 135M.
WORTH = 7e10
# One per kind of layer and size; torch's own limit of 8 gives up on the others without a word.
_VARIANTS = 64


def worth_compiling(model: nn.Module, tokens: int) -> bool:
    """Whether a stage of so many tokens wins back what compiling the layers costs."""
    config = causal_lm(model).config.get_text_config()
    size: int = config.hidden_size * len(layers_of(model))
    return tokens * size >= WORTH


def layers_of(model: nn.Module) -> Sequence[nn.Module]:
    """The layers, all of one kind; none where the model calls them something else."""
    found: Any = getattr(causal_lm(model).base_model, "layers", ())
    return list(found)


@contextmanager
def compiled(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Within: the layers are compiled when they are first called."""
    if not layers:
        yield
        return
    import torch._dynamo

    known: Any = torch._dynamo.config
    for layer in layers:
        ahead: Any = torch.compile(layer.forward, dynamic=True)
        layer.forward = ahead
    try:
        with known.patch(recompile_limit=_VARIANTS):
            yield
    finally:
        for layer in layers:
            del layer.forward
