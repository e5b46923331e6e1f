"""One step of a cell's exported script (`apportion export --as script`), as a process of its own:

    python -m loops.step FOLDER sft|dpo|kto|evaluate REPORT [sft=MICRO dpo=MICRO]

TRL gets the best that was found for it here: the fused optimiser, no logging, no progress bars, no
checkpoints, log-probabilities of an explicit reference computed beforehand, micro-batches of the
sizes given. Answering does not import TRL, datasets and peft: a script of its own would not.
REPORT: JSON with the seconds until everything was imported and, of a training, its tokens.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any


class Hollow(ModuleType):
    """An empty class under whatever name it is asked for: transformers, too, imports some."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def without_trl() -> None:
    """Empty classes in place of what only a training needs."""
    for name in ("trl", "datasets", "peft"):
        module = Hollow(name)
        module.__spec__ = ModuleSpec(name, None)  # transformers asks whether it is installed
        sys.modules[name] = module


def at_its_best(train: Any, micro: Mapping[str, int], counted: dict[str, int]) -> None:
    """Make the script `train` do nothing that its result does not need; count its tokens."""
    arguments, keep = train.arguments, train.keep

    def lean(name: str, recipe: dict[str, Any]) -> dict[str, Any]:
        own = micro.get("sft" if name == "sft" else "kto" if train.KTO else "dpo")
        found = arguments(name, recipe if own is None else {**recipe, "micro_batch_size": own})
        if found["optim"] == "adamw_torch":
            found["optim"] = "adamw_torch_fused"
        return found | {"logging_strategy": "no", "disable_tqdm": True}

    def count(trainer: Any, name: str) -> Any:
        columns = ("input_ids", "chosen_ids", "rejected_ids", "completion_ids")
        data, n = trainer.train_dataset, 0
        for column in set(columns) & set(data.column_names):
            n += sum(map(len, data[column]))
            if "prompt_ids" in data.column_names:
                n += sum(map(len, data["prompt_ids"]))
        counted[name] = n * int(trainer.args.num_train_epochs)
        return keep(trainer, name)

    train.arguments, train.keep = lean, count


def take(train: Any, step: str) -> None:
    """Do `step`, reading what the steps before it left on the disk."""
    train.RUN.mkdir(exist_ok=True)
    tokenizer = train.words()
    if step == "sft":
        train.sft(tokenizer, train.SFT)
    elif step in ("dpo", "kto"):
        train.prefer(tokenizer, train.PREFERENCE)
    else:
        last = "preference" if train.PREFERENCE else "sft" if train.SFT else None
        train.evaluate(train.load(None if last is None else train.RUN / last), tokenizer)


def main(arguments: list[str]) -> None:
    folder, step, report, *sizes = arguments
    micro = {name: int(size) for name, _, size in (text.partition("=") for text in sizes)}
    sys.path.insert(0, folder)
    if step == "evaluate":
        without_trl()
    wall = time.perf_counter()
    import train  # the cell's script

    facts = {"imports_wall": time.perf_counter() - wall, "imports_cpu": time.process_time()}
    counted: dict[str, int] = {}
    at_its_best(train, micro, counted)
    take(train, step)
    Path(report).write_text(json.dumps({**facts, "tokens": sum(counted.values())}))


if __name__ == "__main__":
    main(sys.argv[1:])
