"""Recipes and decodings by name, as plain values: they may be merged with a user's own.

This is the one place where the package's learning rates are written down.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

_SANDBOX: dict[str, Any] = {
    # Tuned on validation items of the four embedded tasks, around 400 demonstrations and 400 pairs
    # (figures in docs/protocol.md), for the embedded models only: they are so small that all
    # weights are trained, in 32 bits, at rates a large model would not survive.
    "sft": {"learning_rate": 5e-4, "epochs": 2, "batch_size": 8},
    "preference": {"learning_rate": 1e-4, "epochs": 1, "batch_size": 16, "beta": 1.0},
    "lora": None,
    "max_length": 256,
    "dtype": "float32",
    "stage_two": "chain",
}

_DEFAULT: dict[str, Any] = {
    # For pretrained models of about 100 million to 10 billion parameters. LoRA stands ten times
    # the rate of full tuning; preference tuning wants about a tenth of the rate of SFT.
    "sft": {"learning_rate": 1e-4, "epochs": 2, "batch_size": 16},
    "preference": {"learning_rate": 1e-5, "epochs": 2, "batch_size": 16, "beta": 0.1},
    "lora": {"r": 32, "alpha": 32, "dropout": 0.0, "target_modules": "all-linear"},
    "max_length": 1024,
    "dtype": "bfloat16",
    "stage_two": "chain",
}

_PAPER_STAGE: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 16,
    "micro_batch_size": 1,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_ratio": 0.1,
    "optimizer": "adamw_8bit",
}

_PAPER: dict[str, Any] = {
    # Facts from the released code of Raghavendra, Kang and Ritter (ACL 2025).
    "sft": {**_PAPER_STAGE, "learning_rate": 5e-5, "loss_weighting": "sequence"},
    "preference": {**_PAPER_STAGE, "learning_rate": 5e-6, "beta": 1.0},
    "lora": {"r": 32, "alpha": 32, "dropout": 0.0, "target_modules": "all-linear"},
    "max_length": 1024,
    "dtype": "bfloat16",
    "stage_two": "merge_16bit",
}

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "sandbox": _SANDBOX,
    "default": _DEFAULT,
    "paper": _PAPER,
    # The authors' later choice.
    "paper-beta0.1": {**_PAPER, "preference": {**_PAPER["preference"], "beta": 0.1}},
}

DECODINGS: Mapping[str, Mapping[str, Any]] = {
    "greedy": {"strategy": "greedy"},
    "paper": {"strategy": "sample", "temperature": 0.5, "top_p": 0.9},
}


def merged(preset: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values of recipe `preset` with `changes` laid over it, mapping by mapping.

    `lora: null` takes the adapter away. Raises KeyError where there is no such preset.
    """
    values = deepcopy(dict(RECIPES[preset]))
    values["name"] = preset if not changes else f"{preset}, changed"
    for key, change in changes.items():
        old = values.get(key)
        if isinstance(change, Mapping) and isinstance(old, Mapping):
            values[key] = {**old, **change}
        else:
            values[key] = change
    return values
