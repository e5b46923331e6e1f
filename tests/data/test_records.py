"""Digests name content: they must never move, or every store would be run anew."""

from __future__ import annotations

from dataclasses import replace

import pytest

from apportion.data.records import (
    Demonstration,
    Example,
    Item,
    Label,
    Pair,
    labels_of,
    ordered_digest,
)

# Computed by the version that had no contexts.
FROZEN: dict[Example, str] = {
    Demonstration("Grüß?", "Yes.\n"):
        "015b7efb9334d75566219de383f4048b99be2c0e0bfee26f5328f235939b3547",
    Pair("p", "a", "b"): "0271aee0e2dd4b4c4b27ec017f652ecd9e0db7ba18c89d062c400a3ab2dd5eb7",
    Label("p", "a", True): "f45aa37ca696e39ea1a6baedb1ced49a51fcf9bbaf244b466262ed37ac5e86ca",
    Item("7", "p", "#### 1"): "34b35b3ca3739d801f8811d95f81440348dbade902ba87710355fa8be251d08f",
}  # fmt: skip


@pytest.mark.parametrize("example", FROZEN, ids=lambda example: type(example).__name__)
def test_digests_do_not_move(example: Example) -> None:
    assert ordered_digest([example]) == FROZEN[example]


@pytest.mark.parametrize("example", FROZEN, ids=lambda example: type(example).__name__)
def test_a_context_is_content(example: Example) -> None:
    with_system = replace(example, context=(("system", "Be brief."),))
    other = replace(example, context=(("user", "Be brief."),))
    assert len({ordered_digest([e]) for e in (example, with_system, other)}) == 3


def test_labels_of_pairs_keep_the_context() -> None:
    pairs = [Pair("p", "a", "b", (("system", "s"),)), Pair("q", "c", "d")]
    assert labels_of(pairs) == [
        Label("p", "a", True, (("system", "s"),)),
        Label("q", "d", False),
    ]
