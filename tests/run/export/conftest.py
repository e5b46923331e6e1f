"""One small study per recipe, run once: a tiny random model, the math task, one cell of both."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from apportion.compile import Plan, compile_study
from apportion.config.load import load_study
from apportion.run.export.cell import Parts, find_cell
from apportion.run.layout import Layout
from apportion.run.run import run_plan
from apportion.store.store import Store

CELL = (18, 15, 0)
STUDY = """
models: [{model}]
tasks: [math]
methods: [{method}]
lattice: {{n_sft: [0, {cell[0]}], n_pref: [0, {cell[1]}]}}
replicates: 1
recipe:
  name: tiny
  sft: {{learning_rate: 5.0e-3, epochs: 2, batch_size: 4, warmup_ratio: 0.1{sft}}}
  preference: {{learning_rate: 5.0e-3, epochs: 2, batch_size: 4, beta: 0.5{preference}}}
  max_length: 230
{more}
evaluation: {{n_items: 6, batch_size: 4, decoding: {{max_new_tokens: 8}}}}
"""
LORA = "  lora: {r: 3, alpha: 12}\n"
RECIPES = {
    "whole": {},
    "chain": {"more": LORA},
    "micro": {
        "more": LORA,
        "sft": ", micro_batch_size: 2, loss_weighting: sequence, schedule: linear",
        "preference": ", micro_batch_size: 1, schedule: constant, max_grad_norm: 0.05",
    },
    "merge16": {"more": LORA + "  stage_two: merge_16bit\n"},
    "kto": {
        "method": "kto",
        "more": LORA + "  kto: {beta: 0.3, desirable_weight: 1.4, group_size: 2}\n",
    },
}


@dataclass(frozen=True)
class Ran:
    """A study that was run: `parts` is the cell with both stages."""

    folder: Path
    plan: Plan
    parts: Parts

    @property
    def study(self) -> Path:
        return self.folder / "study.yaml"

    @property
    def store(self) -> Path:
        return self.folder / "study.store"

    def opened(self) -> Store:
        return Store.open(self.store, read_only=True)


@pytest.fixture(scope="session")
def ran(tmp_path_factory, tiny_model_dir):
    """A function from the name of a recipe to its study, run on first use."""
    made: dict[str, Ran] = {}

    def of(name: str) -> Ran:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            model = shutil.copytree(tiny_model_dir, folder / "model")
            values = {"method": "dpo", "sft": "", "preference": "", "more": "", **RECIPES[name]}
            text = STUDY.format(model=model, cell=CELL, **values)
            (folder / "study.yaml").write_text(text, encoding="utf-8")
            plan = compile_study(load_study(folder / "study.yaml"))
            parts = find_cell(plan, CELL)
            assert run_plan(plan, folder / "study.store", layout=Layout(0, 1)).failed == ()
            made[name] = Ran(folder, plan, parts)
        return made[name]

    return of
