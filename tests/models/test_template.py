from __future__ import annotations

import pytest

from apportion.errors import ModelError
from apportion.models.resolve import resolve_model
from apportion.models.template import load_tokenizer, make_template, template_name_digest
from tiny import make_tiny_model

CHAT = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}<eos>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def loaded(tmp_path, **how):
    ref = resolve_model(str(make_tiny_model(tmp_path / "m", **how)))
    tokenizer = load_tokenizer(ref)
    return tokenizer, make_template(ref, tokenizer), ref


def test_plain_joins_with_one_space_and_ends_with_end_of_text(tmp_path):
    tokenizer, template, _ = loaded(tmp_path)
    assert template.name == "plain"
    ids = template.prompt_ids("Why?") + template.response_ids("So.")
    assert tokenizer.decode(ids) == "Why? So.<eos>"
    assert ids[-1] == tokenizer.eos_token_id
    assert template.stop_ids == {tokenizer.eos_token_id}


def test_plain_takes_its_space_off_what_was_generated(tmp_path):
    _, template, _ = loaded(tmp_path)
    assert template.response_text(" So.") == "So."
    assert template.response_text("  So.") == " So."


def test_a_chat_template_is_used_where_there_is_one(tmp_path):
    tokenizer, template, _ = loaded(tmp_path, chat_template=CHAT)
    assert template.name == "chat"
    assert tokenizer.decode(template.prompt_ids("Why?")) == "[user]Why?[assistant]"
    # what follows the end of turn is no part of the response: nothing could stop behind it
    assert tokenizer.decode(template.response_ids("So.")) == "So.<eos>"
    assert template.response_text(" So.") == " So."


def test_a_chat_template_that_ends_nothing_gets_end_of_text(tmp_path):
    bare = CHAT.replace("<eos>\n", "")
    tokenizer, template, _ = loaded(tmp_path, chat_template=bare)
    assert tokenizer.decode(template.response_ids("So.")) == "So.<eos>"


def test_a_chat_template_cannot_read_the_clock(tmp_path):
    dated = "{{ strftime_now('%Y-%m-%d') }}" + CHAT
    tokenizer, template, _ = loaded(tmp_path, chat_template=dated)
    assert tokenizer.decode(template.prompt_ids("Why?")).startswith("2024-07-26[user]")


def test_an_unusable_chat_template_is_refused(tmp_path):
    with pytest.raises(ModelError, match="clock"):
        loaded(tmp_path / "a", chat_template="{{ strftime_now(messages[0]) }}" + CHAT)
    with pytest.raises(ModelError, match="generation prompt"):
        loaded(tmp_path, chat_template="{{ messages[0]['content'] }}")


def test_no_pad_token_leaves_end_of_text_in_the_response(tmp_path):
    tokenizer, template, _ = loaded(tmp_path, pad=False)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert template.response_ids("So.")[-1] == tokenizer.eos_token_id


def test_the_digest_is_had_without_loading_and_follows_the_chat_template(tmp_path):
    _, plain, ref = loaded(tmp_path / "a")
    assert template_name_digest(ref) == ("plain", plain.digest)
    _, chat, ref = loaded(tmp_path / "b", chat_template=CHAT)
    assert template_name_digest(ref) == ("chat", chat.digest)
    _, other, _ = loaded(tmp_path / "c", chat_template="{# another #}" + CHAT)
    assert len({plain.digest, chat.digest, other.digest}) == 3


def test_beginning_of_text_is_put_in_front_where_the_tokenizer_does(tmp_path):
    from tokenizers.processors import TemplateProcessing

    tokenizer, _, ref = loaded(tmp_path)
    eos = tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<eos> $A <eos>", special_tokens=[("<eos>", eos)]
    )
    template = make_template(ref, tokenizer)
    assert tokenizer.decode(template.prompt_ids("Why?")) == "<eos>Why?"
    assert tokenizer.decode(template.response_ids("So.")) == " So.<eos>"


def test_a_tokenizer_that_writes_a_space_first_gives_the_same_text(tmp_path):
    """SentencePiece style: a space is put before any text, so none must be doubled."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ref = resolve_model(str(make_tiny_model(tmp_path / "m")))
    tokens = ["<unk>", "\u2581", "a", "b", "\n", "\u2581a"]
    bpe = Tokenizer(
        models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[("\u2581", "a")])
    )
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    bpe.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<eos>")
    template = make_template(ref, tokenizer)
    assert tokenizer.convert_ids_to_tokens(template.prompt_ids("ab")) == ["\u2581a", "b"]
    assert tokenizer.convert_ids_to_tokens(template.response_ids("a")) == ["\u2581a", "<eos>"]


CONTEXT = (("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"))


def test_a_context_stands_before_the_prompt(tmp_path):
    tokenizer, template, _ = loaded(tmp_path)
    asked = tokenizer.decode(template.prompt_ids("Why?", CONTEXT))
    assert asked == "Be brief.\n\nHi\n\nHello\n\nWhy?"
    assert template.prompt_ids("Why?", ()) == template.prompt_ids("Why?")


def test_a_chat_template_renders_the_context_as_turns(tmp_path):
    roles = (
        "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}<eos>\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    tokenizer, template, _ = loaded(tmp_path, chat_template=roles)
    assert tokenizer.decode(template.prompt_ids("Why?", CONTEXT)) == (
        "[system] Be brief.<eos>\n[user] Hi<eos>\n[assistant] Hello<eos>\n"
        "[user] Why?<eos>\n[assistant]"
    )


def test_a_chat_template_that_refuses_a_system_prompt_is_the_users_mistake(tmp_path):
    strict = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        + CHAT
    )
    _, template, _ = loaded(tmp_path, chat_template=strict)
    with pytest.raises(ModelError, match=r"refuses the turns system.*no system role"):
        template.prompt_ids("Why?", CONTEXT)
