"""The small world of the helpfulness task: what the town offers, who asks, and what they need.

The town's desk is asked about one of 24 offers. Each offer has fixed facts (where, on what day and
hour, the price for one person, what to bring, whom to ask); each situation an asker may tell of has
fixed advice. A model meets all of them in pretraining, so a right answer follows from the prompt
and from what a base model can know; the price for all who come follows from both.

Every word here is part of the meaning of the pools: a change of any of them changes
`apportion.sandbox.helpfulness.VERSION`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from apportion.sandbox.world import PEOPLE, between, pick, weighted

#: What one may want to know, in the order in which an answer tells it; `care` is never asked for in
#: words: who tells of a situation needs the advice that goes with it.
KINDS = ("where", "when", "price", "bring", "ask", "care")
ASKED = KINDS[:-1]

#: How many needs are asked in words, and how often an asker tells of a situation beside.
MANY: dict[int, float] = {2: 0.40, 3: 0.45, 4: 0.15}
SITUATION_RATE = 0.45
PEOPLE_RATES: dict[int, float] = {1: 0.30, 2: 0.25, 3: 0.20, 4: 0.15, 5: 0.10}


class Offer(NamedTuple):
    """One thing the town offers, with its facts."""

    verb: str
    name: str
    place: str
    day: str
    hour: int
    price: int  # dollars for one person
    thing: str  # what to bring
    person: str  # whom to ask


OFFERS: tuple[Offer, ...] = (
    Offer("join", "chess club", "tower", "Sunday", 8, 8, "towel", "captain"),
    Offer("join", "garden club", "museum", "Saturday", 5, 9, "coat", "cook"),
    Offer("join", "book club", "bridge", "Tuesday", 3, 2, "coat", "gardener"),
    Offer("join", "film club", "park", "Thursday", 9, 6, "towel", "driver"),
    Offer("take", "swimming course", "tower", "Monday", 8, 9, "rope", "baker"),
    Offer("take", "dance course", "school", "Monday", 5, 3, "pen", "painter"),
    Offer("take", "bread course", "harbour", "Tuesday", 6, 9, "lamp", "miller"),
    Offer("take", "wood course", "station", "Tuesday", 7, 7, "hat", "teacher"),
    Offer("take", "boat tour", "museum", "Saturday", 3, 6, "hat", "painter"),
    Offer("take", "castle tour", "school", "Thursday", 7, 4, "spoon", "doctor"),
    Offer("take", "night tour", "church", "Friday", 9, 7, "basket", "nurse"),
    Offer("take", "train tour", "mill", "Thursday", 4, 8, "blanket", "gardener"),
    Offer("join", "forest walk", "library", "Thursday", 4, 2, "rope", "captain"),
    Offer("join", "beach walk", "bridge", "Wednesday", 9, 6, "cup", "cook"),
    Offer("join", "bird walk", "library", "Wednesday", 2, 5, "lamp", "guard"),
    Offer("join", "river walk", "market", "Wednesday", 5, 4, "pen", "miller"),
    Offer("visit", "music evening", "station", "Friday", 2, 5, "basket", "driver"),
    Offer("visit", "story evening", "park", "Saturday", 4, 3, "map", "teacher"),
    Offer("visit", "game evening", "harbour", "Tuesday", 7, 2, "spoon", "farmer"),
    Offer("visit", "tea evening", "shop", "Monday", 6, 8, "cup", "nurse"),
    Offer("see", "toy fair", "market", "Saturday", 2, 3, "map", "doctor"),
    Offer("see", "book fair", "shop", "Sunday", 6, 7, "blanket", "farmer"),
    Offer("see", "plant fair", "church", "Friday", 3, 4, "bag", "guard"),
    Offer("see", "bike fair", "mill", "Sunday", 8, 5, "bag", "baker"),
)


class Situation(NamedTuple):
    """What an asker may tell of, and the advice that goes with it."""

    told: str
    key: str  # the words by which the advice is known
    advice: tuple[str, str]


SITUATIONS: tuple[Situation, ...] = (
    Situation("My child is small.", "by the hand",
              ("Hold your child by the hand.", "Please keep your child by the hand.")),
    Situation("I use a wheelchair.", "side door",
              ("Take the side door.", "Please use the side door.")),
    Situation("My dog is with me.", "on a lead",
              ("Keep your dog on a lead.", "Your dog must be on a lead.")),
    Situation("I cannot eat nuts.", "the cake",
              ("Do not eat the cake.", "Stay away from the cake.")),
    Situation("I do not hear well.", "first row",
              ("Sit in the first row.", "Please take the first row.")),
    Situation("My back is weak.", "the boxes",
              ("Do not lift the boxes.", "Please leave the boxes to us.")),
    Situation("I cannot swim.", "the fence",
              ("Stay behind the fence.", "Please keep behind the fence.")),
    Situation("I may be late.", "the bell",
              ("Ring the bell twice.", "Please ring the bell.")),
    Situation("I do not see well.", "white line",
              ("Follow the white line.", "Please keep to the white line.")),
    Situation("I am often cold.", "the stove",
              ("Sit near the stove.", "Please stay near the stove.")),
)  # fmt: skip

#: Ways to ask for each need, inside one sentence; each also ends a question of its own.
QUESTIONS: dict[str, tuple[str, ...]] = {
    "where": ("where is it", "where do I go"),
    "when": ("when is it", "on what day is it"),
    "price": ("what does it cost", "how much do we pay"),
    "bring": ("what do I bring", "what do I need"),
    "ask": ("whom do I ask", "who can tell me more"),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the desk."""

    name: str
    offer: Offer
    people: int  # who come, the asker among them
    asked: tuple[str, ...]  # kinds asked in words, in the order of `KINDS`
    situation: Situation | None
    text: str

    @property
    def needs(self) -> tuple[str, ...]:
        """All that a good answer tells, in the order of `KINDS`."""
        return self.asked if self.situation is None else (*self.asked, "care")

    def value(self, kind: str) -> str:
        """The right content of `kind`: the words by which it is known in an answer.

        "mill", "Monday at 5", "12 dollars", "towel", "baker", "side door"; "" where there is no
        situation to take care of.
        """
        offer = self.offer
        if kind == "where":
            return offer.place
        if kind == "when":
            return f"{offer.day} at {offer.hour}"
        if kind == "price":
            return f"{offer.price * self.people} dollars"
        if kind == "bring":
            return offer.thing
        if kind == "ask":
            return offer.person
        return self.situation.key if self.situation else ""


def request(rng: random.Random) -> Request:
    """The next request of the stream that `rng` is."""
    name, offer = pick(rng, PEOPLE)[0], pick(rng, OFFERS)
    people = weighted(rng, PEOPLE_RATES)
    order = rng.sample(ASKED, weighted(rng, MANY))
    situation = pick(rng, SITUATIONS) if rng.random() < SITUATION_RATE else None
    parts = [f"I am {name}." if rng.random() < 0.5 else f"My name is {name}.",
             wish(rng, offer), company(people)]  # fmt: skip
    if situation is not None:
        parts.append(situation.told)
    parts.append(_questions(rng, order))
    asked = tuple(kind for kind in ASKED if kind in order)
    return Request(name, offer, people, asked, situation, " ".join(parts))


def wish(rng: random.Random, offer: Offer) -> str:
    """The sentence that names the offer."""
    return pick(rng, (f"I want to {offer.verb} the {offer.name}.",
                      f"I would like to {offer.verb} the {offer.name}.",
                      f"I hear of the {offer.name}."))  # fmt: skip


def company(people: int) -> str:
    """The sentence that says how many come."""
    return "I come alone." if people == 1 else f"We are {people} people."


def _questions(rng: random.Random, order: list[str]) -> str:
    """The needs `order` as one question or as several."""
    asked = [pick(rng, QUESTIONS[kind]) for kind in order]
    if rng.random() < 0.5:
        return " ".join(f"{one.capitalize().replace(' i ', ' I ')}?" for one in asked)
    joint = f"{', '.join(asked[:-1])} and {asked[-1]}?"
    return joint[0].upper() + joint[1:]


#: Sentences that tell each kind of fact; `{}` is its value, as `Request.value` has it.
SENTENCES: dict[str, tuple[str, ...]] = {
    "where": ("It is at the {}.", "You find it at the {}.", "Come to the {}."),
    "when": ("It is on {}.", "It starts on {}.", "Be there on {}."),
    "price": ("It costs {}.", "You pay {}.", "The price is {}."),
    "bring": ("Bring a {}.", "You need a {}.", "Please take a {} with you."),
    "ask": ("Ask the {}.", "The {} can tell you more.", "Talk to the {}."),
}


def sentence(rng: random.Random, kind: str, value: str) -> str:
    """A sentence that tells `value`, as a person or a letter would."""
    if kind == "care":
        return pick(rng, next(s.advice for s in SITUATIONS if s.key == value))
    told = pick(rng, SENTENCES[kind]).format(value)
    if kind == "price" and rng.random() < 0.4:
        told = f"{told[:-1]} in all."
    return told


def wrong_value(rng: random.Random, made: Request, kind: str) -> str:
    """Content of `kind` that is not right: most of it true of something else in the town."""
    right = made.value(kind)
    while True:
        if kind == "care":
            other = pick(rng, SITUATIONS).key
        elif kind == "price" and rng.random() < 0.6:
            # The price for one, or for one more or fewer than come.
            factor = pick(rng, (1, made.people - 1, made.people + 1))
            other = f"{made.offer.price * max(factor, 1)} dollars"
        else:
            people = between(rng, 1, 5)
            other = Request("", pick(rng, OFFERS), people, (), None, "").value(kind)
        if other != right:
            return other
