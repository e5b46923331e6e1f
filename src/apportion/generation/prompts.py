"""Prompts as the ids that every engine is asked with, and whether they fit the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apportion.data.records import Context
from apportion.errors import StageError
from apportion.models.template import Template


def encode_prompts(
    template: Template, prompts: Sequence[str], contexts: Sequence[Context] | None = None
) -> list[list[int]]:
    """The ids of each prompt, in their order; `contexts`: the turns before each, if any."""
    return [
        template.prompt_ids(prompt, context)
        for prompt, context in zip(prompts, contexts or [()] * len(prompts), strict=True)
    ]


def check_room(config: Any, ids: Sequence[Sequence[int]], limit: int) -> None:
    """StageError for a prompt that with `limit` new tokens does not fit the model of `config`."""
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    for index, row in enumerate(ids):
        if not row or (context is not None and len(row) + limit > context):
            raise StageError(
                f"prompt {index + 1} has {len(row)} tokens; with {limit} new ones it does not fit "
                f"the model's context of {context}."
                if row
                else f"prompt {index + 1} has no tokens.",
                field="evaluation.decoding.max_new_tokens",
                mend="shorten the prompts, or lower the limit of new tokens.",
            )
