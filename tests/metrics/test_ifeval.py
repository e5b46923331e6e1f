"""The four accuracies by hand; the verdicts where lm-eval and NLTK's data are installed.

All 541 prompts against another implementation: `tools/compare/ifeval.py`.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict

import pytest

from apportion.data.records import Item
from apportion.errors import MissingPackage
from apportion.metrics import ifeval
from apportion.metrics.ifeval import Verdict, four_accuracies
from apportion.run.bodies import summarise
from apportion.tasks import metric
from apportion.tasks.metric import Metric, scorer

VERDICTS = [
    Verdict((True, True, False), (True, True, True)),
    Verdict((True,), (True,)),
    Verdict((False, False), (False, True)),
]
BY_HAND = {
    "prompt_strict": 1 / 3,
    "instruction_strict": 3 / 6,
    "prompt_loose": 2 / 3,
    "instruction_loose": 5 / 6,
}


def test_four_accuracies_by_hand() -> None:
    assert four_accuracies(VERDICTS) == pytest.approx(BY_HAND)
    with pytest.raises(ValueError, match="no verdicts"):
        four_accuracies([])


@pytest.mark.parametrize("level", ["instruction", "prompt"])
def test_a_study_s_score_is_the_accuracy_of_its_level(monkeypatch, level: str) -> None:
    answers = iter(VERDICTS)
    monkeypatch.setattr(metric, "_checker", lambda: lambda doc, response: next(answers))
    score = scorer(Metric(kind="ifeval", level=level), None)
    facts = {"truncated": False, "n_tokens": 1}
    scores = [score(Item("x", "p", "{}"), "response") for _ in VERDICTS]
    summary = summarise([{**asdict(one), **facts} for one in scores], "strict")
    assert summary["accuracies"] == pytest.approx(BY_HAND)
    assert summary["strict"] == pytest.approx(BY_HAND[f"{level}_strict"])
    assert summary["lenient"] == pytest.approx(BY_HAND[f"{level}_loose"])
    assert summary["stderr"] > 0
    assert all(0 <= one.strict <= one.lenient <= 1 for one in scores)


def test_without_its_packages_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(ifeval, "_PACKAGES", ("no_such_package",))
    with pytest.raises(MissingPackage, match="no_such_package") as raised:
        ifeval.require()
    assert "apportion[ifeval]" in str(raised.value.mend)


def _item(kinds: list[str], kwargs: list[dict]) -> Item:
    return Item("x", "p", ifeval.reference("Say it.", kinds, kwargs, 1))


def test_real_verdicts_and_their_repetition() -> None:
    try:
        ifeval.require()
    except MissingPackage as missing:
        pytest.skip(str(missing))
    score = scorer(Metric(kind="ifeval"), None)
    item = _item(
        ["punctuation:no_comma", "length_constraints:number_words"],
        [{"num_words": None}, {"relation": "at least", "num_words": 3}],
    )
    assert json.loads(item.reference)["kwargs"][0] == {}
    assert score(item, "One two three four").verdict == Verdict((True, True), (True, True))
    assert score(item, "One, two").verdict == Verdict((False, False), (False, False))
    loose = score(item, "Sure, of course:\nOne two three four").verdict
    assert loose == Verdict((False, True), (True, True))
    # `#` is replaced by a random letter in there; the score is the same all the same.
    odd = _item(
        ["keywords:letter_frequency"],
        [{"let_relation": "at least", "letter": "#", "let_frequency": 4}],
    )
    state = random.getstate()
    assert len({score(odd, "aaaa bbbb eeee ssss tttt").verdict for _ in range(10)}) == 1
    assert random.getstate() == state
