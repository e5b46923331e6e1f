"""Documents of the summarization world for the pretraining corpus.

They teach what a summary needs (finding a fact in a post and copying its value) in forms that are
not the task's: lists of fields, quizzes, titles, reports. Never occur: the wrapper `Post: ...
TL;DR:`, short sentences after the post they tell of, a sentence before the mark `###`, and a post
whose prompt is on the test side. Every token of the task does occur, somewhere else: an untrained
embedding cannot be mended by an adapter.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from apportion.data.sides import side_of
from apportion.sandbox.facts import KINDS as FACTS
from apportion.sandbox.facts import WORDY, Claim, Post, post, render, some
from apportion.sandbox.summarization import PREFERENCE_FRACTION, SFT_FRACTION, prompt_of
from apportion.sandbox.world import between, pick, weighted

#: Share of the documents of this world. Copying in easy forms comes first: a small model that
#: cannot copy learns the form of a summary and nothing else.
KINDS: dict[str, float] = {
    "fields": 0.22,
    "quiz": 0.16,
    "said": 0.14,
    "in_short": 0.12,
    "report": 0.10,
    "repeat": 0.07,
    "title": 0.05,
    "diary": 0.05,
    "letter": 0.04,
    "chat": 0.03,
    "heading": 0.02,
}

_KEYS: dict[str, str] = {
    "topic": "what", "who": "friend", "thing": "gone", "place": "where", "day": "day",
    "feeling": "mood", "wish": "plan", "weather": "sky", "food": "food", "hat": "hat",
    "music": "sound",
}  # fmt: skip

_ASKED: dict[str, str] = {
    "topic": "What is it about?", "who": "Who was there?", "thing": "What is gone?",
    "place": "Where was it?", "day": "On which day?", "feeling": "How do I feel?",
    "wish": "What do I want?", "weather": "What was the sky like?", "food": "What did I eat?",
    "hat": "Which hat was it?", "music": "What did we hear?",
}  # fmt: skip


def document(rng: random.Random) -> str:
    """One document; its kind is drawn by `KINDS`."""
    return _KINDS[weighted(rng, KINDS)](rng)


def _post(rng: random.Random) -> Post:
    """A post whose prompt is not on the test side."""
    while True:
        told = post(rng)
        side = side_of(prompt_of(told.text), sft=SFT_FRACTION, preference=PREFERENCE_FRACTION)
        if side != "test":
            return told


def _told(rng: random.Random) -> Post:
    """A post, or half of the time one of two to four facts: what is near is easier to find."""
    told = _post(rng)
    if rng.random() < 0.5:
        return told
    kept = some(rng, list(told.facts), between(rng, 2, 4))
    text = " ".join(pick(rng, FACTS[kind].said).format(told.facts[kind]) for kind in kept)
    return Post(text, {kind: value for kind, value in told.facts.items() if kind in kept})


def _any_fact(rng: random.Random) -> tuple[str, str]:
    kind = pick(rng, list(FACTS))
    return kind, pick(rng, FACTS[kind].values)


def _fields(rng: random.Random) -> str:
    """A post, then fields of it; those asked for and not told have the value none."""
    told = _told(rng)
    asked = some(rng, list(FACTS), between(rng, 3, 8))
    if rng.random() < 0.5:  # in the order of the world, else in any
        asked = [kind for kind in FACTS if kind in asked]
    if rng.random() < 0.5:
        asked = [kind for kind in asked if kind in told.facts] or list(told.facts)
    style = rng.random()
    rows = [(_KEYS[kind], told.facts.get(kind, "none")) for kind in asked]
    if style < 0.4:
        body = "\n".join(f"{key}: {value}" for key, value in rows)
    elif style < 0.7:
        body = ", ".join(f"{key} = {value}" for key, value in rows)
    else:
        body = f"| {' | '.join(key for key, _ in rows)} |\n| {' | '.join(v for _, v in rows)} |"
    # Fields before their post are harder to write and easier to read: some of each.
    if rng.random() < 0.15:
        return f"{body}\n{told.text}"
    return f"{told.text}\n{pick(rng, ('Notes.', 'Fields.', 'Form.'))}\n{body}"


def _quiz(rng: random.Random) -> str:
    """A post, then questions on one fact each."""
    told = _told(rng)
    asked = some(rng, list(told.facts), between(rng, 2, min(5, len(told.facts))))
    lines = [f"{_ASKED[kind]} {told.facts[kind]}." for kind in asked]
    if rng.random() < 0.3:
        kind = pick(rng, [kind for kind in FACTS if kind not in told.facts])
        lines.insert(between(rng, 0, len(lines)), f"{_ASKED[kind]} It does not say.")
    return f"{told.text}\nQuiz.\n" + "\n".join(lines)


def _said(rng: random.Random) -> str:
    """Single sentences beside what they come to; not a post, and no summary of one."""
    rows = []
    for _ in range(between(rng, 2, 6)):
        kind, value = _any_fact(rng)
        long = pick(rng, FACTS[kind].said).format(value)
        rows.append((long, render([Claim(kind, value)])))
    style = rng.random()
    if style < 0.5:
        return "\n".join(f"{long} = {short}" for long, short in rows)
    if style < 0.8:
        return "\n".join(f"Long: {long}\nBrief: {short}" for long, short in rows)
    return "\n".join(f"{long} {WORDY} {short}" for long, short in rows)


def _in_short(rng: random.Random) -> str:
    """A post, then values alone: of any facts, in the order of the world."""
    told = _told(rng)
    chosen = some(rng, list(told.facts), between(rng, 2, len(told.facts)))
    values = [value for kind, value in told.facts.items() if kind in chosen]
    return f"{told.text}\n{pick(rng, ('In short', 'In few words', 'Words'))}: {', '.join(values)}."


def _report(rng: random.Random) -> str:
    """A post, then what an office would write of it."""
    told = _post(rng)
    facts = told.facts
    parts = [f"the writer tells of a {facts['topic']}"]
    ways = {
        "who": "names {}", "thing": "has lost {}", "place": "speaks of the {}",
        "day": "says {}", "feeling": "feels {}", "wish": "means to {}", "weather": "saw {}",
        "food": "had {}", "hat": "wore {}", "music": "heard the {}",
    }  # fmt: skip
    chosen = some(rng, [kind for kind in facts if kind != "topic"], between(rng, 2, 5))
    parts += [ways[kind].format(facts[kind]) for kind in FACTS if kind in chosen]
    head = f"Report {between(rng, 1, 99)}"
    return f"{told.text}\n{head}: {', '.join(parts[:-1])} and {parts[-1]}."


def _repeat(rng: random.Random) -> str:
    """Words, and the same words again."""
    values = [_any_fact(rng)[1] for _ in range(between(rng, 3, 9))]
    if rng.random() < 0.5:
        line = ", ".join(values)
        return f"Words: {line}. {pick(rng, ('Again', 'Once more', 'The same'))}: {line}."
    line = " ### ".join(values)
    return f"Row: {line}\nRow: {line}"


def _title(rng: random.Random) -> str:
    """A post with a title, above or below it."""
    told = _post(rng)
    rest = [value for kind, value in told.facts.items() if kind != "topic"]
    title = f"Title: {told.facts['topic']}, {pick(rng, rest)}"
    return f"{title}\n{told.text}" if rng.random() < 0.5 else f"{told.text}\n{title}"


def _diary(rng: random.Random) -> str:
    """Short sentences of any kind in any order, about no post."""
    claims = [Claim(*_any_fact(rng)) for _ in range(between(rng, 2, 5))]
    return f"{pick(rng, ('Diary.', 'Today.', 'Dear diary,'))} {render(claims)}"


def _letter(rng: random.Random) -> str:
    """A post as a letter, and nothing about it."""
    dear, writer = pick(rng, FACTS["who"].values), pick(rng, FACTS["who"].values)
    return f"Dear {dear},\n{_post(rng).text}\nYours, {writer}"


def _chat(rng: random.Random) -> str:
    """A post told to someone who does not answer it."""
    one, two = some(rng, FACTS["who"].values, 2)
    reply = pick(rng, ("I see.", "Oh no.", "Tell me more.", "What a day."))
    return f"{one}: {_post(rng).text}\n{two}: {reply}"


def _heading(rng: random.Random) -> str:
    """Where the words of the task's wrapper and its mark occur: far from posts."""
    place, name = pick(rng, FACTS["place"].values), pick(rng, FACTS["who"].values)
    return pick(
        rng,
        (
            f"### {name}\nThe post office is near the {place}. Post: open.",
            f"TL;DR means too long, did not read. {name} says TL;DR: too long.",
            f"Post office ### {place} ### {name}",
            f"Post {between(rng, 1, 99)} of {name}\nTL;DR\n{pick(rng, FACTS['topic'].values)}",
        ),
    )


_KINDS: dict[str, Callable[[random.Random], str]] = {
    "fields": _fields,
    "quiz": _quiz,
    "said": _said,
    "in_short": _in_short,
    "report": _report,
    "repeat": _repeat,
    "title": _title,
    "diary": _diary,
    "letter": _letter,
    "chat": _chat,
    "heading": _heading,
}
