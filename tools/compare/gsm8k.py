"""Compare GSM8K's two scores with lm-eval's own filters and metric, response by response.

    PYTHONPATH=<a folder with lm_eval's source> python tools/compare/gsm8k.py [TEST.jsonl]

Only the pure modules of lm-eval are loaded (its filters and `exact_match`), from its source, so
that its other requirements need not be installed. Prints counts; exits 1 at the first difference.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from apportion.data.records import Item
from apportion.tasks.registry import get_task
from metrics.odd_responses import responses


def harness() -> tuple[Any, dict[str, Any], Any]:
    """lm-eval's RegexFilter, its gsm8k configuration and its exact_match function."""
    found = find_spec("lm_eval")
    if found is None or found.origin is None:
        sys.exit("lm_eval is not on the path")
    root = Path(found.origin).parent
    config = yaml.safe_load((root / "tasks/gsm8k/gsm8k.yaml").read_text("utf-8"))
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from lm_eval.filters.extraction import RegexFilter

    return RegexFilter, config, exact_match_hf_evaluate


def main() -> None:
    regex_filter, config, exact_match = harness()
    filters = {
        entry["name"]: regex_filter(
            **{k: v for k, v in entry["filter"][0].items() if k != "function"}
        )
        for entry in config["filter_list"]
    }
    (metric,) = config["metric_list"]
    names = ("ignore_case", "ignore_punctuation", "regexes_to_ignore")
    options = {name: metric[name] for name in names}
    task = get_task("gsm8k")
    references = ["#### 72", "48/2 = <<48/2=24>>24\n#### 1,234", "#### -5", "#### 18.50"]
    if len(sys.argv) > 1:
        rows = Path(sys.argv[1]).read_text("utf-8").splitlines()
        references = [json.loads(row)["answer"] for row in rows]
    compared = right = 0
    for response, reference in responses(references):
        ours = task.score(Item("x", "", reference), response)
        for name, score in (("strict-match", ours.strict), ("flexible-extract", ours.lenient)):
            answer = filters[name].apply([[response]], [{}])[0][0]
            theirs = exact_match(predictions=[answer], references=[reference], **options)
            if float(theirs["exact_match"]) != score:
                sys.exit(f"{name}: ours {score}, lm-eval's {theirs}: {response!r}, {reference!r}")
            right += int(score)
        compared += 1
    print(f"{compared} responses, both filters the same; {right} of {2 * compared} right")


if __name__ == "__main__":
    main()
