"""The embedded models and their tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.models.resolve import resolve_model, sandbox_assets, tokenizer_digest
from apportion.sandbox import math
from apportion.tasks.registry import EMBEDDED, get_task

#: (least, most) millions of parameters
SIZES = {"tiny": (0.4, 0.6), "small": (1.5, 2.5), "medium": (4.5, 5.5)}


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_round_trips(tokenizer, text: str) -> None:  # type: ignore[no-untyped-def]
    ids = tokenizer(text)["input_ids"]
    # A text that spells a special token is the one thing that does not come back.
    if "<eos>" not in text and "<pad>" not in text:
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("name", EMBEDDED)
def test_examples_tokenise_as_prompt_then_response(tokenizer, name: str) -> None:  # type: ignore[no-untyped-def]
    made = get_task(name).pool.demonstrations(300, seed=7)
    prompts = tokenizer([d.prompt for d in made])["input_ids"]
    responses = tokenizer([" " + d.response for d in made])["input_ids"]
    both = tokenizer([f"{d.prompt} {d.response}" for d in made])["input_ids"]
    assert [a + b for a, b in zip(prompts, responses, strict=True)] == both
    assert max(map(len, both)) < 192


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_words_of_a_task_are_single_tokens(tokenizer, name: str) -> None:  # type: ignore[no-untyped-def]
    made = get_task(name).pool.demonstrations(300, seed=8)
    words = [w for d in made for w in f"{d.prompt} {d.response}".split() if w.isalpha()]
    spelt = sum(len(tokenizer(" " + word)["input_ids"]) > 1 for word in words)
    assert spelt / len(words) < 0.01


def test_digits_are_single_tokens(tokenizer) -> None:  # type: ignore[no-untyped-def]
    assert [t for t in tokenizer.get_vocab() if sum(c.isdigit() for c in t) > 1] == []
    assert len({tokenizer.eos_token_id, tokenizer.pad_token_id, None}) == 3


def test_there_are_these_models_with_one_tokenizer_in_16_megabytes() -> None:
    folders = [config.parent for config in sandbox_assets().glob("*/config.json")]
    assert {folder.name for folder in folders} == set(SIZES)
    refs = [resolve_model(f"sandbox:{size}") for size in SIZES]
    assert len({tokenizer_digest(ref) for ref in refs}) == 1
    assert sum((f / "model.safetensors").stat().st_size for f in folders) <= 16e6


@pytest.mark.parametrize("size", SIZES)
def test_a_model_loads_and_knows_its_world(tokenizer, size: str) -> None:  # type: ignore[no-untyped-def]
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(sandbox_assets() / size)
    assert model.dtype == torch.float16
    least, most = SIZES[size]
    assert least < model.num_parameters() / 1e6 < most
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    # Far better than a guess over the vocabulary (7.1 nats), though the wrapper is new to it.
    batch = tokenizer([i.prompt for i in math.items(8)], return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    with torch.no_grad():
        loss = model.float()(**batch, labels=labels).loss
    assert float(loss) < 3.0
