"""The three sandbox models, and a step of theirs that is fast on two cores.

| symbol | meaning |
|---|---|
| B, T | rows of a batch, tokens of a row |
| D | width; H heads of D/H; I the width of the MLP; V tokens |
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

MODEL_SEED = 17
CONTEXT = 512
THETA, EPSILON = 10_000.0, 1e-6
BLOCK = 128  # queries that attend together: keys behind the last of them are not computed


class Shape(NamedTuple):
    """What a size is, and what it is trained on.

    `tokens` count padding; `peak` is the learning rate; `skip` is the file of rows that it begins
    with, so that a short run has its part of the later mix; `rows` are those of a step.
    """

    hidden: int
    layers: int
    heads: int
    intermediate: int
    tokens: int
    peak: float
    skip: int
    rows: int


FILE = 2_097_152  # tokens in a file of rows

SHAPES = {
    "tiny": Shape(96, 3, 4, 256, 14 * FILE, 5e-3, 0, 16),
    "small": Shape(192, 4, 6, 512, 14 * FILE, 4e-3, 0, 16),
    "medium": Shape(288, 5, 9, 704, 6 * FILE, 2.5e-3, 4, 8),
}


def fresh(size: str, tokenizer: object) -> LlamaForCausalLM:
    """An untrained model."""
    torch.manual_seed(MODEL_SEED)
    shape = SHAPES[size]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.intermediate,
        rms_norm_eps=EPSILON,
        rope_parameters={"rope_theta": THETA, "rope_type": "default"},
        tie_word_embeddings=True,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


class Loss:
    """Mean cross-entropy of packed rows: what `model(...)` computes, with products in `dtype`.

    Weights and sums stay in float32. Documents of one row do not see each other, as no prompt has
    a text before it. Written out for `torch.compile`, which joins what is between the products.
    """

    def __init__(
        self, model: LlamaForCausalLM, rows: int, length: int, dtype: torch.dtype = torch.bfloat16
    ) -> None:
        config = model.config
        self.dtype = dtype
        self.model, self.rows, self.length = model, rows, length
        self.heads, self.width = config.num_attention_heads, config.hidden_size
        self.size = self.width // self.heads
        inverse = 1.0 / THETA ** (torch.arange(0, self.size, 2).float() / self.size)
        angle = torch.outer(torch.arange(length).float(), inverse).repeat(1, 2)
        self.cos, self.sin = angle.cos().to(dtype), angle.sin().to(dtype)
        self.ahead = torch.ones(length, length, dtype=torch.bool).triu(1)

    def __call__(self, ids: torch.Tensor, parts: torch.Tensor) -> torch.Tensor:
        """`ids`, `parts`: (B, T); parts numbers the documents of a row from 1, 0 is padding."""
        table = self.model.model.embed_tokens.weight
        hidden = F.embedding(ids, table)
        for layer in self.model.model.layers:
            hidden = hidden + self._attended(layer, hidden, parts)
            mlp = layer.mlp
            x = self._normed(hidden, layer.post_attention_layernorm.weight)
            joint = self._product(x, torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]))
            gate, up = joint.chunk(2, -1)
            hidden = hidden + self._product(F.silu(gate) * up, mlp.down_proj.weight)
        x = self._normed(hidden, self.model.model.norm.weight)[:, :-1].reshape(-1, self.width)
        # A document's first token cannot be told from the one before it.
        wanted = torch.where((parts[:, 1:] == parts[:, :-1]) & (parts[:, 1:] > 0), ids[:, 1:], -100)
        return F.cross_entropy(self._product(x, table).float(), wanted.reshape(-1))

    def _attended(self, layer: object, hidden: torch.Tensor, parts: torch.Tensor) -> torch.Tensor:
        own = layer.self_attn
        x = self._normed(hidden, layer.input_layernorm.weight)
        joint = torch.cat([own.q_proj.weight, own.k_proj.weight, own.v_proj.weight])
        shape = (self.rows, self.length, 3, self.heads, self.size)
        q, k, v = self._product(x, joint).view(shape).permute(2, 0, 3, 1, 4)
        q, k = self._rotated(q), self._rotated(k)
        found = []
        for first in range(0, self.length, BLOCK):
            last = first + BLOCK
            other = parts[:, first:last, None] != parts[:, None, :last]
            hide = (other | self.ahead[first:last, :last])[:, None]
            scores = (q[:, :, first:last] @ k[:, :, :last].transpose(-1, -2)).float()
            scores = (scores * self.size**-0.5).masked_fill(hide, -1e9)
            found.append(scores.softmax(-1).to(self.dtype) @ v[:, :, :last])
        mixed = torch.cat(found, 2).transpose(1, 2).reshape(self.rows, self.length, self.width)
        return self._product(mixed, own.o_proj.weight)

    def _rotated(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, -1)
        return x * self.cos + torch.cat([-right, left], -1) * self.sin

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON)
        return (x * scale * weight).to(self.dtype)

    def _product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.linear(x, weight.to(self.dtype))
