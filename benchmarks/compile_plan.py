"""How long a study of 10,000 cells takes to compile (wanted: below two seconds on one core)."""

from __future__ import annotations

import time

from apportion.compile import compile_study
from apportion.config.study import Study


def main() -> None:
    levels = list(range(0, 1000, 10))
    study = Study.of(
        {
            "models": "sandbox:small",
            "tasks": "math",
            "recipe": "sandbox",
            "lattice": {"n_sft": levels, "n_pref": levels},
            "replicates": 1,
        }
    )
    started = time.process_time()
    plan = compile_study(study)
    seconds = time.process_time() - started
    print(f"{len(plan.cells)} cells, {len(plan.stages)} stages: {seconds:.2f} s of processor time")


if __name__ == "__main__":
    main()
