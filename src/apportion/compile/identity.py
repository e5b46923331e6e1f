"""What a model contributes to a key: its weights, tokenizer and template by their digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apportion.models.resolve import ModelRef, resolve_model, tokenizer_digest, weights_digest
from apportion.models.template import template_name_digest


@dataclass(frozen=True)
class Identity:
    """A resolved model, and the `model` and `template` parts of a spec."""

    ref: ModelRef
    spec: Mapping[str, Any]
    template: Mapping[str, Any]


def identify(name: str) -> Identity:
    """The identity of the model called `name`; ModelError where there is none."""
    ref = resolve_model(name)
    template, digest = template_name_digest(ref)
    return Identity(
        ref=ref,
        spec={
            "name": ref.name,
            "weights_digest": weights_digest(ref),
            "tokenizer_digest": tokenizer_digest(ref),
        },
        template={"name": template, "digest": digest},
    )
