"""Pairs from samples, with a stub in the place of the tuned model."""

from __future__ import annotations

import importlib
import random

import pytest

import sample_pairs
import sampled_cases
from apportion.data.records import Pair
from apportion.data.sides import side_of
from apportion.sandbox.sampled import read_sampled, write_sampled
from apportion.tasks.registry import EMBEDDED
from sample_pairs import Sample
from sampled_cases import Case

NONSENSE = "The, the, the"
EDITED = Pair("p", "edited better", "edited worse")


def case(careful=5.0, margin=0.0):
    """Texts are their own quality; the careful response has `careful`."""
    return Case("p", float, margin, str(careful), EDITED)


def pair_of(texts, *, cut=(), **how):
    samples = [Sample(text, text in cut) for text in texts]
    made = sample_pairs.pair_of(case(**how), samples, random.Random(0))
    return made.better, made.worse, made.source


def test_the_best_and_the_worst_sample_make_a_pair():
    assert pair_of(["2", "1", "3", "2"]) == ("3", "1", "sampled")


def test_samples_as_good_as_equal_are_worse_than_a_careful_response():
    assert pair_of(["1", "1", "1", "1"]) == ("5.0", "1", "careful")
    assert pair_of(["1", "2"], margin=2) == ("5.0", "1", "careful")


def test_where_no_sample_is_worse_the_world_s_pair_is_taken():
    assert pair_of(["7", "7"]) == ("edited better", "edited worse", "edited")
    assert pair_of(["", ""]) == ("edited better", "edited worse", "edited")


def test_what_was_cut_off_is_never_better_and_may_be_worse():
    assert pair_of(["1", "2", "3"], cut=("3",)) == ("2", "1", "sampled")
    assert pair_of(["1", "3"], cut=("1",)) == ("3", "1", "sampled")
    assert pair_of(["1", "3"], cut=("3",)) == ("5.0", "1", "careful")


def test_ties_do_not_depend_on_the_order_of_the_samples_alone():
    def choose(seed):
        samples = [Sample("1.0", False), Sample("1.00", False), Sample("3", False)]
        return sample_pairs.pair_of(case(), samples, random.Random(seed)).worse

    assert {choose(seed) for seed in range(20)} == {"1.0", "1.00"}


@pytest.mark.parametrize("task", EMBEDDED)
def test_cases_are_preference_prompts_whose_careful_response_beats_nonsense(task):
    world = importlib.import_module(f"apportion.sandbox.{task}")
    found = sampled_cases.cases(task, 60)
    assert len({one.prompt for one in found}) == 60
    assert found[:20] != [] and [c.prompt for c in sampled_cases.cases(task, 20)] == [
        c.prompt for c in found[:20]
    ]
    better = careful = 0
    for one in found:
        side = side_of(one.prompt, sft=world.SFT_FRACTION, preference=world.PREFERENCE_FRACTION)
        assert side == "preference" and one.edited.prompt == one.prompt
        assert one.quality(one.careful) >= one.quality(NONSENSE)  # it may keep "at most" by chance
        careful += one.quality(one.careful) > one.quality(NONSENSE) + one.margin
        better += one.quality(one.edited.chosen) > one.quality(one.edited.rejected)
    # an independent judge of the judge: edited pairs are labelled right but for noise and form
    assert better > 0.7 * 60
    assert careful > 0.8 * 60


@pytest.mark.parametrize("task", EMBEDDED)
def test_a_file_is_made_with_its_facts_and_read_again(task, tmp_path):
    def stub(prompts):
        """Three kinds of prompt: all samples are the careful response, none is, some are."""
        careful = {c.prompt: c.careful for c in sampled_cases.cases(task, len(prompts))}
        answers = []
        for i, prompt in enumerate(prompts):
            good, bad = Sample(careful[prompt], False), Sample(NONSENSE, False)
            answers.append(([good] * 4, [bad] * 4, [good, bad, bad, good])[i % 3])
        return answers

    facts = sample_pairs.facts_of(task, "sandbox:small", 30)
    made = sample_pairs.make(task, facts, stub, 30)
    sources = [p.source for p in made.pairs]
    assert sources[::3] == ["edited"] * 10  # nothing is worse than the careful response
    assert sources[1::3].count("careful") >= 8 and sources[2::3].count("sampled") >= 8
    for pair in made.pairs:
        if pair.source != "edited":
            assert pair.worse == NONSENSE != pair.better
    assert sum(made.facts["shares"].values()) == pytest.approx(1, abs=1e-3)
    path = tmp_path / f"{task}.jsonl.gz"
    write_sampled(path, made)
    assert read_sampled(task, tmp_path) == made
    assert made.facts["model"]["name"] == "sandbox:small" and len(made.facts["model"]) > 1
