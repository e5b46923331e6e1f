"""Whether this machine has a GPU; light, since a study's check asks."""

from __future__ import annotations

from pathlib import Path


def cuda_is_available() -> bool:
    """Whether torch can use a CUDA GPU; torch is imported only where there may be one."""
    if not Path("/proc/driver/nvidia/gpus").is_dir():
        return False
    import torch

    return torch.cuda.is_available()
