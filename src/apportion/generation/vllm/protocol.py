"""What the process with the engine is told, as plain JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How the engine is loaded. Folders, or hub ids with the commit as `revision`."""

    model: str
    revision: str | None
    tokenizer: str
    tokenizer_revision: str | None
    dtype: str  # float32 | bfloat16
    max_model_len: int  # tokens of the longest prompt and its response: what memory is kept for
    max_num_seqs: int  # prompts decoded at once
    max_lora_rank: int | None  # None: without adapters


@dataclass(frozen=True)
class Adapter:
    """An adapter over the engine's model: a folder in PEFT's format. `number`: its own, from 1."""

    number: int
    folder: str


@dataclass(frozen=True)
class Request:
    """Prompts to answer, all with one adapter or none.

    `temperature`: 0 for greedy. `seeds`: one for each prompt, for sampling; None for greedy.
    """

    prompts: list[list[int]]
    temperature: float
    top_p: float
    max_tokens: int
    stop: list[str]
    stop_token_ids: list[int]
    seeds: list[int] | None
    adapter: Adapter | None
