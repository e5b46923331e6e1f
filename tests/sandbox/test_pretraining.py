"""The corpus and the packing that the sandbox models are pretrained on (`tools/pretrain`)."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from apportion.data.sides import side_of
from apportion.sandbox import math as task
from apportion.tasks.registry import EMBEDDED, get_task

TOOLS = Path(__file__).parents[2] / "tools" / "pretrain"


@pytest.fixture(scope="module")
def corpus():  # type: ignore[no-untyped-def]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        import corpus

        yield corpus


@pytest.fixture(scope="module")
def packing(corpus):  # type: ignore[no-untyped-def]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        import packing

        yield packing


def test_the_corpus_has_the_four_worlds_and_no_other(corpus) -> None:  # type: ignore[no-untyped-def]
    for shares in (corpus.SHARES, corpus.LATER):
        assert set(shares) == set(corpus.LENGTHS) == set(EMBEDDED)
        assert sum(shares.values()) == pytest.approx(1)
        assert sum(corpus.mix(shares).values()) == pytest.approx(1)


def test_a_document_depends_on_the_seed_and_its_number_only(corpus) -> None:  # type: ignore[no-untyped-def]
    first = list(islice(corpus.documents(1), 60))
    assert first == list(islice(corpus.documents(1), 60))
    assert first[20:] == list(islice(corpus.documents(1, start=20), 40))
    assert len(set(first) & set(islice(corpus.documents(2), 60))) < 3
    for world in corpus.SHARES:
        assert not set(islice(corpus.held_out(world), 20)) & set(first)


def test_the_math_documents_do_not_give_the_task_away(corpus) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(1)
    texts = [corpus.MAKERS["math"](rng) for _ in range(3000)]
    everything = "\n".join(texts)
    assert "####" in everything  # as a heading: its embedding is not untrained
    assert not re.search(r"#### ?\d|Question: |Answer: ", everything)
    asked = re.findall(r"^(?:Q: |Task: |Teacher: |Problem: )(\w+ has .*\?)", everything, re.M)
    assert len(asked) > 500
    assert not [q for q in asked if side_of(task.prompt_of(q), sft=0.4, preference=0.4) == "test"]


def test_no_document_has_the_wrapper_of_any_task(corpus) -> None:  # type: ignore[no-untyped-def]
    """What stands around the varied part of a prompt, at its end: `\\nAnswer:`, `\\nTL;DR:`, ..."""
    texts = list(islice(corpus.documents(1), 4000))
    for name in EMBEDDED:
        prompts = [item.prompt for item in get_task(name).pool.items(50)]
        ending = "\n" + prompts[0].rpartition("\n")[2]
        opening = prompts[0].partition(": ")[0] + ": "
        assert all(p.startswith(opening) and p.endswith(ending) for p in prompts)
        assert not [t for t in texts if t.startswith(opening) and ending in t]
        assert not set(prompts) & {t[: len(p)] for t in texts for p in prompts[:1]}


def test_noise_and_lists_come_at_their_rates(corpus, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    text = "Anna has 12 apples at the market and gives 34 of them to Ben."
    monkeypatch.setattr(corpus, "MAKERS", {w: lambda _: text for w in corpus.SHARES})
    made = list(islice(corpus.documents(5), 8000))
    listed = sum(d.startswith("Words:") for d in made)
    assert abs(listed / 8000 - corpus.LISTED) < 0.006
    damaged = sum(d != text for d in made) - listed
    assert abs(damaged / 8000 - corpus.NOISE) < 0.009


def test_rows_hold_whole_documents_once_each_and_little_padding(packing) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(3)
    texts = [[2 + i] * rng.randrange(5, 180) for i in range(900)]
    length = packing.LENGTH
    found, padding, n = [], 0, 0
    for ids, parts in packing.rows(texts):
        n += 1
        assert ids.shape == parts.shape == (length,)
        padding += int((parts == 0).sum())
        assert sorted(parts[parts > 0]) == list(parts[parts > 0])
        for number in range(1, int(parts.max()) + 1):
            found.append(ids[parts == number].tolist())
    assert sorted(found) == sorted(texts)
    assert padding / (n * length) < 0.06
    long = next(iter(packing.rows([list(range(length + 50))])))
    assert long[0].tolist() == list(range(length))  # the one thing that is cut


def test_the_fast_loss_is_the_model_s_own(corpus) -> None:  # type: ignore[no-untyped-def]
    """Packed rows against each document alone in transformers' own model, in float32."""
    import torch
    from shapes import Loss, fresh

    class Words(dict):  # type: ignore[type-arg]
        eos_token_id, pad_token_id = 1, 0

    model = fresh("tiny", Words.fromkeys(range(60)))
    torch.manual_seed(0)
    rows, length = 2, 256
    ids = torch.randint(2, 60, (rows, length))
    parts = torch.ones(rows, length, dtype=torch.long)
    parts[0, 100:], parts[0, 230:] = 2, 0
    parts[1, 31:], parts[1, 150:] = 2, 3
    total = count = 0.0
    for row in range(rows):
        for number in range(1, 4):
            one = ids[row][parts[row] == number][None]
            if one.numel() > 1:
                with torch.no_grad():
                    total += float(model(one, labels=one).loss) * (one.numel() - 1)
                count += one.numel() - 1
    fast = float(Loss(model, rows, length)(ids, parts).detach())
    assert fast == pytest.approx(total / count, abs=0.01)


def test_worlds_come_at_their_shares_of_all_tokens(corpus, tokenizer, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    of = {world: list(islice(corpus.held_out(world), 1500)) for world in corpus.SHARES}
    lengths = {
        world: sum(len(ids) + 1 for ids in tokenizer(texts)["input_ids"]) / len(texts)
        for world, texts in of.items()
    }
    for shares in (corpus.SHARES, corpus.LATER):
        chances = corpus.mix(shares)
        total = sum(chances[world] * lengths[world] for world in of)
        for world, share in shares.items():
            assert chances[world] * lengths[world] / total == pytest.approx(share, abs=0.015)
    # And the stream draws them so: marked makers, one document each.
    marked = {world: lambda _, world=world: world for world in of}
    monkeypatch.setattr(corpus, "MAKERS", marked)
    monkeypatch.setattr(corpus, "NOISE", 0.0)
    monkeypatch.setattr(corpus, "LISTED", 0.0)
    drawn = Counter(islice(corpus.documents(3, shares=corpus.LATER), 4000))
    for world, chance in corpus.mix(corpus.LATER).items():
        assert abs(drawn[world] / 4000 - chance) < 4 * (chance * (1 - chance) / 4000) ** 0.5


def test_every_token_of_the_tasks_is_met_in_the_corpus(corpus, tokenizer) -> None:  # type: ignore[no-untyped-def]
    met = Counter(
        token
        for ids in tokenizer(list(islice(corpus.documents(1), 12_000)))["input_ids"]
        for token in ids
    )
    for name in EMBEDDED:
        pool = get_task(name).pool
        told = [f"{d.prompt} {d.response}" for d in pool.demonstrations(400, seed=1)]
        told += [f"{p.prompt} {p.rejected}" for p in pool.pairs(400, seed=1)]
        needed = Counter(token for ids in tokenizer(told)["input_ids"] for token in ids)
        seldom = {tokenizer.decode([t]): n for t, n in needed.items() if n > 4 and met[t] < 5}
        assert seldom == {}, name
