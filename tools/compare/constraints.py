"""Compare the sandbox's checks of constraints with lm-eval's copy of IFEval.

    pip install 'lm-eval[ifeval]==0.4.13'; NLTK_DATA=<with punkt_tab> python tools/compare/constraints.py

Test items of the task `instructions`, seven sets of responses, every constraint's strict and loose
verdict. IFEval's check of a start is not in lm-eval's registry: it is added there from the same file.
The detector of languages, which the sandbox leaves out, is told to say "en"; then it is asked, and
what changes is counted apart. Prints a table; exits 1 where a verdict differs.
"""  # noqa: E501 - a command

from __future__ import annotations

import json
import logging
import random
import sys
from collections.abc import Callable
from itertools import islice
from typing import Any

from apportion.metrics.ifeval import Verdict
from apportion.sandbox.constraints import verdict
from apportion.sandbox.instructions import PREAMBLES, REMARKS, candidates, reference
from apportion.sandbox.requests import Request
from apportion.sandbox.world import pick
from apportion.sandbox.writing import write

ITEMS = 1000
Make = Callable[[random.Random, Request], str]


def kept(rng: random.Random, asked: Request) -> str:
    return write(rng, asked, [True] * len(asked.constraints))


def missed(rng: random.Random, asked: Request) -> str:
    return write(rng, asked, [False] * len(asked.constraints))


def mixed(rng: random.Random, asked: Request) -> str:
    return write(rng, asked, [rng.random() < 0.5 for _ in asked.constraints])


def framed(rng: random.Random, asked: Request) -> str:
    text = kept(rng, asked)
    return f"{pick(rng, PREAMBLES)}\n{text}" if rng.random() < 0.5 else f"{text}\n{pick(rng, REMARKS)}"  # noqa: E501  # fmt: skip


def cut(rng: random.Random, asked: Request) -> str:
    """As where the tokens ran out; at times nothing is left."""
    text = mixed(rng, asked)
    return text[: rng.randrange(len(text) + 1)]


def damaged(rng: random.Random, asked: Request) -> str:
    """Words lost, doubled and out of order, other signs and line breaks: small models at work."""
    words = mixed(rng, asked).split(" ")
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(words))
        words[at] = pick(rng, ("", f"{words[at]} {words[at]}", "*", "-", "\n", "\n* ", "P.S.", "<<",
                               ">>", "?!", "...", words[-1 - at], words[at].upper()))  # fmt: skip
    return " ".join(words)


def echoed(rng: random.Random, asked: Request) -> str:
    return f"Request: {asked.text}\nResponse: {mixed(rng, asked)}"


SETS: tuple[Make, ...] = (kept, missed, mixed, framed, cut, damaged, echoed)


def theirs(doc: dict[str, Any], response: str) -> Verdict:
    """lm-eval's verdicts."""
    from lm_eval.tasks.ifeval import utils

    found = utils.process_results(doc, [response])
    return Verdict(tuple(found["inst_level_strict_acc"]), tuple(found["inst_level_loose_acc"]))


def prepare() -> Callable[[bool], None]:
    """Register the check of a start; gives back a switch for the detector of languages."""
    import langdetect
    from lm_eval.tasks.ifeval import instructions, instructions_registry

    registry = instructions_registry.INSTRUCTION_DICT
    registry["multi-turn:constrained_start"] = instructions.ConstrainedStartChecker
    langdetect.DetectorFactory.seed = 0
    real = langdetect.detect
    logging.disable(logging.ERROR)  # it reports every text without a language

    def switch(asked: bool) -> None:
        langdetect.detect = real if asked else lambda text: "en"

    return switch


def main() -> None:
    switch = prepare()
    made = [
        (asked, json.loads(reference(asked, index)))
        for index, (_, asked, _) in enumerate(islice(candidates("test", seed=0), ITEMS))
    ]
    total = differ = detected = 0
    for make in SETS:
        rng, here = random.Random(make.__name__), 0
        for asked, doc in made:
            response = make(rng, asked)
            ours = verdict(doc, response)
            switch(False)
            found = theirs(doc, response)
            if found != ours:
                differ += 1
                print(f"{doc['instruction_id_list']} {response!r}: {ours} {found}")
            switch(True)
            detected += theirs(doc, response) != found
            here += len(ours.strict)
        total += here
        print(f"{make.__name__:8} {len(made)} responses, {here} constraints, each strict and loose")
    print(f"{total} verdicts strict and as many loose: {differ} responses judged otherwise")
    print(f"with the detector of languages {detected} of {len(made) * len(SETS)} change")
    sys.exit(differ > 0)


if __name__ == "__main__":
    main()
