"""Compare IFEval's verdicts and four accuracies with a reference implementation.

    PYTHONPATH=<a folder with instruction_following_eval> NLTK_DATA=<with punkt_tab> \\
        python tools/compare/ifeval.py INPUT_DATA.jsonl [--against lm-eval]

The reference is josejg/instruction_following_eval, a packaged copy of Google's code, or lm-eval's
task called directly, with its own sums; ours goes through the task `ifeval` as a study scores it.
Every prompt, five sets of responses, every instruction's strict and loose verdict. Prints a table;
exits 1 where a verdict differs.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from apportion.data.files import Row, read_file
from apportion.data.shape import Shape, item
from apportion.metrics.ifeval import Verdict, four_accuracies
from apportion.run.bodies import summarise
from apportion.sandbox import math
from apportion.tasks.metric import Metric, read_reference, scorer

Doc = Mapping[str, Any]
FILLER = [
    "people",
    "often",
    "say",
    "that",
    "small",
    "steps",
    "every",
    "day",
    "lead",
    "to",
    "good",
    "things",
    "over",
    "time",
]


def echo(doc: Doc, stream: random.Random) -> str:
    return str(doc["prompt"])


def sandbox(doc: Doc, stream: random.Random) -> str:
    """What an embedded model writes: a worked sum that has nothing to do with the prompt."""
    return math.demonstrations(1, seed=stream.randrange(10**6))[0].response


def marked_up(doc: Doc, stream: random.Random) -> str:
    """Markdown of all kinds, in any case and language, in any order."""
    parts = [
        "Sure, here it is:", "# A title", "<<A Title>>", "* one\n* two\n* three",
        "*bold* **words**",
        "***", "\n\n", "P.S. More.", "P.P.S. Yet more.", "[name] and [place]", '"Quoted."',
        '{"a": 1}', "```json\n{}\n```", "SECTION 1\nText.\nSECTION 2\nText.", "ALL CAPITALS HERE.",
        "no capitals here at all", "Das ist ein deutscher Satz, der lang genug ist.",
        "Dr. Smith went home. He slept! Did he?", "Is there anything else I can help with?",
        "******", "My answer is yes.", "One, two, three.", " ".join(FILLER), "\n", "- a\n- b",
    ]  # fmt: skip
    return "\n".join(stream.sample(parts, stream.randrange(1, 12)))


def compliant(doc: Doc, stream: random.Random) -> str:
    """A response made to follow the instructions, as far as simple means can."""
    asked = dict(zip(doc["instruction_id_list"], doc["kwargs"], strict=True))
    words = list(FILLER)
    for kind, found in asked.items():
        words += found.get("keywords") or []
        words += [found["keyword"]] * (found.get("frequency") or 1) if "keyword" in found else []
        if kind == "length_constraints:number_words" and found["relation"] == "at least":
            words += FILLER * (found["num_words"] // len(FILLER) + 1)
        if "letter" in found:
            words += [found["letter"] * 3] * (found.get("let_frequency") or 1)
    text = " ".join(words) + "."
    sentences = asked.get("length_constraints:number_sentences", {}).get("num_sentences")
    text = " ".join([text, *(["It is so."] * (sentences or 0))])
    wrap: dict[str, Callable[[str, Doc], str]] = {
        "length_constraints:number_paragraphs": lambda t, k: "\n***\n".join(
            [t] * k["num_paragraphs"]),
        "length_constraints:nth_paragraph_first_word": lambda t, k: "\n\n".join(
            f"{k['first_word']} {t}" for _ in range(k["num_paragraphs"])),
        "detectable_content:number_placeholders": lambda t, k: t + " [x]" * k["num_placeholders"],
        "detectable_format:number_bullet_lists": lambda t, k: t + "\n* point" * k["num_bullets"],
        "detectable_format:number_highlighted_sections": lambda t, k: t
        + " *high light*" * k["num_highlights"],
        "detectable_format:multiple_sections": lambda t, k: "".join(
            f"\n{k['section_spliter']} {n + 1}\n{t}" for n in range(k["num_sections"])),
        "detectable_format:title": lambda t, k: f"<<Title>>\n{t}",
        "detectable_format:constrained_response": lambda t, k: "My answer is yes.",
        "detectable_content:postscript": lambda t, k: f"{t}\n{k['postscript_marker']} more",
        "combination:two_responses": lambda t, k: f"{t}\n******\nAnother {t}",
        "combination:repeat_prompt": lambda t, k: f"{k['prompt_to_repeat']}\n{t}",
        "startend:end_checker": lambda t, k: f"{t}\n{k['end_phrase']}",
        "change_case:english_lowercase": lambda t, k: t.lower(),
        "change_case:english_capital": lambda t, k: t.upper(),
        "change_case:capital_word_frequency": lambda t, k: t + " LOUD" * k["capital_frequency"],
        "punctuation:no_comma": lambda t, k: t.replace(",", ""),
        "detectable_format:json_format": lambda t, k: json.dumps({"text": t}),
        "startend:quotation": lambda t, k: f'"{t}"',
    }  # fmt: skip
    for kind, make in wrap.items():
        if kind in asked:
            text = make(text, asked[kind])
    return text


def framed(doc: Doc, stream: random.Random) -> str:
    """The same with what chat models put around an answer, which loose scoring takes away."""
    body = compliant(doc, stream)
    return stream.choice([f"Sure! Here it is:\n{body}", f"**{body}**", f"{body}\nHope it helps!"])


SETS = {f.__name__: f for f in (echo, sandbox, marked_up, compliant, framed)}


Judge = Callable[[dict[str, Any], str], Verdict]


def google() -> Judge:
    """The packaged copy of Google's own evaluation."""
    from instruction_following_eval import evaluation

    def judge(doc: dict[str, Any], response: str) -> Verdict:
        found = [
            evaluation.test_instruction_following(doc, response, strict=strict)
            for strict in (True, False)
        ]
        return Verdict(*(tuple(map(bool, f.follow_instruction_list)) for f in found))

    return judge


def lm_eval() -> Judge:
    """lm-eval's task `ifeval`, given the whole row as its data set holds it."""
    from lm_eval.tasks.ifeval.utils import process_results

    def judge(doc: dict[str, Any], response: str) -> Verdict:
        found = process_results(doc, [response])
        loose, strict = found["inst_level_loose_acc"], found["inst_level_strict_acc"]
        assert found["prompt_level_strict_acc"] == all(strict)
        return Verdict(tuple(strict), tuple(loose))

    return judge


def totals(verdicts: list[Verdict], against: str) -> dict[str, float]:
    """The four accuracies; lm-eval's own sums of the instructions where it is the reference."""
    found = four_accuracies(verdicts)
    if against == "lm-eval":
        from lm_eval.tasks.ifeval.utils import agg_inst_level_acc

        found["instruction_strict"] = agg_inst_level_acc([v.strict for v in verdicts])
        found["instruction_loose"] = agg_inst_level_acc([v.loose for v in verdicts])
    return found


JUDGES = {"google": google, "lm-eval": lm_eval}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--against", choices=JUDGES, default="google")
    asked = parser.parse_args()
    import langdetect

    langdetect.DetectorFactory.seed = 0
    logging.disable(logging.ERROR)  # every text without a language is reported
    judge = JUDGES[asked.against]()
    rows = read_file(asked.prompts)
    metric = Metric(kind="ifeval")
    read, score = read_reference(metric), scorer(metric, Path())

    def ours(row: Row, response: str) -> Any:
        test = item(row, Shape(), None, lambda r: read(r, Shape()))
        return score(test, response)

    differences = 0
    for name, make in SETS.items():
        stream = random.Random(name)
        mine, theirs = [], []
        for row in rows:
            response = make(row.values, stream)
            mine.append(ours(row, response))
            random.seed(0)  # both draw a letter where `#` or `!` is asked for
            theirs.append(judge(dict(row.values), response))
            if mine[-1].verdict != theirs[-1]:
                differences += 1
                print(f"{name}, key {row.values['key']}: {mine[-1].verdict} {theirs[-1]}")
        facts = {"truncated": False, "n_tokens": 1}
        summary = summarise([{**asdict(score), **facts} for score in mine], "strict")
        expected = totals(theirs, asked.against)
        assert summary["accuracies"] == expected or differences
        assert abs(summary["score"] - expected["instruction_strict"]) < 1e-12 or differences
        shown = ", ".join(f"{k} {v:.4f}" for k, v in expected.items())
        print(f"{name:9} {len(rows)} prompts, {sum(len(v.strict) for v in theirs)} instructions, "
              f"{differences} verdicts differ so far: {shown}")  # fmt: skip
    sys.exit(differences > 0)


if __name__ == "__main__":
    main()
