"""Sequences without padding: side by side in one row, a beginning that two share computed once.

| symbol | meaning | shape |
|---|---|---|
| group | one sequence, or two with a common beginning | |
| N | tokens of one forward pass; those of a common beginning count once | |
| c, a, b | tokens of the common beginning, of the rest of the first, of the rest of the second | |
| ids | per group: the beginning, the rest of the first, the rest of the second | (1, N) |
| positions | place of each token in its own sequence | (1, N) |

Every product with weights sees N tokens instead of rows times the longest. Attention alone is
computed sequence by sequence: the second of a group sees the beginning and itself, never the first.
The mathematics is that of padded rows; only the order of sums differs. In the last layer, what no
response token is predicted from is not computed behind the attention.

Used on a CPU, by models whose attention can be exchanged (transformers' attention interface); every
other model and device gets padded rows. Whether a model really can is tried out on a few tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from apportion.models.policy import causal_lm
from apportion.training.batches import Batch, Row, collate, token_logps
from apportion.training.modes import evaluating

_NAME = "apportion_packed"


class _Unsuited(Exception):
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


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the groups lie in a row. `masks`: per group with two sequences, which of the
    beginning and itself each token of the second sees, (b, c + b); `places`: the flat positions
    that a response token is predicted from, in order, each once."""

    spans: tuple[Span, ...]
    masks: tuple[torch.Tensor | None, ...]
    positions: torch.Tensor
    places: torch.Tensor

    @contextmanager
    def within(self, lm: Any) -> Iterator[dict[str, Any]]:
        """Within: attention follows this layout, and the last layer leaves out what is not used."""
        config = lm.config.get_text_config()
        before = config._attn_implementation
        _register()
        with ExitStack() as stack:
            config._attn_implementation = _NAME
            stack.callback(setattr, config, "_attn_implementation", before)
            for module in _behind_attention(lm):
                stack.enter_context(_only_for(module, self.places))
            yield {"position_ids": self.positions, "packed_layout": self}


@dataclass(frozen=True, slots=True)
class Batches:
    """How sequences become batches: packed, or padded with the id `pad`."""

    packed: bool
    pad: int
    device: torch.device

    def of(self, groups: Sequence[Sequence[Row]]) -> Batch:
        """One batch of all sequences of the groups, in their order."""
        if self.packed:
            return pack(groups, device=self.device)
        rows = [row for group in groups for row in group]
        return collate(rows, pad=self.pad, device=self.device)

    def costs(self, groups: Sequence[Sequence[Row]]) -> list[int] | None:
        """Tokens that are computed per group; None where padding decides that."""
        return [_span(group).total for group in groups] if self.packed else None


def batches_for(model: nn.Module, *, pad: int) -> Batches:
    """How sequences become batches for `model`: a function of it, of the library and the device."""
    return Batches(can_pack(model), pad, next(model.parameters()).device)


def _span(group: Sequence[Row]) -> Span:
    if len(group) == 1:
        return Span(0, len(group[0].ids), 0)
    first, second = (row.ids for row in group)
    # Each has at least one token of its own: then no part is empty.
    most = min(len(first), len(second)) - 1
    same = next((i for i in range(most) if first[i] != second[i]), most)
    return Span(same, len(first) - same, len(second) - same)


def pack(groups: Sequence[Sequence[Row]], *, device: torch.device) -> Batch:
    """Groups of one or two sequences in one row; the batch's sequences are in the groups' order."""
    ids: list[int] = []
    positions: list[int] = []
    place: list[int] = []
    target: list[int] = []
    owner: list[int] = []
    spans = tuple(_span(group) for group in groups)
    masks: list[torch.Tensor | None] = []
    n_rows = 0
    for group, span in zip(groups, spans, strict=True):
        begin = len(ids)
        for which, row in enumerate(group):
            # where the sequence's own tokens lie, less their positions in the sequence
            own = begin + which * span.own_a
            fresh = span.common if which else 0
            ids.extend(row.ids[fresh:])
            positions.extend(range(fresh, len(row.ids)))
            for at in range(row.start - 1, len(row.ids) - 1):
                place.append((begin if at < span.common else own) + at)
            target.extend(row.ids[row.start :])
            owner.extend([n_rows] * row.n_response)
            n_rows += 1
        sees = torch.ones(span.own_b, span.common + span.own_b, dtype=torch.bool, device=device)
        masks.append(sees.tril(span.common) if span.own_b else None)
    places = torch.tensor(sorted(set(place)), device=device)
    layout = Layout(spans, tuple(masks), torch.tensor([positions], device=device), places)
    return Batch(
        torch.tensor([ids], device=device),
        torch.tensor(place, device=device),
        torch.tensor(target, device=device),
        torch.tensor(owner, device=device),
        n_rows=n_rows,
        packed=layout,
    )


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
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of transformers' interface over one packed row: (1, N, heads, head size)."""
    known = {"position_ids", "use_cache", "cache_position", "output_attentions"}
    asked = {name for name, given in more.items() if given is not None} - known
    if packed_layout is None or attention_mask is not None or asked or dropout:
        raise _Unsuited(str(asked))
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
    attend = partial(nn.functional.scaled_dot_product_attention, scale=scaling)
    sizes = [n for s in packed_layout.spans for n in (s.common + s.own_a, s.own_b) if n]
    parts = zip(*(torch.split(x, sizes, dim=2) for x in (query, key, value)), strict=True)
    found = []
    for span, mask in zip(packed_layout.spans, packed_layout.masks, strict=True):
        q, k, v = next(parts)
        found.append(attend(q, k, v, is_causal=True))
        if mask is not None:
            q, *own = next(parts)
            k, v = (
                torch.cat([first[:, :, : span.common], second], dim=2)
                for first, second in zip((k, v), own, strict=True)
            )
            found.append(attend(q, k, v, attn_mask=mask))
    return torch.cat(found, dim=2).transpose(1, 2), None


def _register() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(_NAME, _attend)


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


def can_pack(model: nn.Module) -> bool:
    """Whether `model`, where it is, gives the same for packed sequences as for padded ones."""
    lm = causal_lm(model)
    on_cpu = next(lm.parameters()).device.type == "cpu"
    if not on_cpu or not getattr(lm, "_supports_attention_backend", False):
        return False
    config = lm.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if config._attn_implementation != "sdpa" or kinds != {"full_attention"}:
        return False
    return _same_when_packed(model, config.vocab_size)


def _same_when_packed(model: nn.Module, vocabulary: int) -> bool:
    """Tried out on three sequences, two of which begin alike."""
    words = [index * 7919 % vocabulary for index in range(24)]
    pair = (Row(tuple(words[:9]), 3), Row((*words[:5], *words[15:20]), 3))
    groups = ((Row(tuple(words[9:15]), 2),), pair)
    device = next(model.parameters()).device
    plain = collate([row for group in groups for row in group], pad=0, device=device)
    with evaluating(model), torch.no_grad():
        try:
            packed = token_logps(model, pack(groups, device=device))
        except (_Unsuited, TypeError, RuntimeError):
            return False
        wanted = token_logps(model, plain)
    rough = causal_lm(model).config.dtype in (torch.bfloat16, torch.float16)
    return torch.allclose(packed, wanted, rtol=0, atol=0.1 if rough else 1e-4)
