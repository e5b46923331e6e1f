"""IFEval's verdicts, through lm-eval's implementation of Google's checks.

| accuracy | share of | response |
|---|---|---|
| prompt strict | prompts whose instructions are all followed | as it is |
| instruction strict | instructions that are followed | as it is |
| prompt loose | as above | any of eight: first or last line or asterisks removed |
| instruction loose | as above | any of the eight, per instruction |

Two things are drawn at random in there: the detector of languages, and a letter in place of `#` and
`!` (two prompts ask for their frequency). Both are seeded, so that a score can be repeated.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from apportion.errors import MissingPackage

VERSION = 1
_PACKAGES = ("lm_eval", "langdetect", "nltk", "immutabledict")


@dataclass(frozen=True, slots=True)
class Verdict:
    """For each instruction of a prompt: was it followed?"""

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


class Checker(Protocol):
    """Judges one response to one prompt with its instructions."""

    def __call__(self, doc: Mapping[str, Any], response: str) -> Verdict: ...


def reference(
    prompt: str, instructions: Sequence[str], arguments: Sequence[Mapping[str, Any]], key: Any
) -> str:
    """What a test item keeps of its instructions, as JSON; arguments without a value are left out.

    `prompt`: as the data set has it, before any format: two instructions ask to repeat it.
    """
    kept = [{k: v for k, v in found.items() if v is not None} for found in arguments]
    content = {
        "key": key,
        "prompt": prompt,
        "instruction_id_list": list(instructions),
        "kwargs": kept,
    }
    return json.dumps(content, sort_keys=True, ensure_ascii=False)


def require() -> None:
    """MissingPackage unless lm-eval, its needs and NLTK's sentence data are there."""
    from importlib.util import find_spec

    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise MissingPackage(
            f"the task ifeval needs {', '.join(missing)}.", mend="pip install 'apportion[ifeval]'."
        )
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        raise MissingPackage(
            "the task ifeval needs NLTK's sentence data, punkt_tab.",
            mend="python -m nltk.downloader punkt_tab, or point NLTK_DATA at a copy.",
        ) from None


def lm_eval_checker() -> Checker:
    """The checks of lm-eval, which are Google's. MissingPackage without it."""
    require()
    import langdetect

    langdetect.DetectorFactory.seed = 0
    from lm_eval.tasks.ifeval import utils

    def check(doc: Mapping[str, Any], response: str) -> Verdict:
        before, silenced = random.getstate(), logging.root.manager.disable
        random.seed(0)
        logging.disable(logging.ERROR)  # it reports every text without a language
        try:
            found = utils.process_results(doc, [response])
        finally:
            random.setstate(before)
            logging.disable(silenced)
        return Verdict(tuple(found["inst_level_strict_acc"]), tuple(found["inst_level_loose_acc"]))

    return check


def four_accuracies(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """The four accuracies over all prompts; ValueError for none."""
    if not verdicts:
        raise ValueError("there are no verdicts")
    n_prompts = len(verdicts)
    n_instructions = sum(len(verdict.strict) for verdict in verdicts)
    return {
        "prompt_strict": sum(all(verdict.strict) for verdict in verdicts) / n_prompts,
        "instruction_strict": sum(sum(v.strict) for v in verdicts) / n_instructions,
        "prompt_loose": sum(all(verdict.loose) for verdict in verdicts) / n_prompts,
        "instruction_loose": sum(sum(v.loose) for v in verdicts) / n_instructions,
    }
