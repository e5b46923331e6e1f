"""From logits to the next token.

| symbol | meaning | shape |
|---|---|---|
| logits | of the next token | (rows, vocabulary) |
| u | one uniform number in [0, 1) per row | (rows,) |

Each row brings its own uniform numbers, so what is sampled for a prompt does not depend on which
prompts were decoded beside it.
"""

from __future__ import annotations

import torch

from apportion.config.evaluation import Decoding


def nucleus(logits: torch.Tensor, decoding: Decoding) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities after temperature, then top-p, and the tokens they are of; most probable first.

    As transformers does: the smallest set of tokens that holds at least `top_p` is kept.
    """
    probabilities, tokens = (
        (logits.float() / decoding.temperature)
        .softmax(-1)
        .sort(dim=-1, descending=True, stable=True)
    )
    if decoding.top_p < 1:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= decoding.top_p, 0)
    return probabilities / probabilities.sum(-1, keepdim=True), tokens


def next_tokens(logits: torch.Tensor, decoding: Decoding, u: torch.Tensor | None) -> torch.Tensor:
    """The next token of each row: (rows,). Greedy where `u` is None."""
    if u is None:
        return logits.argmax(-1)
    probabilities, tokens = nucleus(logits, decoding)
    cumulative = probabilities.double().cumsum(-1)
    # scaled, so that rounding cannot put u behind the last token that has any probability
    rank = (cumulative <= u.unsqueeze(-1) * cumulative[:, -1:]).sum(-1, keepdim=True)
    return tokens.gather(-1, rank).squeeze(-1)
