"""A cell's weights as files that load the ordinary way, with the outputs that the cell had.

| symbol | meaning | shape |
|---|---|---|
| W | a layer's weight in the base | (out, in) |
| A_i, B_i | adapter i of the chain | (r_i, in), (out, r_i) |
| s_i | its scale, alpha_i / r_i | |

The policy's layer is W + sum over i of s_i B_i A_i. One adapter holds that sum exactly: A is the
A_i above each other, B the s_i B_i beside each other, its rank the sum of the r_i, its scale 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from apportion.errors import StoreError, StudyError
from apportion.run.export.cell import Parts
from apportion.run.export.folder import fresh
from apportion.store.store import Store

if TYPE_CHECKING:
    import torch

    from apportion.models.resolve import ModelRef

Form = Literal["adapter", "merged", "peft-chain"]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PLAIN = {"use_rslora": False, "use_dora": False, "fan_in_fan_out": False, "bias": "none"}


def export_weights(parts: Parts, store: Store, out: Path, form: Form) -> Path:
    """Write the cell's policy to `out` as one adapter, a whole model, or its adapters one by one.

    Raises StudyError where the cell has nothing of that form, StoreError where it was not trained.
    """
    if not parts.training:
        raise StudyError(
            "this cell is the untuned base model: it has no weights of its own.",
            field="--cell",
            mend="name a cell with demonstrations or preference units.",
        )
    chain = _artifacts(parts, store)
    if form == "merged":
        return _merged(parts, chain, out)
    _check_adapters(parts, form)
    ref = _model(parts)
    with fresh(out) as folder:
        if form == "adapter":
            one_adapter(chain, ref, folder)
        else:
            for stage, artifact in zip(parts.training, chain, strict=True):
                (folder / stage.kind).mkdir()
                one_adapter([artifact], ref, folder / stage.kind)
        (folder / "README.md").write_text(_readme(parts, ref, form), encoding="utf-8")
    return out


def _artifacts(parts: Parts, store: Store) -> list[Path]:
    found = []
    for stage in parts.training:
        folder = store.artifact(stage.key)
        if folder is None:
            raise StoreError(
                f"{stage.label} is not in the store.", file=store.path, mend="run the study first."
            )
        found.append(folder)
    return found


def _model(parts: Parts) -> ModelRef:
    from apportion.models.resolve import resolve_model

    return resolve_model(parts.spec["model"]["name"])


def _check_adapters(parts: Parts, form: Form) -> None:
    if parts.lora is None:
        problem = "this cell trained all weights: it has no adapter."
    elif parts.merges_16bit:
        problem = "this cell merged its SFT adapter into rounded weights: no adapter over the base "
        problem += "gives its outputs."
    else:
        return
    raise StudyError(problem, field="--as", mend=f"write --as merged in place of --as {form}.")


# -- a whole model ------------------------------------------------------------------------------


def _merged(parts: Parts, chain: Sequence[Path], out: Path) -> Path:
    from apportion.models.template import load_tokenizer

    ref = _model(parts)
    with fresh(out) as folder:
        whole_model(chain, ref, folder, merge_16bit=int(parts.merges_16bit))
        load_tokenizer(ref).save_pretrained(folder)
        (folder / "README.md").write_text(_readme(parts, ref, "merged"), encoding="utf-8")
    return out


def whole_model(
    chain: Sequence[Path], ref: ModelRef, folder: Path, *, merge_16bit: int = 0
) -> None:
    """Write the model that `chain` leads to into `folder`, all in float32: base, adapters, sum.

    `merge_16bit`: as `load_policy` has it.
    """
    import torch

    from apportion.models.policy import adapters_of, load_policy

    policy: Any = load_policy(ref, chain, dtype="float32", merge_16bit=merge_16bit)
    names = adapters_of(policy)
    if names:
        policy = policy.merge_and_unload(adapter_names=list(names))
    policy.config.dtype = torch.float32
    policy.save_pretrained(folder)


# -- one adapter --------------------------------------------------------------------------------


def one_adapter(chain: Sequence[Path], ref: ModelRef, folder: Path) -> None:
    """Write the sum of the chain's adapters as one into `folder`, which is there."""
    from safetensors.torch import load_file, save_file

    configs = [json.loads((one / CONFIG).read_text(encoding="utf-8")) for one in chain]
    config = {
        **configs[0],
        "base_model_name_or_path": ref.path,
        "revision": ref.revision,
        "inference_mode": True,
    }
    weights = load_file(chain[0] / WEIGHTS)
    if len(chain) > 1:
        weights = concatenated([load_file(one / WEIGHTS) for one in chain], configs)
        rank = sum(int(one["r"]) for one in configs)
        config |= {"r": rank, "lora_alpha": rank, "lora_dropout": 0.0}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def concatenated(
    weights: Sequence[Mapping[str, torch.Tensor]], configs: Sequence[Mapping[str, Any]]
) -> dict[str, torch.Tensor]:
    """One adapter's weights, of rank sum(r) and scale 1, with the sum of all adapters' effects.

    Raises StudyError for adapters that are more than a scaled product B A, or sit elsewhere.
    """
    import torch

    odd = any(
        config.get(name, value) != value for config in configs for name, value in _PLAIN.items()
    )
    ranked = any(
        config.get(name) for config in configs for name in ("rank_pattern", "alpha_pattern")
    )
    if odd or ranked or any(set(one) != set(weights[0]) for one in weights):
        raise StudyError(
            "these adapters cannot be put beside each other.",
            field="--as",
            mend="write --as merged or --as peft-chain.",
        )
    scales = [float(config["lora_alpha"]) / int(config["r"]) for config in configs]
    whole = {}
    for name in weights[0]:
        if name.endswith("lora_A.weight"):
            whole[name] = torch.cat([one[name] for one in weights], dim=0).contiguous()
        else:
            parts = [scale * one[name] for scale, one in zip(scales, weights, strict=True)]
            whole[name] = torch.cat(parts, dim=1).contiguous()
    return whole


# -- how to load it -----------------------------------------------------------------------------

_LOAD: Mapping[Form, str] = {
    "merged": """\
model = AutoModelForCausalLM.from_pretrained("DIR", dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained("DIR")
""",
    "adapter": """\
base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.DTYPE)
model = PeftModel.from_pretrained(base, "DIR")
""",
    "peft-chain": """\
base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.DTYPE)
""",
}


def _readme(parts: Parts, ref: ModelRef, form: Form) -> str:
    """How to load it, with `DIR` for the folder."""
    code = _LOAD[form]
    if form == "peft-chain":
        kinds = [stage.kind for stage in parts.training]
        code += f'model = PeftModel.from_pretrained(base, "DIR/{kinds[0]}", "{kinds[0]}")\n'
        for kind in kinds[1:]:
            code += f'model.load_adapter("DIR/{kind}", "{kind}")\n'
        code += f"model.base_model.set_adapter({kinds!r}, inference_mode=True)\n"
    base = repr(ref.path)
    if ref.revision:
        base += f", revision={ref.revision!r}"
    code = code.replace("BASE", base).replace("DTYPE", parts.spec["dtype"])
    code = "import torch\n" + _IMPORTS[form] + "\n" + code
    note = " " + _exactness(parts, form)
    if parts.quantization != "none":
        note = f" The study kept the base in {parts.quantization}: load it so for its outputs."
    return f"# {parts.name}\n\n```python\n{code}```\n\nThe base model: {ref.name}.{note}\n"


def _exactness(parts: Parts, form: Form) -> str:
    """What is the same to the last bit, and what is not, and why."""
    if form == "merged":
        if parts.lora is None:
            return "These are the weights that the study trained, in float32."
        return (
            "The adapters were added to the weights in float32: outputs are those of the study but "
            "for rounding."
        )
    if form == "adapter" and len(parts.training) > 1:
        return (
            "It is the sum of two adapters, which the study adds one after the other: outputs are "
            "the same but for rounding. `--as peft-chain` gives the same bits."
        )
    return (
        "Loaded so, outputs are the study's to the last bit (on the same device and versions, "
        "for the same batches)."
    )


_IMPORTS: Mapping[Form, str] = {
    "merged": "from transformers import AutoModelForCausalLM, AutoTokenizer\n",
    "adapter": "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n",
    "peft-chain": "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n",
}
