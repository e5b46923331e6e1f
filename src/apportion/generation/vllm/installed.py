"""Whether vLLM can be used, and for what; light, since a study's check asks."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from apportion.errors import ModelError, StudyError
from apportion.models.gpu import cuda_is_available
from apportion.models.resolve import ModelRef, tokenizer_folder

VERSION = 1  # what generating through this engine means; part of the keys of what it generated
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # the room for adapters that vLLM offers
LOWEST_TEMPERATURE = 0.01  # below, vLLM samples at this
MOST_AT_ONCE = 1024  # requests in a step, within the tokens a step has at the least
SMALLEST_HEAD = 32  # of attention: its kernels have no smaller ones
_OLDEST = (0, 19)  # the first that goes with transformers 5 (0.19.1)
_FIELD = "evaluation.engine"
_ELSE = "write engine: transformers"


class NotServable(ModelError):
    """A model that vLLM cannot serve."""


def vllm_version() -> str | None:
    """The version of the vLLM that can be imported; None where there is none."""
    try:
        return version("vllm") if find_spec("vllm") is not None else None
    except PackageNotFoundError:
        return None


def require_vllm() -> None:
    """StudyError where vLLM is missing or too old."""
    found = vllm_version()
    numbers = tuple(int(part) for part in (found or "").split(".")[:2] if part.isdigit())
    if numbers < _OLDEST:
        state = "which is not installed" if found is None else f"and {found} is installed"
        raise StudyError(
            f"`engine: vllm` needs vLLM 0.19.1 or newer, {state}.",
            field=_FIELD,
            mend=f"run `pip install 'apportion[vllm]'`, or {_ELSE}.",
        )


def require_gpu() -> None:
    """StudyError where there is no GPU for vLLM."""
    if not cuda_is_available():
        raise StudyError(
            "`engine: vllm` needs a CUDA GPU, and there is none here.",
            field=_FIELD,
            mend=f"run the study on a machine with one, or {_ELSE}.",
        )


def require_servable(ref: ModelRef) -> None:
    """NotServable for a model of which its config alone says that vLLM cannot serve it.

    Architectures are not looked up: vLLM also serves ones that its list does not name, and says so
    itself when the first engine loads the model.
    """
    size = _head_size(ref)
    if size is not None and size < SMALLEST_HEAD:
        raise NotServable(
            f"vLLM cannot serve {ref.name!r}: its attention heads have {size} dimensions, and "
            f"vLLM's kernels begin at {SMALLEST_HEAD}.",
            field="models",
            mend=f"{_ELSE}, or name another model.",
        )


def _head_size(ref: ModelRef) -> int | None:
    """Dimensions of an attention head; None where the config does not say."""
    file = tokenizer_folder(ref) / "config.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    text = content.get("text_config", content)
    own, hidden, heads = (
        text.get(name) for name in ("head_dim", "hidden_size", "num_attention_heads")
    )
    if isinstance(own, int):
        return own
    return hidden // heads if isinstance(hidden, int) and isinstance(heads, int) else None
