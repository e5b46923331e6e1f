"""Posts made of facts, summaries of them, and the judge that says which of two is better.

A post tells `SIZE` facts, one sentence each: what it is about, what its writer wants, some of
`OPTIONAL` (all of these matter), and fillers, which do not. A fact is a kind with one value, and
no value belongs to two kinds. A summary tells facts in fewer words.

| symbol | meaning | worth |
|---|---|---|
| c_k | 1 where the summary tells the post's fact of the salient kind k | `KINDS[k].weight` |
| i | claims of the summary that the post does not make | `INVENTED` each |
| f | filler facts of the post that the summary repeats | `FILLER` each |
| n | words of the summary | `WORD` each |

    u = Σ weight_k · c_k + INVENTED · i + FILLER · f + WORD · n

A sentence the grammar does not know claims nothing, but its words count. The judge reads the
sentences of posts and those of summaries, in any case and whatever the punctuation in them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from apportion.sandbox.world import COLOURS, PEOPLE, PLACES, THINGS, pick, weighted


class Kind(NamedTuple):
    """A kind of fact: what it can be, and how it is said; `{}` is the value."""

    weight: float  # what covering it is worth; 0: a filler
    values: tuple[str, ...]
    said: tuple[str, ...]  # in posts
    short: str  # in summaries


#: In the order in which summaries tell them. The wish weighs most: it is why the post was written.
KINDS: dict[str, Kind] = {
    "topic": Kind(
        0.3,
        ("trip", "party", "dinner", "wedding", "concert", "meeting", "lesson", "race"),
        ("I have to tell you about a {}.", "This is all about a {}."),
        "About a {}.",
    ),
    "who": Kind(
        1.0,
        tuple(name for name, _ in PEOPLE),
        ("I was there with my friend {}.", "My good friend {} was with me."),
        "{} was there.",
    ),
    "thing": Kind(
        1.0,
        THINGS,
        ("Someone took all of my {} away.", "I can not find my {} now."),
        "My {} are gone.",
    ),
    "place": Kind(
        1.0,
        PLACES,
        ("All of us met at the {}.", "We were near the {} then."),
        "It was at the {}.",
    ),
    "day": Kind(
        1.0,
        ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
        ("It all began on {} morning.", "That day was a {}."),
        "It was on {}.",
    ),
    "feeling": Kind(
        1.0,
        ("angry", "sad", "tired", "afraid", "proud", "jealous", "bored", "worried"),
        ("It makes me feel very {}.", "Now I feel {} about it."),
        "I am {}.",
    ),
    "wish": Kind(
        1.5,
        ("leave", "stay", "call", "pay", "move", "wait", "write", "return"),
        ("Do you think I should {}?", "Maybe I just want to {} now."),
        "I want to {}.",
    ),
    "weather": Kind(
        0.0,
        ("rain", "snow", "wind", "fog", "sun", "frost"),
        ("There was {} all day long.", "We had {} in the morning."),
        "There was {}.",
    ),
    "food": Kind(
        0.0,
        ("soup", "bread", "rice", "fish", "cake", "cheese"),
        ("Before that I ate some {}.", "They gave us {} to eat."),
        "I ate {}.",
    ),
    "hat": Kind(
        0.0,
        COLOURS,
        ("I wore my old {} hat.", "My hat that day was {}."),
        "My hat was {}.",
    ),
    "music": Kind(
        0.0,
        ("piano", "guitar", "violin", "flute", "drum", "radio"),
        ("Someone played the {} very well.", "We could hear a {} there."),
        "We heard a {}.",
    ),
}
SALIENT = tuple(name for name, kind in KINDS.items() if kind.weight > 0)
FILLERS = tuple(name for name, kind in KINDS.items() if kind.weight == 0)
OPTIONAL = tuple(name for name in SALIENT if name not in ("topic", "wish"))

SIZE = 6  # facts of a post
#: How many of `OPTIONAL` a post tells: which facts there are to tell has to be read, not assumed.
SALIENT_EXTRAS: dict[int, float] = {2: 0.3, 3: 0.7}

JUDGE_VERSION = 1  # what `utility` means; any change of what it gives increases it

INVENTED = -2.0  # far worse than leaving a fact out: a summary must be true
FILLER = -0.8
WORD = -0.07

WORDY = "As I said,"  # words before a sentence that say nothing
_WORDY = tuple(re.findall(r"\w+", WORDY.casefold()))

Form = Literal["short", "said", "wordy"]


class Claim(NamedTuple):
    """One fact as a summary tells it."""

    kind: str
    value: str
    form: Form = "short"


@dataclass(frozen=True, slots=True)
class Post:
    """A post: its words, and the value of each kind of fact in it, in the order of `KINDS`."""

    text: str
    facts: dict[str, str]

    @property
    def salient(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.facts if kind in SALIENT)

    @property
    def fillers(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.facts if kind in FILLERS)


def post(rng: random.Random) -> Post:
    """A post. It opens with what it is about; the other facts are in any order."""
    extras = weighted(rng, SALIENT_EXTRAS)
    told = {"topic", "wish", *some(rng, OPTIONAL, extras)}
    told.update(some(rng, FILLERS, SIZE - len(told)))
    facts = {kind: pick(rng, KINDS[kind].values) for kind in KINDS if kind in told}
    order = ["topic", *some(rng, tuple(facts)[1:], SIZE - 1)]
    text = " ".join(pick(rng, KINDS[kind].said).format(facts[kind]) for kind in order)
    return Post(text, facts)


def some(rng: random.Random, choices: Sequence[str], n: int) -> list[str]:
    """`n` different ones of `choices`, in any order."""
    left = list(choices)
    return [left.pop(int(rng.random() * len(left))) for _ in range(n)]


def other(rng: random.Random, kind: str, value: str | None) -> str:
    """A value of `kind` that is not `value`."""
    return pick(rng, [v for v in KINDS[kind].values if v != value])


def render(claims: Iterable[Claim]) -> str:
    """The sentences of a summary."""
    return " ".join(map(_sentence, claims))


def _sentence(claim: Claim) -> str:
    kind = KINDS[claim.kind]
    sentence = (kind.said[0] if claim.form == "said" else kind.short).format(claim.value)
    if claim.form != "wordy":
        return sentence
    first = sentence.partition(" ")[0]
    keeps = first in ("I", claim.value)  # capital inside a sentence too
    return f"{WORDY} {sentence if keeps else sentence[0].lower() + sentence[1:]}"


# -- reading ------------------------------------------------------------------------------------

_WORDS = re.compile(r"\w+")
_ENDS = re.compile(r"[.?!;\n]+")


def _forms() -> dict[tuple[str, ...], str]:
    """The kind that a sentence tells, by its words with `{}` for the value."""
    found: dict[tuple[str, ...], str] = {}
    for name, kind in KINDS.items():
        for form in (*kind.said, kind.short):
            words = form.replace("{}", "SLOT").casefold()
            key = tuple("{}" if w == "slot" else w for w in _WORDS.findall(words))
            assert key not in found, form  # noqa: S101 - a sentence means one thing
            found[key] = name
    return found


_FORMS = _forms()


def claims_of(text: str) -> list[tuple[str, str]]:
    """(kind, value in lower case) of each sentence that the grammar knows, in order.

    The value is the word that stands where a value stands, whether or not the kind has it.
    """
    found = []
    for sentence in _ENDS.split(text.casefold()):
        words = tuple(_WORDS.findall(sentence))
        if words[: len(_WORDY)] == _WORDY:
            words = words[len(_WORDY) :]
        for at, word in enumerate(words):
            kind = _FORMS.get((*words[:at], "{}", *words[at + 1 :]))
            if kind is not None:
                found.append((kind, word))
                break
    return found


def read(text: str) -> dict[str, str]:
    """The facts of a post from its words alone, as `Post.facts` but in lower case."""
    told = dict(claims_of(text))
    return {kind: told[kind] for kind in KINDS if kind in told}


def utility(text: str, facts: dict[str, str]) -> float:
    """u of the module's table for the summary `text` of a post with `facts` (`read` or `post`)."""
    truth = {kind: value.casefold() for kind, value in facts.items()}
    claims = set(claims_of(text))
    true = {kind for kind, value in claims if truth.get(kind) == value}
    covered = sum(KINDS[kind].weight for kind in KINDS if kind in true)
    fillers = sum(kind in FILLERS for kind in true)
    invented, words = len(claims) - len(true), len(_WORDS.findall(text))
    return covered + INVENTED * invented + FILLER * fillers + WORD * words
