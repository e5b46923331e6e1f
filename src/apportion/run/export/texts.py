"""A cell's examples as text for TRL, and the check that TRL makes the same tokens of them.

The template is written out, so the text is what the model reads: TRL tokenises prompt and
completion as one text and looks where they part, our `Template` tokenises them apart. For nearly
every tokenizer that is the same; `differing` counts the examples for which it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from apportion.data.records import Demonstration, Example, Item, Label, Pair
from apportion.models.template import Template


@dataclass(frozen=True)
class Frame:
    """What stands around prompts and responses once the template is written out.

    `end`: the token that ends a response, the tokenizer's end-of-text for TRL.
    """

    template: Template
    tokenizer: Any
    end: str

    @classmethod
    def of(cls, template: Template, tokenizer: Any) -> Frame:
        """The frame of `template`; its end is the last token of every response."""
        last = template.response_ids("a")[-1]
        return cls(template, tokenizer, str(tokenizer.convert_ids_to_tokens(last)))

    def prompt(self, example: Example) -> str:
        """The text a model is asked with, without what the tokenizer puts in front by itself."""
        return self.template.prompt_text(example.prompt, example.context)

    def completion(self, response: str) -> str:
        """The text of a response, without the token that ends it: TRL adds that."""
        return self.template.completion_text(response)

    def same_tokens(self, example: Example, response: str) -> bool:
        """Whether TRL makes the template's tokens of this example, and parts them at its place."""
        asked = self._ids(self.prompt(example))
        whole = self._ids(self.prompt(example) + self.completion(response) + self.end)
        ours = self.template.prompt_ids(example.prompt, example.context)
        return asked == ours and whole == [*ours, *self.template.response_ids(response)]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text=text)["input_ids"]
        return ids


@dataclass(frozen=True)
class Texts:
    """Rows of the data files, and how many training examples TRL tokenises differently."""

    sft: list[dict[str, str]]
    preference: list[dict[str, Any]]
    test: list[dict[str, str]]
    differing: int


def texts(
    frame: Frame,
    demonstrations: Sequence[Demonstration],
    units: Sequence[Pair] | Sequence[Label],
    items: Iterable[Item],
) -> Texts:
    """The rows of a cell's files, in the order of what is given."""
    both: list[tuple[Example, tuple[str, ...]]] = [(d, (d.response,)) for d in demonstrations]
    both += [(u, _responses(u)) for u in units]
    return Texts(
        sft=[
            {"prompt": frame.prompt(d), "completion": frame.completion(d.response)}
            for d in demonstrations
        ],
        preference=[_unit(frame, u) for u in units],
        test=[
            {"item_id": i.item_id, "prompt": frame.prompt(i), "reference": i.reference}
            for i in items
        ],
        differing=sum(
            not all(frame.same_tokens(example, response) for response in responses)
            for example, responses in both
        ),
    )


def _responses(unit: Pair | Label) -> tuple[str, ...]:
    return (unit.response,) if isinstance(unit, Label) else (unit.chosen, unit.rejected)


def _unit(frame: Frame, unit: Pair | Label) -> dict[str, Any]:
    """A row in TRL's preference format, or in its unpaired one."""
    row: dict[str, Any] = {"prompt": frame.prompt(unit)}
    if isinstance(unit, Label):
        return row | {"completion": frame.completion(unit.response), "label": unit.desirable}
    return row | {
        "chosen": frame.completion(unit.chosen),
        "rejected": frame.completion(unit.rejected),
    }
