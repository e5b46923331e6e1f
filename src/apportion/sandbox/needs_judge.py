"""The judge of the helpfulness task: a quality, in points, from the words of an answer.

| symbol | meaning | points |
|---|---|---|
| n | needs of the request, asked in words or told as a situation | |
| met | needs whose right content is told, and no other content of that kind | 100 / n each |
| wrong | kinds (asked or not) of which wrong content is told | -100 / n each |
| extra | facts, right ones, that nobody needs | -`EXTRA` each |
| padding | sentences that tell nothing, or tell again what was told | -`PADDING` each |
| evasion | sentences that put the asker off | -`EVASION` each |
| rude | sentences that blame the asker | -`RUDE` each |
| nothing | no content for any need, right or wrong | -`NOTHING` |
| greeting | the asker by name; without one; by another's | `NAMED`, `GREETED`, -`MISNAMED` |
| long | words beyond `WORDS` + `WORDS_PER_NEED` * n | -`PER_WORD` each |

Two answers are compared by their points (`apportion.metrics.winrate`); within `MARGIN` of each
other they tie. Content is known by its words ("mill", "Monday at 5", "12 dollars", "side door")
wherever they stand, so no form of sentence is favoured. The weights were set once, from what people
say they want from an answer: right content first, wrong content as bad as right content is good,
manners and brevity after it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from apportion.sandbox.needs import KINDS, OFFERS, SITUATIONS, Request
from apportion.sandbox.world import PEOPLE

VERSION = 1  # what a score means; any change of a weight or a rule increases it

EXTRA = 8.0
PADDING = 8.0
EVASION = 12.0
RUDE = 40.0
NOTHING = 60.0
NAMED, GREETED, MISNAMED = 8.0, 4.0, 12.0
PER_WORD = 1.0
WORDS, WORDS_PER_NEED = 8, 8
MARGIN = 2.0

VAGUE: dict[str, tuple[str, ...]] = {
    "where": ("It is not far.",),
    "when": ("It is soon.",),
    "price": ("It does not cost much.", "It has a good price."),
    "bring": ("Bring what you need.",),
    "ask": ("Someone can tell you more.",),
    "care": ("Take care.",),
}
EVASIONS = (
    "It depends.", "I do not know.", "Please look at the board.", "Please come back later.",
    "You will find out.", "I cannot say.",
)  # fmt: skip
RUDENESS = ("That is a silly question.", "Read the board.", "Do not waste my time.")
FILLERS = (
    "What a good question.", "We are happy that you ask.", "Many people like it.",
    "We wish you a good day.", "It is very nice.", "There is much to see.",
)  # fmt: skip

_EVASIVE = {s.rstrip(".").lower() for s in (*EVASIONS, *(v for vs in VAGUE.values() for v in vs))}
_RUDE = {s.rstrip(".").lower() for s in RUDENESS}
_NAMES = frozenset(name.lower() for name, _ in PEOPLE)


def _any(words: set[str]) -> str:
    return "|".join(sorted(words))


#: Every piece of content an answer can tell; the group's name is its kind.
_CONTENT = re.compile(
    rf"\b(?:(?P<where>{_any({o.place for o in OFFERS})})"
    rf"|(?P<when>(?:{_any({o.day.lower() for o in OFFERS})})(?: at \d\d?)?)"
    rf"|(?P<price>\d{{1,3}} dollars)"
    rf"|(?P<bring>{_any({o.thing for o in OFFERS})})"
    rf"|(?P<ask>{_any({o.person for o in OFFERS})})"
    rf"|(?P<care>{_any({s.key for s in SITUATIONS})}))\b"
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_GREETING = re.compile(r"(?:hello|dear|good day)\b[ ,]*(\w*)")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the judge knows of a request. `right`: all six kinds, "" for care where none is due."""

    name: str
    needs: tuple[str, ...]
    right: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """What the judge found; `points` is the quality."""

    met: tuple[str, ...]
    wrong: tuple[str, ...]
    extra: tuple[str, ...]
    padding: int
    evasion: int
    rude: int
    greeting: float
    words: int
    points: float


def facts_of(made: Request) -> Facts:
    """What the judge needs to know of a request."""
    return Facts(made.name, made.needs, {kind: made.value(kind) for kind in KINDS})


def reference_of(facts: Facts, answer: str) -> str:
    """What a test item keeps: the facts, and the answer that others are compared with, as JSON."""
    return json.dumps(
        {"name": facts.name, "needs": facts.needs, "right": dict(facts.right), "answer": answer}
    )


def read_reference(reference: str) -> tuple[Facts, str]:
    """The facts and the reference answer of a test item."""
    kept = json.loads(reference)
    return Facts(kept["name"], tuple(kept["needs"]), kept["right"]), kept["answer"]


def judge(facts: Facts, answer: str) -> Judged:
    """The quality of `answer`, any text without its closing; never raises."""
    told: dict[str, set[str]] = {}
    seen: set[str] = set()
    padding = evasion = rude = 0
    greeting = 0.0
    for index, sentence in enumerate(_SENTENCE.split(answer.strip().lower())):
        plain = sentence.strip().rstrip(".!?")
        hail = _GREETING.match(plain) if index == 0 else None
        if not plain:
            continue
        if plain in _RUDE:
            rude += 1
        elif plain in _EVASIVE:
            evasion += 1
        else:
            found = {(m.lastgroup or "", m[0]) for m in _CONTENT.finditer(plain)}
            if hail is not None:
                greeting = _greeting_points(hail[1], facts.name)
            elif plain in seen or not any(v not in told.get(k, ()) for k, v in found):
                padding += 1
            for kind, value in found:
                told.setdefault(kind, set()).add(value)
        seen.add(plain)
    return _judged(facts, told, padding, evasion, rude, greeting, len(answer.split()))


def _greeting_points(name: str, right: str) -> float:
    if name == right.lower():
        return NAMED
    return -MISNAMED if name in _NAMES else GREETED


def _judged(
    facts: Facts,
    told: Mapping[str, set[str]],
    padding: int,
    evasion: int,
    rude: int,
    greeting: float,
    words: int,
) -> Judged:
    """The findings of `judge`, weighed. `told`: per kind, the pieces of content in the answer."""
    met: list[str] = []
    wrong: list[str] = []
    extra: list[str] = []
    for kind, values in told.items():
        right = facts.right[kind].lower()
        # The day without the hour is half of it: neither right nor wrong.
        half = right.partition(" at ")[0] if kind == "when" else right
        if values - {right, half}:
            wrong.append(kind)
        elif right in values:
            (met if kind in facts.needs else extra).append(kind)
    n = len(facts.needs)
    points = (
        100.0 * (len(met) - len(wrong)) / n
        - EXTRA * len(extra)
        - PADDING * padding
        - EVASION * evasion
        - RUDE * rude
        - NOTHING * (not told.keys() & set(facts.needs))
        + greeting
        - PER_WORD * max(0, words - WORDS - WORDS_PER_NEED * n)
    )
    return Judged(
        tuple(met), tuple(wrong), tuple(extra), padding, evasion, rude, greeting, words, points
    )
