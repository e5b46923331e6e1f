"""The summarization pools: every stated rate measured, every source scored, sides kept apart."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from itertools import islice, pairwise
from math import sqrt
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.data.records import ordered_digest
from apportion.data.sides import side_of
from apportion.metrics.winrate import against
from apportion.sandbox import facts
from apportion.sandbox import summarization as task
from apportion.sandbox.facts import Post, render

SEEDS = st.integers(min_value=0, max_value=2**40)
N = 3000


def posts(side: str, seed: int, n: int = N) -> list[Post]:
    return [told for _, told, _ in islice(task.candidates(side, seed=seed), n)]  # type: ignore[arg-type]


def within(successes: int, trials: int, rate: float) -> bool:
    """Within four standard errors of a binomial."""
    return abs(successes / trials - rate) < 4 * sqrt(rate * (1 - rate) / trials)


def body(response: str) -> str:
    assert response.endswith(task.MARK)
    assert "\n" not in response
    return response.removesuffix(task.MARK).strip()


def invented(text: str, told: Post) -> bool:
    truth = {(kind, value.casefold()) for kind, value in told.facts.items()}
    return bool(set(facts.claims_of(text)) - truth)


# Rates -----------------------------------------------------------------------------------------


def test_demonstrations_have_the_stated_rates() -> None:
    told, lost, wrong = Counter[str](), Counter[str](), 0
    fillers = repeated = sentences = wordy = 0
    for made, example in zip(posts("sft", 3), task.demonstrations(N, seed=3), strict=True):
        text = body(example.response)
        sentences += text.count(".")
        wordy += text.count(facts.WORDY)
        if invented(text, made):
            wrong += 1
            continue  # the invention may stand where a fact stood
        claims = dict(facts.claims_of(text))
        told.update(made.salient)
        lost.update(kind for kind in made.salient if kind not in claims)
        fillers += len(made.fillers)
        repeated += sum(kind in claims for kind in made.fillers)
    writer = task.MIDDLING
    assert within(wrong, N, writer.invents)
    assert within(repeated, fillers, writer.repeats)
    # Invented sentences, 1 in 75, are never wordy.
    assert within(wordy, sentences, writer.wordy * 0.99)
    assert set(told) == set(writer.omits)
    for kind, rate in writer.omits.items():
        assert within(lost[kind], told[kind], rate), kind


def failure(better: str, worse: str, made: Post) -> str:
    """What is wrong with the worse one, from its words."""
    claims, wanted = dict(facts.claims_of(worse)), dict(facts.claims_of(better))
    if invented(worse, made) and not invented(better, made):
        return "invented"
    if claims == wanted:
        return "long"
    if list(claims) == ["topic"]:
        return "evasive"
    return "filler" if set(claims) > set(wanted) else "omission"


def test_pairs_have_the_stated_failures_and_label_noise() -> None:
    swapped, kinds, sure = 0, Counter[str](), 0
    lost, told = Counter[str](), Counter[str]()
    for made, pair in zip(posts("preference", 5), task.pairs(N, seed=5), strict=True):
        texts = [body(pair.chosen), body(pair.rejected)]
        values = [facts.utility(text, made.facts) for text in texts]
        assert values[0] != values[1]
        swapped += values[1] > values[0]
        better, worse = texts if values[0] > values[1] else texts[::-1]
        if invented(better, made):
            continue
        sure += 1
        kinds[failure(better, worse, made)] += 1
        told.update(made.salient)
        lost.update(set(made.salient) - set(dict(facts.claims_of(better))))
    assert within(swapped, N, task.LABEL_NOISE)
    # 2 in 100 better drafts hold an invention and are not counted; some leave nothing to spoil.
    for kind, rate in task.REJECTED_KINDS.items():
        assert abs(kinds[kind] / sure - rate) < 4 * sqrt(rate * (1 - rate) / sure) + 0.02, kind
    for kind, rate in task.CAREFUL.omits.items():
        assert within(lost[kind], told[kind], rate), kind


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.sampled_from([*task.REJECTED_KINDS]))
def test_every_failure_makes_a_whole_summary_worse(seed: int, kind: str) -> None:
    rng = random.Random(seed)
    made = facts.post(rng)
    best = task.perfect(made)
    worse = render(task.spoiled(rng, made, best, kind))
    assert facts.utility(worse, made.facts) < facts.utility(render(best), made.facts)


# Room ------------------------------------------------------------------------------------------


def copied(told: Post, rng: random.Random) -> str:
    return told.text


def evasive(told: Post, rng: random.Random) -> str:
    return render([facts.Claim("topic", told.facts["topic"])])


def imagined(told: Post, rng: random.Random) -> str:
    """Tells of every salient kind, whether or not the post does."""
    every = [facts.Claim(k, told.facts.get(k, facts.KINDS[k].values[0])) for k in facts.SALIENT]
    return render(every)


SOURCES: dict[str, tuple[Callable[[Post, random.Random], str], float, float]] = {
    "middling": (lambda told, rng: render(task.draft(rng, told, task.MIDDLING)), 0.47, 0.53),
    "greedy": (lambda told, rng: render(task.usual(told)), 0.41, 0.49),
    "careful": (lambda told, rng: render(task.draft(rng, told, task.CAREFUL)), 0.85, 0.91),
    "perfect": (lambda told, rng: render(task.perfect(told)), 0.96, 1.0),
    "copied": (copied, 0.20, 0.32),
    "evasive": (evasive, 0.05, 0.15),
    "imagined": (imagined, 0.0, 0.05),
}


@pytest.mark.parametrize("source", SOURCES)
def test_win_rates_of_known_sources(source: str) -> None:
    """There is room: imitation ends near one half, and the mode of demonstrations is no better."""
    write, low, high = SOURCES[source]
    rng, n = random.Random(11), 2000
    found = mean(
        against(
            facts.utility(write(made, rng), made.facts),
            facts.utility(body(item.reference), made.facts),
        )
        for made, item in zip(posts("test", 0, n), task.items(n), strict=True)
    )
    assert low < found < high


# Streams ---------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), SEEDS)
def test_more_only_appends(n: int, extra: int, seed: int) -> None:
    assert task.demonstrations(n + extra, seed=seed)[:n] == task.demonstrations(n, seed=seed)
    assert task.pairs(n + extra, seed=seed)[:n] == task.pairs(n, seed=seed)
    assert task.items(n + extra)[:n] == task.items(n)


def test_seeds_differ_and_sides_are_disjoint() -> None:
    first, second = task.demonstrations(1000, seed=1), task.demonstrations(1000, seed=2)
    pairs, items = task.pairs(1000, seed=1), task.items(1000)
    prompts = {d.prompt for d in first}
    assert len(prompts & {d.prompt for d in second}) < 5
    assert len(prompts) > 995
    assert len({item.prompt for item in items}) > 995
    sides = {"sft": [*first, *second], "preference": pairs, "test": items}
    for side, examples in sides.items():
        for example in examples:
            assert side_of(example.prompt, sft=0.4, preference=0.4) == side


def test_the_stream_is_the_one_of_this_version() -> None:
    """A change of output must come with a new VERSION (then this digest changes too)."""
    assert (task.VERSION, facts.JUDGE_VERSION) == (1, 1)
    digests = [
        ordered_digest(task.demonstrations(200, seed=0)),
        ordered_digest(task.pairs(200, seed=0)),
        ordered_digest(task.items(200)),
    ]
    assert [digest[:16] for digest in digests] == [
        "25d94025d10ded7f",
        "c8daee536a3d4f92",
        "5b8cf8b1d0599381",
    ]


def test_prompts_are_read_back() -> None:
    for item, made in zip(task.items(300), posts("test", 0, 300), strict=True):
        assert task.post_of(item.prompt) == made.text
        assert item.prompt == task.prompt_of(made.text)
    with pytest.raises(ValueError, match="not a prompt of the task"):
        task.post_of("Question: 1?\nAnswer:")


# Words, as the sandbox tokenizer parts them: see PIECES in tools/pretrain/tokenizer.py ----------

PIECES = re.compile(r"\d| ?[^\W\d_]+| ?[^\s\w]+|\n|[^\S\n]+(?!\S)|\s")


def texts_of_the_task() -> list[str]:
    made = [f"{d.prompt} {d.response}" for d in task.demonstrations(3000, seed=7)]
    for pair in task.pairs(3000, seed=7):
        made += [f"{pair.prompt} {response}" for response in (pair.chosen, pair.rejected)]
    return made


@pytest.fixture(scope="module")
def kinds():  # type: ignore[no-untyped-def]
    import importlib.util

    path = Path(__file__).parents[2] / "tools" / "pretrain" / "kinds_summarization.py"
    spec = importlib.util.spec_from_file_location("kinds_summarization", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_examples_stay_short() -> None:
    lengths = [len(PIECES.findall(text)) for text in texts_of_the_task()]
    prompts = [len(PIECES.findall(i.prompt)) for i in task.items(2000)]
    assert max(lengths) <= 120
    assert mean(lengths) < 80
    assert max(prompts) <= 60


def test_documents_know_every_word_but_not_the_task(kinds) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(1)
    documents = [kinds.document(rng) for _ in range(8_000)]
    met = Counter(piece for text in documents for piece in PIECES.findall(text))
    wanted = {piece for text in texts_of_the_task() for piece in PIECES.findall(text)}
    assert {piece for piece in wanted if met[piece] < 25} == set()
    assert len(met) < 350
    assert mean(len(PIECES.findall(text)) for text in documents) < 75
    for text in documents:
        assert not re.search(r"Post: (?:I have|This is)|[.?] ###|TL;DR:.* ###", text)
        assert not (len(facts.read(text)) == facts.SIZE and "TL;DR" in text)


def test_documents_keep_the_test_side_apart(kinds) -> None:  # type: ignore[no-untyped-def]
    rng, seen = random.Random(2), 0
    for _ in range(2500):
        for line in kinds.document(rng).split("\n"):
            text = re.sub(r"^[A-Z][a-z]+: ", "", line)
            if len(facts.read(text)) == facts.SIZE and text.startswith(("I have", "This is")):
                seen += 1
                assert side_of(task.prompt_of(text), sft=0.4, preference=0.4) != "test"
    assert seen > 900


def test_no_document_has_a_summary_after_its_post(kinds) -> None:  # type: ignore[no-untyped-def]
    """The model must not meet the task's answers where the task would have them."""
    rng, short = random.Random(3), 0
    brief = [re.escape(k.short).replace(r"\{\}", r"\w+") for k in facts.KINDS.values()]
    sentence = re.compile("|".join(brief))
    for _ in range(2500):
        lines = kinds.document(rng).split("\n")
        for above, line in pairwise(lines):
            if len(facts.read(above)) == facts.SIZE:
                assert not sentence.search(line), line
        short += any(sentence.search(line) for line in lines)
    assert short > 250  # they do occur elsewhere


def test_the_mix_of_documents_is_the_stated_one(kinds) -> None:  # type: ignore[no-untyped-def]
    assert sum(kinds.KINDS.values()) == pytest.approx(1)
    assert set(kinds.KINDS) == set(kinds._KINDS)
    rng = random.Random(4)
    quizzes = sum("\nQuiz.\n" in kinds.document(rng) for _ in range(N))
    assert within(quizzes, N, kinds.KINDS["quiz"])
    assert kinds.document(random.Random(5)) == kinds.document(random.Random(5))
