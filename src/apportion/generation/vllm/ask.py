"""The same question to vLLM as to transformers: ids in, completions out.

Prompts are our own token ids. vLLM's answers are read as ids too, and cut and turned into text by
the code that does it for transformers, so that length, truncation and text mean the same. (Of
`finish_reason` only what is no ending at all is believed: vLLM says `length` also of a response
whose last allowed token ends it.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from apportion.config.evaluation import Decoding
from apportion.data.records import Context
from apportion.errors import StageError
from apportion.generation.ending import Completion, Ending, ending_ids
from apportion.generation.prompts import check_room, encode_prompts
from apportion.generation.vllm.engine import Engine
from apportion.generation.vllm.protocol import Adapter, Request
from apportion.models.resolve import ModelRef, hub_commit
from apportion.models.template import Template

_ENDED = ("stop", "length")


@dataclass(frozen=True)
class Question:
    """Prompts as vLLM is asked, and what reads its answers."""

    request: Request
    ending: Ending

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with all its new ones."""
        return max(map(len, self.request.prompts)) + self.request.max_tokens


def question(
    ref: ModelRef,
    tokenizer: Any,
    template: Template,
    prompts: Sequence[str],
    *,
    decoding: Decoding,
    stop: Sequence[str],
    seed: int | None,
    adapter: Adapter | None,
    contexts: Sequence[Context] | None = None,
) -> Question:
    """What `decode.generate` is asked, for vLLM. `ref`: the base model, for its configuration.

    Raises StageError for a prompt that leaves no room in the model's context.
    """
    if decoding.max_new_tokens is None:
        raise StageError("the limit of new tokens was not resolved.")
    ids = encode_prompts(template, prompts, contexts)
    config, generation = _configs(ref)
    check_room(config, ids, decoding.max_new_tokens)
    ending = Ending(tokenizer, template, ending_ids(generation, template), stop)
    sampled = decoding.strategy == "sample"
    if sampled and seed is None:
        raise StageError("sampling needs a seed.")
    request = Request(
        prompts=ids,
        temperature=decoding.temperature if sampled else 0.0,
        top_p=decoding.top_p,
        max_tokens=decoding.max_new_tokens,
        stop=list(stop),
        stop_token_ids=sorted(ending.ids),
        seeds=[_seed_of(seed, row) for row in range(len(ids))] if sampled else None,
        adapter=adapter,
    )
    return Question(request, ending)


def completions(engine: Engine, asked: Question) -> list[Completion]:
    """One completion per prompt, in their order. StageError for a response that did not end."""
    found = []
    for row, answer in enumerate(engine.answer(asked.request), start=1):
        if answer["finish"] not in _ENDED:
            raise StageError(f"vLLM gave up on prompt {row} ({answer['finish']}).")
        found.append(asked.ending.completion(asked.ending.first(answer["ids"])))
    if len(found) != len(asked.request.prompts):
        raise StageError(f"vLLM answered {len(found)} of {len(asked.request.prompts)} prompts.")
    return found


def _seed_of(seed: int | None, row: int) -> int:
    """A prompt's own seed, in [0, 2^31): what is sampled for it does not depend on the others."""
    return int.from_bytes(sha256(f"{seed}/{row}".encode()).digest()[:4]) >> 1


def _configs(ref: ModelRef) -> tuple[Any, Any]:
    """The model's config and generation config, as loading its weights would give them."""
    from transformers import AutoConfig, GenerationConfig

    where: dict[str, Any] = {"revision": hub_commit(ref)} if ref.kind == "hub" else {}
    config = AutoConfig.from_pretrained(ref.path, trust_remote_code=False, **where)
    try:
        return config, GenerationConfig.from_pretrained(ref.path, **where)
    except OSError:  # it has no such file
        return config, GenerationConfig.from_model_config(config)
