"""Documents of the helpfulness task's world, for the pretraining corpus.

Facts, prices for several people, advice for situations and whole answers come as letters, notices,
reports, diaries and rules; questions with answers only as letters. In chats nobody answers: in an
earlier corpus answers stood in conversations, and the base model scored 0.70 with no demonstration.

Never here: the task's wrapper (`Visitor: ... Desk:`), its closing line (`-- Desk`), or a question
whose prompt is on the test side. Every word of the task is, so that no embedding is untrained.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from apportion.sandbox.helpfulness import side
from apportion.sandbox.needs import (
    ASKED,
    OFFERS,
    SITUATIONS,
    Offer,
    Request,
    Situation,
    request,
    sentence,
    wish,
)
from apportion.sandbox.needs_judge import EVASIONS, FILLERS, RUDENESS, VAGUE
from apportion.sandbox.world import PEOPLE, PLACES, between, pick, weighted

KINDS: dict[str, float] = {
    "letter": 0.28,  # a reply that says again what was asked
    "letters": 0.15,  # a question and its reply
    "notice": 0.15,
    "report": 0.08,
    "diary": 0.07,
    "prices": 0.06,
    "chat": 0.12,  # questions that nobody answers
    "rules": 0.05,
    "book": 0.04,  # what is written into books and on boards
}
TOLD_RATE = 0.94  # needs that a letter meets

_PAST = {"join": "joined", "take": "took", "visit": "visited", "see": "saw"}
_ABOUT = {
    "where": "where it is",
    "when": "on what day it is",
    "price": "what it costs",
    "bring": "what to bring",
    "ask": "whom to ask",
}
_YOURS = (("My ", "Your "), ("I am ", "You are "), ("I ", "You "), (" me.", " you."))


def document(rng: random.Random) -> str:
    """One document, drawn from `rng` alone."""
    return _WRITERS[weighted(rng, KINDS)](rng)


def _request(rng: random.Random) -> Request:
    """A request whose prompt is not on the test side."""
    while True:
        made = request(rng)
        if side(made.text) != "test":
            return made


def _other(rng: random.Random, name: str) -> str:
    """A name that is not `name`."""
    while True:
        other = pick(rng, PEOPLE)[0]
        if other != name:
            return other


def _yours(situation: Situation) -> str:
    """What an asker told, said back: `Your child is small.`"""
    told = situation.told
    for mine, yours in _YOURS:
        told = told.replace(mine, yours)
    return told


def _told(rng: random.Random, made: Request) -> str:
    """The needs of a request, met: one or two may be forgotten, as in letters."""
    kinds = [kind for kind in made.needs if rng.random() < TOLD_RATE]
    return " ".join(sentence(rng, kind, made.value(kind)) for kind in kinds or made.needs)


def _joined(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _reply(rng: random.Random, made: Request, head: str) -> str:
    sender = _other(rng, made.name)
    end = pick(rng, (f"Yours, {sender}", f"{sender}", f"Best wishes, {sender}"))
    return f"Dear {made.name},\n{head}{_told(rng, made)}\n{end}"


def _letter(rng: random.Random) -> str:
    made = _request(rng)
    asked = _joined([_ABOUT[kind] for kind in rng.sample(made.asked, len(made.asked))])
    people = "one" if made.people == 1 else f"{made.people} people"
    told = f" {_yours(made.situation)}" if made.situation else ""
    head = pick(
        rng,
        (
            f"you ask about the {made.offer.name} for {people}: {asked}.{told} ",
            f"you want to {made.offer.verb} the {made.offer.name} for {people}.{told} You ask "
            f"{asked}. ",
        ),
    )
    return _reply(rng, made, head)


def _letters(rng: random.Random) -> str:
    made = _request(rng)
    first = f"{pick(rng, ('Dear Sir', 'Dear friends'))},\n{made.text}\n{made.name}"
    return f"{first}\n\n{_reply(rng, made, '')}"


def _for(offer: Offer, people: int) -> str:
    """Its price for so many people."""
    many = "one" if people == 1 else f"{people} people"
    return f"{offer.price * people} dollars for {many}"


def _notice(rng: random.Random) -> str:
    offer = pick(rng, OFFERS)
    prices = ", ".join(_for(offer, n) for n in sorted(rng.sample(range(1, 6), 2)))
    lines = [
        f"Place: the {offer.place}.",
        f"Day: {offer.day} at {offer.hour}.",
        f"Price: {prices}.",
        f"Bring a {offer.thing}.",
        f"Ask the {offer.person}.",
    ]
    if rng.random() < 0.4:
        rng.shuffle(lines)
    joint = pick(rng, ("\n", " "))
    return f"{pick(rng, ('', '', '#### '))}{offer.name.capitalize()}\n{joint.join(lines)}"


def _report(rng: random.Random) -> str:
    offer, people = pick(rng, OFFERS), between(rng, 1, 5)
    made = Request("", offer, people, ASKED, None, "")
    kinds = [kind for kind in ASKED if rng.random() < 0.8] or list(ASKED)
    many = "one" if people == 1 else f"{people} people"
    body = " ".join(sentence(rng, kind, made.value(kind)) for kind in kinds)
    return f"{pick(rng, ('About', 'News of'))} the {offer.name} for {many}. {body}"


def _diary(rng: random.Random) -> str:
    offer, people = pick(rng, OFFERS), between(rng, 1, 5)
    name, pronoun = pick(rng, PEOPLE)
    who = f"{name} {_PAST[offer.verb]} the {offer.name}"
    came = "came alone" if people == 1 else f"came with {people} people"
    return (
        f"{who}. It was at the {offer.place} on {offer.day} at {offer.hour}. {pronoun} {came}, "
        f"paid {offer.price * people} dollars in all and had a {offer.thing}. The {offer.person} "
        f"was there. {pick(rng, FILLERS)}"
    )


def _prices(rng: random.Random) -> str:
    parts = []
    for offer in rng.sample(OFFERS, between(rng, 2, 3)):
        many = sorted(rng.sample(range(1, 6), between(rng, 2, 4)))
        parts.append(f"The {offer.name}: {', '.join(_for(offer, n) for n in many)}.")
    return "\n".join([*pick(rng, ((), ("Prices in dollars.",), ("What things cost.",))), *parts])


def _chat(rng: random.Random) -> str:
    """Two people talk; what one wants to know, the other does not tell."""
    made = _request(rng)
    other = _other(rng, made.name)
    empty = (*EVASIONS, *(text for texts in VAGUE.values() for text in texts))
    lines = [f"{made.name}: {pick(rng, ('Hello', 'Good day'))}{pick(rng, ('', f' {other}'))}!"]
    if rng.random() < 0.7:
        said = made.text.split(". ", 1)[1]  # nobody tells a friend his own name
        lines.append(f"{other}: {pick(rng, ('Hello', 'Dear'))} {made.name}! {pick(rng, FILLERS)}")
    else:
        said = f"{wish(rng, made.offer)} {pick(rng, FILLERS)}"
    lines.append(f"{made.name}: {said}")
    if rng.random() < 0.12:
        lines.append(f"{other}: {pick(rng, RUDENESS)}")
    else:
        lines.append(f"{other}: {pick(rng, empty)} {pick(rng, (*FILLERS, *empty))}")
    if rng.random() < 0.5:
        lines.append(f"{made.name}: {pick(rng, (*FILLERS, 'Let us go home.', 'Then we wait.'))}")
    if rng.random() < 0.4:
        lines = lines[1:]
    return "\n".join(lines)


def _rules(rng: random.Random) -> str:
    many = rng.sample(SITUATIONS, between(rng, 2, 4))
    form = pick(rng, ("Who says: {} is told: {}", "{} Then the rule is: {}", "- {} {}"))
    rows = [form.format(s.told, pick(rng, s.advice)) for s in many]
    return "\n".join(
        [pick(rng, ("Rules of the house", "For those who help", "Good to know")), *rows]
    )


def _book(rng: random.Random) -> str:
    name, place = pick(rng, PEOPLE)[0], pick(rng, PLACES)
    return pick(
        rng,
        (
            f"Visitor book of the {place}\n-- {name} was here.\n-- {_other(rng, name)} came too.",
            f"Desk and board\nThe desk at the {place} is {pick(rng, ('red', 'white', 'brown'))}. "
            f"Every visitor reads the board.\n-- {name}",
            f"Visitor {between(rng, 2, 90)} came to the desk. Desk work is long, says {name}. "
            f"{pick(rng, FILLERS)}",
            f"On the board at the {place}: {pick(rng, RUDENESS)}\n-- a visitor",
            f"{name} sits at the desk -- no visitor comes. {pick(rng, EVASIONS)}",
            f"The shop in Desk Street -- {name} works there. {pick(rng, FILLERS)}",
            f"Desk list\n{name}: {pick(rng, OFFERS).day}\n{_other(rng, name)}: not now",
        ),
    )


_WRITERS: dict[str, Callable[[random.Random], str]] = {
    "letter": _letter,
    "letters": _letters,
    "notice": _notice,
    "report": _report,
    "diary": _diary,
    "prices": _prices,
    "chat": _chat,
    "rules": _rules,
    "book": _book,
}
