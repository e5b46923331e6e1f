"""How a prompt and a response become token ids: the same way in training and in generation.

Prompt and response are tokenised apart and joined as ids, so that no token spans both and a model
is asked with exactly the ids it was trained on. A tokenizer's own chat template is used where it
has one; else the template named ``plain``: the prompt, a space, the response, end-of-text.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date
from typing import Any

from apportion.data.records import Context
from apportion.errors import ModelError
from apportion.models.resolve import (
    ModelRef,
    chat_template_source,
    hub_commit,
    tokenizer_digest,
)

VERSION = 1
_TODAY = date(2024, 7, 26)  # some templates write today's date: a run must not depend on it
_CLOCK = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")
_MARK = "apportionresponse"  # stands for the response where a chat template is rendered


def load_tokenizer(ref: ModelRef) -> Any:
    """The tokenizer of `ref`, with an id to pad with (never used to tell what the loss is on).

    Raises ModelError where it cannot be loaded, has no end-of-text token, or has more tokens than
    the model has embeddings.
    """
    from transformers import AutoConfig, AutoTokenizer

    where = {"revision": hub_commit(ref)} if ref.kind == "hub" else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(ref.path, trust_remote_code=False, **where)
        config = AutoConfig.from_pretrained(ref.path, trust_remote_code=False, **where)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"the tokenizer of {ref.name!r} cannot be loaded: {error}",
            field="models",
            mend="check the files; models that need code of their own are not supported.",
        ) from error
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of {ref.name!r} has no end-of-text token.",
            field="models",
            mend="set `eos_token` in its tokenizer_config.json.",
        )
    rows = config.get_text_config().vocab_size
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer of {ref.name!r} has {len(tokenizer)} tokens, its model only {rows} "
            "embeddings.",
            field="models",
            mend="use the tokenizer that belongs to the model, or resize the embeddings.",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def template_name_digest(ref: ModelRef) -> tuple[str, str]:
    """The template's name and digest, without loading the tokenizer.

    The digest covers the chat template's text, the tokenizer's files and this module's version.
    """
    source = chat_template_source(ref)
    content = [VERSION, source, tokenizer_digest(ref)]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return ("plain" if source is None else "chat"), digest


class Template:
    """Turns text into ids. `stop_ids`: the ids that end a response."""

    def __init__(self, tokenizer: Any, name: str, digest: str) -> None:
        self.name = name
        self.digest = digest
        self._tokenizer = tokenizer
        # Ids that the tokenizer puts in front by default (beginning-of-text, or nothing).
        bare = self._encode("a")
        whole = tokenizer.encode("a", add_special_tokens=True)
        at = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
        self._front: list[int] = whole[:at]
        # SentencePiece puts a space before any text: an anchor keeps it off the response.
        first = tokenizer.convert_ids_to_tokens(bare[:1])[0]
        self._anchor = "\n" if first.startswith("\u2581") else ""
        self._before, self._end = " ", [tokenizer.eos_token_id]
        if name == "chat":
            self._chat = _without_clock(tokenizer.chat_template)
            self._before, self._end = self._chat_frame()
        self.stop_ids: frozenset[int] = frozenset({tokenizer.eos_token_id, self._end[-1]})

    def prompt_ids(self, prompt: str, context: Context = ()) -> list[int]:
        """The ids a model is asked with: everything up to where its response begins.

        `context`: turns before the prompt. The plain template writes their texts with an empty line
        between two; a chat template that refuses them (no system role, say) is a ModelError.
        """
        if self.name == "chat":
            return self._encode(self._render(prompt, context=context))
        return self._front + self._encode(_joined(prompt, context))

    def response_ids(self, response: str) -> list[int]:
        """The ids of a response, the last of which ends it."""
        return self._continue(self._before + response) + self._end

    def response_text(self, decoded: str) -> str:
        """What was generated, without what the template puts before every response."""
        return decoded.removeprefix(self._before)

    @property
    def before_response(self) -> str:
        """The text that the template puts before every response."""
        return self._before

    def prompt_text(self, prompt: str, context: Context = ()) -> str:
        """The text of `prompt_ids`, without what the tokenizer puts in front by itself."""
        if self.name == "chat":
            text = self._render(prompt, context=context)
            return text.removeprefix(self._tokenizer.decode(self._front))
        return _joined(prompt, context)

    def completion_text(self, response: str) -> str:
        """The text of `response_ids`, without the token that ends it."""
        return self._before + response + str(self._tokenizer.decode(self._end[:-1]))

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _continue(self, text: str) -> list[int]:
        """The ids of text that does not stand at the beginning."""
        return self._encode(self._anchor + text)[len(self._encode(self._anchor)) :]

    def _render(self, prompt: str, response: str | None = None, context: Context = ()) -> str:
        messages = [{"role": role, "content": text} for role, text in context]
        messages.append({"role": "user", "content": prompt})
        if response is not None:
            messages.append({"role": "assistant", "content": response})
        from jinja2 import TemplateError

        try:
            text = self._tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=response is None,
                chat_template=self._chat,
            )
        except TemplateError as error:
            turns = ", ".join(message["role"] for message in messages)
            raise ModelError(
                f"the tokenizer's chat template refuses the turns {turns}: {error}",
                field="models",
                mend="remove the system prompt or the earlier turns, or mend the chat template.",
            ) from error
        return str(text)

    def _chat_frame(self) -> tuple[str, list[int]]:
        """The text the chat template puts before a response, and the ids that end it.

        Those are all ids up to the first special one behind the response (end of turn), so that
        what a model learns to end with is what stops it.
        """
        asked, whole = self._render("a"), self._render("a", _MARK)
        before, found, after = whole.removeprefix(asked).partition(_MARK)
        if not whole.startswith(asked) or not found:
            raise ModelError(
                "the tokenizer's chat template does not write a response behind its generation "
                "prompt.",
                field="models",
                mend="mend the chat template, or remove it to use the plain one.",
            )
        special = {*self._tokenizer.all_special_ids, *self._tokenizer.added_tokens_decoder}
        ids = self._continue(after) if after else []
        last = next((i for i, token in enumerate(ids) if token in special), None)
        return before, ([self._tokenizer.eos_token_id] if last is None else ids[: last + 1])


def _without_clock(chat_template: str) -> str:
    """The chat template with a fixed date where it asks for today's. ModelError where it cannot."""
    fixed = _CLOCK.sub(lambda call: repr(_TODAY.strftime(call[2])), chat_template)
    if "strftime_now(" in fixed:
        raise ModelError(
            "the tokenizer's chat template reads the clock, so no run could be repeated.",
            field="models",
            mend="write a fixed date into the chat template.",
        )
    return fixed


def make_template(ref: ModelRef, tokenizer: Any) -> Template:
    """The template of `ref`: its chat template, or ``plain``. ModelError for an unusable one."""
    name, digest = template_name_digest(ref)
    if name == "chat" and not tokenizer.chat_template:
        raise ModelError(
            f"the chat template of {ref.name!r} was not loaded with its tokenizer.", field="models"
        )
    return Template(tokenizer, name, digest)


def _joined(prompt: str, context: Context) -> str:
    return "\n\n".join([*(text for _, text in context), prompt])
