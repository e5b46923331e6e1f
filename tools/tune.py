"""Sweep the nuisance that matters most, the learning rates, on items that no study is scored on.

    python tools/tune.py sft 400            # SFT rates at 400 demonstrations
    python tools/tune.py preference 400 400 # preference rates after SFT on 400, with 400 pairs

Validation items are taken far behind the test items of any study (`VALIDATION`), and the data seed
is one that no replicate has. Prints a line per rate; what was chosen stands in docs/log.md.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

VALIDATION = slice(20_000, 20_600)
DATA_SEED = 9_001
RATES = {
    "sft": (2e-4, 5e-4, 1e-3, 2e-3, 4e-3),
    "preference": (3e-6, 1e-5, 3e-5, 1e-4, 3e-4),
}


def measure(job: tuple[str, float, int, int, str, int, dict[str, float]]) -> dict[str, Any]:
    """Train and score a cell; `job`: (what, rate, n_sft, n_pref, model, train seed, changes)."""
    import torch

    from apportion.compile.identity import identify
    from apportion.config.evaluation import Decoding
    from apportion.config.presets import RECIPES
    from apportion.config.recipe import Recipe
    from apportion.generation.decode import generate
    from apportion.models.policy import load_policy, prepare_for_training, save_trained
    from apportion.models.template import load_tokenizer, make_template
    from apportion.tasks.registry import get_task
    from apportion.training.dpo import reference_logps, train_dpo
    from apportion.training.sft import train_sft

    torch.set_num_threads(1)
    what, rate, n_sft, n_pref, name, seed, changes = job
    values = {**RECIPES["sandbox"]}
    values[what] = {**values[what], "learning_rate": rate, **changes}
    recipe = Recipe(**values)
    ref, task = identify(name).ref, get_task("math")
    tokenizer = load_tokenizer(ref)
    template = make_template(ref, tokenizer)
    kit = (tokenizer, template)
    model = prepare_for_training(load_policy(ref, [], dtype="float32"), None, seed=seed)
    if n_sft:
        data = task.pool.demonstrations(n_sft, seed=DATA_SEED)
        train_sft(model, *kit, data, recipe.sft, max_length=recipe.max_length, seed=seed)
    if n_pref:
        with tempfile.TemporaryDirectory() as folder:
            save_trained(model, Path(folder))
            model = load_policy(ref, [Path(folder)], dtype="float32")
        model = prepare_for_training(model, None, seed=seed)
        pairs = task.pool.pairs(n_pref, seed=DATA_SEED)
        length = recipe.max_length
        known = reference_logps(model, *kit, pairs, max_length=length, batch_size=16)
        train_dpo(
            model, *kit, pairs, recipe.preference, reference=known, max_length=length, seed=seed
        )
    items = task.pool.items(VALIDATION.stop)[VALIDATION]
    answers = generate(
        model,
        *kit,
        [item.prompt for item in items],
        decoding=Decoding(max_new_tokens=task.max_new_tokens),
        stop=task.stop,
        batch_size=100,
        seed=None,
    )
    scores = [task.score(item, answer.text) for item, answer in zip(items, answers, strict=True)]
    n = len(scores)
    return {
        "rate": rate,
        **changes,
        "n_sft": n_sft,
        "n_pref": n_pref,
        "seed": seed,
        "strict": sum(s.strict for s in scores) / n,
        "lenient": sum(s.lenient for s in scores) / n,
        "no_format": sum(not s.format_ok for s in scores) / n,
        "truncated": sum(a.truncated for a in answers) / n,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=sorted(RATES))
    parser.add_argument("n_sft", type=int)
    parser.add_argument("n_pref", type=int, nargs="?", default=0)
    parser.add_argument("--model", default="sandbox:small")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rates", type=float, nargs="+")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=NUMBER")
    asked = parser.parse_args()
    rates = asked.rates or RATES[asked.what]
    changes = {field: float(number) for field, number in (text.split("=") for text in asked.set)}
    jobs = [
        (asked.what, rate, asked.n_sft, asked.n_pref, asked.model, seed, changes)
        for rate in rates
        for seed in range(asked.seeds)
    ]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for found in pool.map(measure, jobs):
            print(found, flush=True)


if __name__ == "__main__":
    main()
