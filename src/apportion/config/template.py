"""The commented study file that `apportion init` writes."""

from __future__ import annotations

import json
import re

_PLAIN = re.compile(r"[A-Za-z][\w./:@-]*")

_TEMPLATE = """\
# A study of apportion: how should a data budget be split between demonstrations (SFT)
# and preference data?  Check it with `apportion check`, run it with `apportion run`.

models: [{model}]           # hub ids (org/name or org/name@revision), local paths, sandbox:small
tasks: [{task}]
methods: [dpo]

# What to measure: totals, and for each the part of it that buys demonstrations.
budget:
  unit: examples            # or usd: then the prices below say how many examples a total buys
  levels: {levels}
shares: [0, 0.1, 0.25, 0.5, 0.75, 1]
# Or, in place of budget and shares, every combination of two lists:
# lattice: {{n_sft: [0, 100, 400], n_pref: [0, 100, 400]}}

replicates: 2               # draws of data, training and sampling seeds; more tell noise apart
# seeds: {{data: 0, train: vary, sample: vary}}   # a number holds that source of noise fixed

# Money per demonstration and per preference unit; a range such as 0.40..0.90 where unsure
# (unit: usd needs definite prices). With gpu_hour: 2.00 beside them training is paid too.
prices: {{sft: 1, preference: 1}}

# A preset by name (sandbox, default, paper, paper-beta0.1), or changes to one:
# recipe: {{preset: default, sft: {{learning_rate: 3e-4}}, preference: {{beta: 0.05}}}}
recipe: {recipe}

evaluation:
  n_items: 300              # test items, the same for every cell
  decoding: greedy          # or paper (sampled at temperature 0.5, top-p 0.9)
"""


def study_template(task: str, model: str) -> str:
    """A study file for `task` and `model` as commented YAML; it loads as it is."""
    embedded = model.startswith("sandbox:")
    return _TEMPLATE.format(
        model=_scalar(model),
        task=_scalar(task),
        recipe="sandbox" if embedded else "default",
        levels="[250, 1000]" if embedded else "[500, 2000]",
    )


def _scalar(text: str) -> str:
    """`text` as YAML, in quotes (JSON's are YAML's) unless it is plainly a name."""
    plain = _PLAIN.fullmatch(text) and not text.endswith(":")
    return text if plain and text.lower() not in ("null", "true", "false") else json.dumps(text)
