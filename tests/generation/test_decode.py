from __future__ import annotations

import pytest
import torch

from apportion.config.evaluation import Decoding
from apportion.config.recipe import LoraRecipe
from apportion.errors import StageError
from apportion.generation.decode import generate
from apportion.models.policy import load_base, prepare_for_training
from apportion.models.resolve import resolve_model
from apportion.models.template import load_tokenizer, make_template
from tiny import make_tiny_gpt2, make_tiny_model

PROMPTS = ["One", "How many?", "a", "A much longer prompt than the others are.", "zz top", "Hm."]
GREEDY = Decoding(max_new_tokens=24)
SAMPLE = Decoding(strategy="sample", temperature=0.8, top_p=0.9, max_new_tokens=24)


class World:
    def __init__(self, folder):
        self.ref = resolve_model(str(folder))
        self.tokenizer = load_tokenizer(self.ref)
        self.template = make_template(self.ref, self.tokenizer)
        self.model = load_base(self.ref, dtype="float32")

    def ask(self, prompts=PROMPTS, decoding=GREEDY, *, stop=(), batch_size=4, seed=None, **how):
        return generate(
            self.model, self.tokenizer, self.template, prompts,
            decoding=decoding, stop=stop, batch_size=batch_size, seed=seed, **how,
        )  # fmt: skip

    def hf(self, prompt, n=24):
        """The ids that `model.generate` gives for one prompt alone."""
        ids = torch.tensor([self.template.prompt_ids(prompt)])
        out = self.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, do_sample=False
        )
        return out[0, ids.shape[1] :].tolist()


def ends_early(folder):
    """A model that ends some responses early: its end-of-text is likelier than at random."""
    world = World(make_tiny_model(folder, seed=3, scale=0.3))
    with torch.no_grad():
        weight = world.model.get_input_embeddings().weight
        eos = world.tokenizer.eos_token_id
        weight[eos] = 2.5 * weight[eos]
    return world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return ends_early(tmp_path_factory.mktemp("m") / "m")


def expected(world, prompt):
    ids = world.hf(prompt)
    eos = world.tokenizer.eos_token_id
    kept = ids[: ids.index(eos)] if eos in ids else ids
    text = world.tokenizer.decode(kept, skip_special_tokens=True).removeprefix(" ")
    return text, len(kept), eos not in ids


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_greedy_is_what_transformers_gives_in_any_batch(world, batch_size):
    found = world.ask(batch_size=batch_size)
    assert [(c.text, c.n_tokens, c.truncated) for c in found] == [
        expected(world, prompt) for prompt in PROMPTS
    ]


def test_absolute_positions_do_not_count_padding(tmp_path):
    """Rotary models would not notice: only distances matter to them."""
    other = World(make_tiny_gpt2(tmp_path / "m"))
    found = other.ask(batch_size=100)
    assert [c.text for c in found] == [expected(other, prompt)[0] for prompt in PROMPTS]
    assert len({c.text for c in found}) > 3


def test_the_cases_that_matter_occur(world):
    """Else the test above would compare little: some end early, at different steps, some do not."""
    found = [expected(world, prompt) for prompt in PROMPTS]
    assert len({text for text, _, _ in found}) == len(PROMPTS)
    assert {cut for _, _, cut in found} == {True, False}
    assert len({n for _, n, _ in found}) >= 3


def test_an_end_at_the_very_limit_is_no_truncation(world):
    text, n, _ = next(e for e in (expected(world, p) for p in PROMPTS) if not e[2])
    prompt = next(p for p in PROMPTS if expected(world, p)[0] == text)
    (exact,) = world.ask([prompt], Decoding(max_new_tokens=n + 1))
    assert (exact.text, exact.truncated) == (text, False)
    (short,) = world.ask([prompt], Decoding(max_new_tokens=n))
    assert (short.text, short.truncated) == (text, True)


def test_a_stop_string_ends_a_response_and_is_cut_off(world):
    text, n, _ = max((expected(world, p) for p in PROMPTS), key=lambda e: len(e[0].encode()))
    prompt = next(p for p in PROMPTS if expected(world, p)[0] == text)
    at = next(i for i in range(4, len(text) - 2) if text[i : i + 2].isascii())
    stop = text[at : at + 2]
    (stopped,) = world.ask([prompt], stop=("\x00never", stop))
    assert stopped.text == text[: text.index(stop)]
    assert not stopped.truncated
    assert stopped.n_tokens < n


def test_sampling_depends_on_the_seed_but_not_on_the_batch(world):
    one = world.ask(decoding=SAMPLE, seed=5, batch_size=1)
    assert world.ask(decoding=SAMPLE, seed=5, batch_size=4) == one
    assert world.ask(decoding=SAMPLE, seed=6) != one
    same = world.ask(["One"] * 4, SAMPLE, seed=5)
    assert len({c.text for c in same}) > 1


def test_sampling_follows_the_models_probabilities(world):
    ids = torch.tensor([world.template.prompt_ids("One")])
    with torch.no_grad():
        wanted = world.model(input_ids=ids).logits[0, -1].softmax(-1)
    n = 400
    found = world.ask(
        ["One"] * n, Decoding(strategy="sample", max_new_tokens=1), seed=0, batch_size=n
    )
    letters = [t for t in range(256) if world.tokenizer.decode([t]).isalnum()]
    likeliest = max(letters, key=lambda token: wanted[token])
    seen = sum(c.text == world.tokenizer.decode([likeliest]) for c in found)
    p = float(wanted[likeliest])
    assert 0.02 < p < 0.98
    assert abs(seen - n * p) < 4 * (n * p * (1 - p)) ** 0.5


def test_an_adapter_takes_part(world):
    plain = world.ask()
    model = prepare_for_training(load_base(world.ref, dtype="float32"), LoraRecipe(r=4), seed=0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.2)
    adapted = World(world.ref.path)
    adapted.model = model
    found = adapted.ask()
    assert found != plain
    assert [c.n_tokens for c in found] == [expected(adapted, p)[1] for p in PROMPTS]


def test_progress_and_modes(world):
    seen = []
    world.model.train()
    state = torch.random.get_rng_state()
    world.ask(decoding=SAMPLE, seed=1, on_progress=lambda done, of: seen.append((done, of)))
    assert seen == [(4, 6), (6, 6)]
    assert world.model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    world.model.eval()


def test_what_cannot_be_decoded_is_said(world):
    with pytest.raises(StageError, match="does not fit"):
        world.ask(["x" * 250])
    with pytest.raises(StageError, match="no tokens"):
        world.ask([""])
    with pytest.raises(StageError, match="seed"):
        world.ask(decoding=SAMPLE)
    assert world.ask([]) == []
