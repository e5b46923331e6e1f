"""What every attention over packed sequences shares: spans, and how a model is told of them.

A packed row is computed through transformers' attention interface: `within`, the model's attention
is exchanged for that of a layout, and in the last layer what no response token
is predicted from is not computed behind the attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

_NAME = "apportion_packed"


class Unsuited(Exception):
    """The model asks its attention for something that packing does not know."""


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of a group; `own_b` is 0 where it has one sequence."""

    common: int
    own_a: int
    own_b: int

    @property
    def total(self) -> int:
        return self.common + self.own_a + self.own_b


class Layout(Protocol):
    """Where sequences lie in a packed row. `positions`: each token's place in its own sequence,
    (1, N); `places`: the flat positions that a response token is predicted from, in order, each
    once; None: all are computed to the end."""

    @property
    def positions(self) -> torch.Tensor: ...
    @property
    def places(self) -> torch.Tensor | None: ...

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        """What each token sees, (1, N, heads, head size), from (1, heads, N, head size)."""
        ...


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed_layout: Layout | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Attention in the words of transformers' interface; Unsuited where the model wants a mask,
    dropout, or an argument that is not known here."""
    known = {"position_ids", "use_cache", "cache_position", "output_attentions", "is_causal"}
    asked = {name for name, given in more.items() if given is not None} - known
    if packed_layout is None or attention_mask is not None or asked or dropout:
        raise Unsuited(str(asked))
    return packed_layout.attend(query, key, value, scaling), None


@contextmanager
def within(lm: Any, layout: Layout) -> Iterator[dict[str, Any]]:
    """Within: the attention of `lm` follows `layout`, and the last layer leaves out what is not
    used; what its forward pass is given besides ids."""
    from transformers import AttentionInterface

    config = lm.config.get_text_config()
    before = config._attn_implementation
    AttentionInterface.register(_NAME, _attend)
    with ExitStack() as stack:
        config._attn_implementation = _NAME
        stack.callback(setattr, config, "_attn_implementation", before)
        if layout.places is not None:
            for module in _behind_attention(lm):
                stack.enter_context(_only_for(module, layout.places))
        yield {"position_ids": layout.positions, "packed_layout": layout}


def _behind_attention(lm: Any) -> list[nn.Module]:
    """The modules of the last layer whose outputs at a place matter to that place alone."""
    layers = getattr(lm.base_model, "layers", None)
    last = layers[-1] if isinstance(layers, nn.ModuleList) and len(layers) else None
    mlp = getattr(last, "mlp", None)
    return [mlp] if isinstance(mlp, nn.Module) else []


@contextmanager
def _only_for(module: nn.Module, places: torch.Tensor) -> Iterator[None]:
    """Within: `module` is computed at the flat positions `places`, and 0 at all others."""
    full: list[int] = []

    def pick(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        full.append(inputs[0].shape[1])
        return (inputs[0].index_select(1, places), *inputs[1:])

    def put_back(_: nn.Module, inputs: Any, out: torch.Tensor) -> torch.Tensor:
        whole = out.new_zeros(1, full.pop(), out.shape[2])
        return whole.index_copy(1, places, out)

    handles = (
        module.register_forward_pre_hook(pick),
        module.register_forward_hook(put_back),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
