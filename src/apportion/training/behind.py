"""Other responses behind prompts that a pass has just computed: on a CPU, the prompts once.

| symbol | meaning | shape |
|---|---|---|
| N, M | tokens of the packed pass; of the pass behind it | |
| begin | where a sequence lies in the packed pass | |
| c, b | tokens of its prompt but the last, of the other response and that last one | |

KTO asks for two responses behind each prompt, one with a gradient and one without. The second sees
the keys and values that the first left of the prompt. The last token of a prompt is computed again:
it predicts. The mathematics is that of a pass of its own, as long as no dropout is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import nn

from apportion.training.attention import Layout
from apportion.training.batches import Batch, sequence_logps, to_device
from apportion.training.blocks import sees
from apportion.training.objective import Groups
from apportion.training.packing import Batches

States = tuple[torch.Tensor, torch.Tensor]  # of a layer: keys, values (1, heads, N, head size)


@dataclass(frozen=True, slots=True)
class _Keeping:
    """A layout that also keeps what each layer looks at."""

    layout: Layout
    kept: list[States]

    @property
    def positions(self) -> torch.Tensor:
        return self.layout.positions

    @property
    def places(self) -> torch.Tensor | None:
        return self.layout.places

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        self.kept.append((key.detach(), value.detach()))
        return self.layout.attend(query, key, value, scale)


@dataclass(frozen=True, slots=True)
class _Behind:
    """The layout of the second pass: each sequence sees its prompt's states and itself. `begins`,
    `before` and `own`: begin, c and b of each; `masks`: what its tokens see, (b, c + b); `states`:
    layer by layer."""

    begins: Sequence[int]
    before: Sequence[int]
    own: Sequence[int]
    masks: Sequence[torch.Tensor]
    states: Iterator[States]
    positions: torch.Tensor
    places: torch.Tensor

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        """What each token sees, (1, M, heads, head size), from (1, heads, M, head size)."""
        kept, repeats = next(self.states), query.shape[1] // key.shape[1]
        parts = zip(*(torch.split(x, list(self.own), 2) for x in (query, key, value)), strict=True)
        found = []
        places = zip(self.begins, self.before, self.masks, parts, strict=True)
        for begin, c, mask, (q, *fresh) in places:
            k, v = (
                torch.cat([old[:, :, begin : begin + c], new], 2).repeat_interleave(repeats, 1)
                for old, new in zip(kept, fresh, strict=True)
            )
            found.append(
                nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
            )
        return torch.cat(found, 2).transpose(1, 2)


def can_go_behind(model: nn.Module, batches: Batches) -> bool:
    """Whether a second pass may look at the first one's prompts: packed, on a CPU, no dropout."""
    if not batches.packed or batches.device.type != "cpu":
        return False
    return not any(
        isinstance(module, nn.Dropout) and module.training and module.p > 0
        for module in model.modules()
    )


def logps_and_behind(
    model: nn.Module, groups: Groups, others: Groups, batches: Batches
) -> tuple[torch.Tensor, torch.Tensor]:
    """log p of the responses of `groups`, and without gradient of those of `others`, in nats: (R,)
    each. A group is one sequence, one by one their prompts are the same, and `can_go_behind`."""
    kept: list[States] = []
    batch = batches.of(groups)
    assert batch.packed is not None  # noqa: S101 - `can_go_behind`
    logps = sequence_logps(model, replace(batch, packed=_Keeping(batch.packed, kept)))
    with torch.no_grad():
        behind = sequence_logps(model, _second(groups, others, iter(kept), batches.device))
    return logps, behind


def _second(
    groups: Groups, others: Groups, states: Iterator[States], device: torch.device
) -> Batch:
    """`others` without their prompts, as one packed row."""
    begins = [0, *accumulate(len(row.ids) for (row,) in groups)][:-1]
    before = [row.start - 1 for (row,) in others]
    parts = [row.ids[c:] for (row,), c in zip(others, before, strict=True)]
    own = [len(part) for part in parts]
    at = [0, *accumulate(own)][:-1]
    place = [first + i for first, n in zip(at, own, strict=True) for i in range(n - 1)]
    owner = [index for index, n in enumerate(own) for _ in range(n - 1)]
    ids, places, target, row, positions = to_device(
        [
            [token for part in parts for token in part],
            place,
            [token for part in parts for token in part[1:]],
            owner,
            [c + i for c, n in zip(before, own, strict=True) for i in range(n)],
        ],
        device,
    )
    masks = [sees(c, n, device) for c, n in zip(before, own, strict=True)]
    layout = _Behind(begins, before, own, masks, states, positions.unsqueeze(0), places)
    return Batch(ids.unsqueeze(0), places, target, row, len(others), layout)
