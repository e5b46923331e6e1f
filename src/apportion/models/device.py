"""Where a model computes."""

from __future__ import annotations

import os

import torch
from torch import nn


def own_device() -> str:
    """The GPU of this process, or ``cpu``."""
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{os.environ['LOCAL_RANK']}" if "LOCAL_RANK" in os.environ else "cuda"


def on_own_device(model: nn.Module) -> nn.Module:
    """The model on `own_device`; one in 4 bits is there since it was loaded."""
    return model if getattr(model, "is_loaded_in_4bit", False) else model.to(own_device())
