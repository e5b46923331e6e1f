"""Where a response ends, and what its text is: the same for every engine.

A response ends with one of the template's ending tokens, with a stop string (cut off the text), or
with the limit of new tokens (`truncated`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apportion.models.template import Template


@dataclass(frozen=True)
class Completion:
    """One response. `n_tokens`: what was generated, the ending token not counted;
    `truncated`: it was ended by the limit of new tokens alone."""

    text: str
    n_tokens: int
    truncated: bool


def ending_ids(generation_config: Any, template: Template) -> frozenset[int]:
    """The template's ending ids, and those of the model's own generation config."""
    own = getattr(generation_config, "eos_token_id", None)
    return template.stop_ids.union([] if own is None else own if isinstance(own, list) else [own])


class Ending:
    """Says whether a response has ended, and what its text is."""

    def __init__(
        self, tokenizer: Any, template: Template, ids: frozenset[int], stop: Sequence[str]
    ) -> None:
        """`ids`: tokens that end a response; `stop`: texts that do."""
        self.ids = ids
        self.stop = tuple(stop)
        self._tokenizer = tokenizer
        self._template = template
        self._last = {text[-1] for text in stop}
        self._may_complete: dict[int, bool] = {}

    def reached(self, response: list[int]) -> bool:
        """Whether the response ends with its last token."""
        token = response[-1]
        return token in self.ids or (self._could_stop(token) and self._cut(response) is not None)

    def first(self, response: list[int]) -> list[int]:
        """The response up to its first ending, which is kept; all of it where it has none."""
        ends = (n for n in range(1, len(response) + 1) if self.reached(response[:n]))
        return response[: next(ends, len(response))]

    def completion(self, response: list[int]) -> Completion:
        """The response as text, without what ended it."""
        ended = bool(response) and response[-1] in self.ids
        kept = response[:-1] if ended else response
        cut = self._cut(kept)
        text = self._decoded(kept) if cut is None else cut
        return Completion(
            text=self._template.response_text(text),
            n_tokens=len(kept),
            truncated=not ended and cut is None,
        )

    def _could_stop(self, token: int) -> bool:
        """Whether a stop string may end with this token: cheap, so that few texts are decoded.

        A token that is part of a character only (U+FFFD) may complete any.
        """
        if token not in self._may_complete:
            text = self._decoded([token])
            self._may_complete[token] = "\ufffd" in text or any(c in text for c in self._last)
        return self._may_complete[token]

    def _cut(self, response: list[int]) -> str | None:
        """The text before the first stop string, or None where there is none."""
        text = self._decoded(response)
        at = [place for place in (text.find(stop) for stop in self.stop) if place >= 0]
        return text[: min(at)] if at else None

    def _decoded(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text
