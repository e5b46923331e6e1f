"""Which engine generates a study's responses, what that adds to their specs, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apportion.config.recipe import Recipe
from apportion.config.study import Study
from apportion.errors import StudyError, UserError
from apportion.generation.vllm.installed import (
    LOWEST_TEMPERATURE,
    MOST_AT_ONCE,
    RANKS,
    VERSION,
    NotServable,
    require_gpu,
    require_servable,
    require_vllm,
)
from apportion.models.resolve import resolve_model

_ELSE = "or write engine: transformers"


def engine_spec(study: Study) -> dict[str, Any]:
    """Fields for the specs of generate stages. Those of transformers are what they always were.

    `max_lora_rank`: the room for adapters that vLLM is loaded with, the base model's stage too, so
    that what a stage gives does not depend on which stages share its engine; None: each trained
    model is loaded whole.
    """
    engine = study.evaluation.engine
    if engine == "transformers":
        return {"engine": engine}
    rank = _rank(study.recipe)
    room = next((room for room in RANKS if rank is not None and room >= rank), None)
    return {"engine": engine, "vllm": {"semantics_version": VERSION, "max_lora_rank": room}}


def _rank(recipe: Recipe) -> int | None:
    """The rank of the largest adapter that is served as one; None where none is.

    vLLM computes adapters in 16 bits alone, so in float32 they are merged. A chain of two is
    served as the one that is their sum.
    """
    if recipe.lora is None or recipe.dtype == "float32":
        return None
    return recipe.lora.r * (2 if recipe.stage_two == "chain" else 1)


def engine_problems(study: Study) -> Iterator[UserError]:
    """What the study asks of its engine that the engine cannot do, on any machine."""
    evaluation, recipe = study.evaluation, study.recipe
    if evaluation.engine == "transformers":
        return
    if recipe.quantization != "none":
        yield StudyError(
            "vLLM does not serve the 4-bit base that the adapters are trained on.",
            field="recipe.quantization",
            mend=f"write quantization: none, {_ELSE}.",
        )
    decoding = evaluation.decoding
    if decoding.strategy == "sample" and decoding.temperature < LOWEST_TEMPERATURE:
        yield StudyError(
            f"vLLM does not sample at temperatures below {LOWEST_TEMPERATURE:g}.",
            field="evaluation.decoding.temperature",
            mend="write a higher one, or strategy: greedy.",
        )
    if evaluation.batch_size > MOST_AT_ONCE:
        yield StudyError(
            f"vLLM decodes at most {MOST_AT_ONCE} prompts at once.",
            field="evaluation.batch_size",
            mend=f"write a number up to {MOST_AT_ONCE}.",
        )
    rank = _rank(recipe)
    if rank is not None and rank > RANKS[-1]:
        chain = " (both stages' adapters together)" if recipe.stage_two == "chain" else ""
        yield StudyError(
            f"vLLM serves adapters up to rank {RANKS[-1]}; the recipe's have {rank}{chain}.",
            field="recipe.lora.r",
            mend=f"write a smaller rank, {_ELSE}.",
        )
    for place, name in enumerate(study.models):
        try:
            require_servable(resolve_model(name))
        except NotServable as error:
            error.field = f"models[{place}]"
            yield error
        except UserError:  # a model that there is not is somebody else's to tell
            continue


def engine_missing(study: Study) -> list[UserError]:
    """What this machine lacks to generate with the study's engine. Reading results needs none."""
    if study.evaluation.engine == "transformers":
        return []
    found: list[UserError] = []
    for look in (require_vllm, require_gpu):
        try:
            look()
        except UserError as error:
            found.append(error)
    return found
