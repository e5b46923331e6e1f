"""A training as a folder: what to do goes in, what was trained comes out.

| name | content |
|---|---|
| `job.json` | a `Job` |
| `columns.json` | the tokenised examples |
| `data/`, `checkpoints/` | TRL's: see `train` |
| `progress.json` | steps done and in all, while it runs |
| `out/` | the weights, `steps.jsonl` and `reference.jsonl`, once it is finished |

The same folder is run in this process or by `accelerate launch`, and again after a crash.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import nn

from apportion.config.recipe import KtoRecipe, LoraRecipe, PreferenceRecipe, SftRecipe
from apportion.models.device import on_own_device
from apportion.models.policy import load_policy, prepare_for_training, save_trained
from apportion.models.resolve import resolve_model
from apportion.models.template import load_tokenizer
from apportion.training.steps import OnStep
from apportion.training.trl.columns import Columns
from apportion.training.trl.settings import Settings

OUT = "out"
PROGRESS = "progress.json"


@dataclass(frozen=True)
class Job:
    """The model to start from, what becomes trainable, and the settings."""

    settings: Settings
    model: str
    chain: tuple[str, ...]  # folders of the artifacts that lead to the start model
    lora: LoraRecipe | None
    merge_16bit: int = 0
    quantization: str = "none"
    dropped: int = 0  # examples that did not fit

    def write(self, folder: Path, columns: Columns) -> None:
        """Put the job into `folder`, which may hold its unfinished checkpoints."""
        folder.mkdir(parents=True, exist_ok=True)
        settings = {field.name: getattr(self.settings, field.name) for field in fields(Settings)}
        for name in ("recipe", "kto"):
            settings[name] = settings[name] and settings[name].model_dump(mode="json")
        content = {field.name: getattr(self, field.name) for field in fields(Job)}
        content |= {"settings": settings, "lora": self.lora and self.lora.model_dump(mode="json")}
        _replace(folder / "columns.json", json.dumps(columns))
        _replace(folder / "job.json", json.dumps(content, sort_keys=True))

    @classmethod
    def read(cls, folder: Path) -> Job:
        """The job in `folder`."""
        content = json.loads((folder / "job.json").read_text())
        settings = content["settings"]
        kind = SftRecipe if settings["method"] == "sft" else PreferenceRecipe
        settings["recipe"] = kind.model_validate(settings["recipe"])
        settings["kto"] = settings["kto"] and KtoRecipe.model_validate(settings["kto"])
        settings["trackers"] = tuple(settings["trackers"])
        lora = content["lora"] and LoraRecipe.model_validate(content["lora"])
        chain = tuple(content["chain"])
        return cls(**{**content, "settings": Settings(**settings), "lora": lora, "chain": chain})

    def start(self) -> nn.Module:
        """The model to start from, on its device."""
        return on_own_device(
            load_policy(
                resolve_model(self.model),
                [Path(folder) for folder in self.chain],
                dtype=self.settings.dtype,
                merge_16bit=self.merge_16bit,
                quantization=self.quantization,
            )
        )


def run_job(folder: Path, on_step: OnStep | None = None) -> Path:
    """Do the job in `folder` unless it is done; the folder with what was trained."""
    out = folder / OUT
    if out.exists():
        return out
    from apportion.training.trl.train import train

    job = Job.read(folder)
    model = prepare_for_training(job.start(), job.lora, seed=job.settings.seed)
    trained = train(
        model,
        load_tokenizer(resolve_model(job.model)),
        json.loads((folder / "columns.json").read_text()),
        job.settings,
        folder,
        reference=None if job.settings.method == "sft" else job.start,
        dropped=job.dropped,
        on_step=on_step,
    )
    if int(os.environ.get("RANK", "0")) == 0:
        building = folder / f"{OUT}.new"
        shutil.rmtree(building, ignore_errors=True)
        save_trained(model, building)
        _lines(building / "steps.jsonl", (asdict(log) for log in trained.logs))
        if trained.reference:
            rows = zip(*trained.reference.values(), strict=True)
            names = [_REFERENCE_NAMES[name] for name in trained.reference]
            named = (dict(zip(names, map(float, row), strict=True)) for row in rows)
            _lines(building / "reference.jsonl", named)
        os.replace(building, out)
    return out


_REFERENCE_NAMES = {
    "ref_chosen_logps": "chosen",
    "ref_rejected_logps": "rejected",
    "ref_logps": "matched",
    "ref_KL_logps": "mismatched",
}


def _lines(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    os.replace(new, path)
