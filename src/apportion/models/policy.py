"""Weights: a base model, the artifacts trained on it, and what is trainable next.

An artifact is a directory with either a whole model (``config.json``, ``model.safetensors``) or one
adapter in PEFT's file format. A policy is a base and a chain of artifacts: a whole model replaces
what is before it, an adapter is added to it. Every adapter of the chain contributes to the forward
pass; at most the newest is trainable.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from apportion.config.recipe import LoraRecipe
from apportion.errors import ModelError, StageError, StudyError
from apportion.models.resolve import ModelRef, hub_commit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_ADAPTER_CONFIG = "adapter_config.json"


def load_base(ref: ModelRef, *, dtype: str, quantization: str = "none") -> PreTrainedModel:
    """The untuned model in evaluation mode. `dtype`: ``float32`` or ``bfloat16``.

    `quantization`: ``4bit`` for 4-bit NormalFloat weights, computed with in `dtype`; StudyError
    without bitsandbytes or a CUDA GPU. Such a model is put on its device here, and stays there.

    Only safetensors are read, and no code that comes with a model is run: ModelError where that
    is not enough.
    """
    revision = hub_commit(ref) if ref.kind == "hub" else None
    more = _in_4bit(dtype) if quantization == "4bit" else {}
    return _pretrained(ref.path, ref.name, dtype, revision, **more)


def _in_4bit(dtype: str) -> dict[str, Any]:
    """What `from_pretrained` is told for QLoRA."""
    where = "recipe.quantization"
    mend = "use a machine with a CUDA GPU and `pip install 'apportion[qlora]'`, or write none."
    if find_spec("bitsandbytes") is None:
        raise StudyError(
            "quantization: 4bit needs bitsandbytes, which is not installed.", field=where, mend=mend
        )
    if not torch.cuda.is_available():
        # On a CPU bitsandbytes repacks weights once they were used without gradients, and then
        # computes other numbers, and no gradients, without an error.
        raise StudyError("quantization: 4bit needs a CUDA GPU.", field=where, mend=mend)
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=_DTYPES[dtype],
    )
    here = int(os.environ.get("LOCAL_RANK", "0"))
    return {"quantization_config": config, "device_map": {"": here}}


def _pretrained(
    path: str, name: str, dtype: str, revision: str | None, **more: Any
) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    where = more if revision is None else {"revision": revision, **more}
    try:
        with side_effects_undone():
            model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                path, dtype=_DTYPES[dtype], use_safetensors=True, trust_remote_code=False, **where
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelError(
            f"model {name!r} cannot be loaded: {error}",
            field="models",
            mend="it must be a causal language model with safetensors weights and no code of "
            "its own.",
        ) from error
    model.eval()  # type: ignore[no-untyped-call]
    return model


def load_policy(
    ref: ModelRef,
    chain: Sequence[Path],
    *,
    dtype: str,
    merge_16bit: int = 0,
    quantization: str = "none",
) -> nn.Module:
    """The model that `chain` leads to, in evaluation mode, all adapters active and frozen.

    `merge_16bit`: how many adapters, counted from the first, are merged into the base in bfloat16
    instead of staying beside it: summed in float32, then all weights rounded (the `paper` preset
    merges the SFT adapter, for the preference stage and for what is generated after it).
    """
    whole = [i for i, folder in enumerate(chain) if not _is_adapter(folder)]
    adapters = list(chain[whole[-1] + 1 :]) if whole else list(chain)
    merged, beside = adapters[:merge_16bit], adapters[merge_16bit:]
    start_dtype = "float32" if merged else dtype
    if whole:
        model = _pretrained(str(chain[whole[-1]]), ref.name, start_dtype, None)
    else:
        model = load_base(ref, dtype=start_dtype, quantization=quantization)
    with side_effects_undone():
        policy = _with_adapters(_with_merged(model, merged, dtype), beside)
    return policy.requires_grad_(False).eval()


def _with_merged(model: nn.Module, folders: Sequence[Path], dtype: str) -> nn.Module:
    from peft import PeftModel

    merged: Any = model
    for folder in folders:
        merged = PeftModel.from_pretrained(merged, folder).merge_and_unload()
        _round_to_16bit(merged)
    if folders:
        merged.config.dtype = _DTYPES[dtype]
        for parameter in merged.parameters():
            parameter.data = parameter.data.to(_DTYPES[dtype])
    return merged  # type: ignore[no-any-return]


def _with_adapters(model: nn.Module, folders: Sequence[Path]) -> nn.Module:
    adapted: Any = model
    for index, folder in enumerate(folders):
        adapted = with_adapter(adapted, folder, _adapter_name(index))
    if folders:
        adapted.base_model.set_adapter(list(adapted.peft_config), inference_mode=True)
    return adapted  # type: ignore[no-any-return]


def with_adapter(model: nn.Module, folder: Path, name: str) -> nn.Module:
    """`model` with the adapter in `folder` under `name`; it need not be active yet."""
    from peft import PeftModel

    if not adapters_of(model):
        return PeftModel.from_pretrained(model, folder, adapter_name=name)
    adapted: Any = model
    adapted.load_adapter(folder, name)
    return model


@contextmanager
def side_effects_undone(seed: int | None = None) -> Iterator[None]:
    """Within: PEFT and transformers draw random numbers (under `seed`), and show no progress bars.

    Afterwards the caller's random state and settings are as they were.
    """
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    with torch.random.fork_rng(), warnings.catch_warnings():
        # PEFT warns that there already is an adapter: here that is meant.
        warnings.filterwarnings("ignore", message=".*multiple adapters.*")
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            if seed is not None:
                torch.manual_seed(seed)
            yield
        finally:
            if bars:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _round_to_16bit(model: nn.Module) -> None:
    """Round the weights to bfloat16 in place. Buffers stay: RoPE's frequencies need 32 bits."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).to(parameter.dtype)


def _is_adapter(folder: Path) -> bool:
    if (folder / _ADAPTER_CONFIG).is_file():
        return True
    if (folder / "config.json").is_file():
        return False
    raise StageError(
        "the artifact of an earlier stage holds neither a model nor an adapter.", file=folder
    )


def _adapter_name(index: int) -> str:
    return f"stage{index + 1}"


def adapters_of(model: nn.Module) -> tuple[str, ...]:
    """The names of a policy's adapters, oldest first; () where whole weights are used."""
    return tuple(getattr(model, "peft_config", ()) or ())


def causal_lm(model: nn.Module) -> Any:
    """The transformers model inside a policy; its layers hold the active adapters."""
    return model.get_base_model() if adapters_of(model) else model  # type: ignore[operator]


def prepare_for_training(model: nn.Module, lora: LoraRecipe | None, *, seed: int) -> nn.Module:
    """`model` with a new trainable adapter over frozen rest, or with all weights trainable.

    The new adapter starts without effect (B is zero) and is drawn under `seed`; the caller's random
    state is left as it was. Weights trained whole in bfloat16 are kept in float32, and the forward
    pass rounds them (autocast): 16-bit sums would swallow small steps.
    """
    if lora is None:
        if adapters_of(model):
            raise StageError("a recipe without LoRA cannot go on from an adapter.")
        return model.to(torch.float32).requires_grad_(True)
    older = adapters_of(model)
    newest = _adapter_name(len(older))
    with side_effects_undone(seed):
        adapted: Any = with_new_adapter(model, lora, newest)
        adapted.base_model.set_adapter([*older, newest])
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_("lora_" in name and f".{newest}." in name)
    return adapted.eval()  # type: ignore[no-any-return]


def with_new_adapter(model: nn.Module, lora: LoraRecipe, name: str) -> nn.Module:
    """`model` with a new adapter under `name`; it need not be active yet. ModelError where it does
    not fit."""
    from peft import LoraConfig, get_peft_model

    targets = lora.target_modules
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # a float is as good
        lora_dropout=lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    adapted: Any = model
    try:
        if adapters_of(model):
            adapted.add_adapter(name, config)
        else:
            adapted = get_peft_model(adapted, config, adapter_name=name)
    except ValueError as error:
        raise ModelError(
            f"the adapter does not fit the model: {error}",
            field="recipe.lora.target_modules",
            mend="name layers that the model has, or use `all-linear`.",
        ) from error
    return adapted  # type: ignore[no-any-return]


def save_trained(model: nn.Module, out_dir: Path) -> None:
    """Write what was trained into `out_dir`: the whole model, or the newest adapter alone.

    Both load the ordinary way: `from_pretrained`, and `PeftModel.from_pretrained` over the model
    that the adapter was trained on (the base with the earlier adapters).
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    names = adapters_of(model)
    whole: Any = model
    if not names:
        with side_effects_undone():
            whole.save_pretrained(out_dir)
        return
    save_adapter(model, names[-1], out_dir)


def save_adapter(model: nn.Module, name: str, out_dir: Path) -> None:
    """Write the adapter `name` into `out_dir`, which is there."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    whole: Any = model
    weights = get_peft_model_state_dict(whole, adapter_name=name, save_embedding_layers=False)
    save_file(
        {name: tensor.detach().contiguous().cpu() for name, tensor in weights.items()},
        out_dir / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    config = whole.peft_config[name]
    was = config.inference_mode
    config.inference_mode = True
    config.save_pretrained(out_dir)
    config.inference_mode = was
