"""Verifiable constraints on a response, checked as IFEval checks them.

Names and arguments are IFEval's (`detectable_format:number_bullet_lists`, `num_bullets`), and so
are the verdicts, except that the two constraints on letter case do not ask a language detector
whether the text is English: in the sandbox it always is, and on short texts the detector guesses.
`tools/compare/constraints.py` holds both statements against lm-eval's copy of IFEval.

A verdict is strict on the response as it is, and loose where any of eight forms of it follows: with
its first line, its last line or both taken off, and each of these without asterisks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from apportion.metrics.ifeval import Verdict

VERSION = 1

Arguments = Mapping[str, Any]
Check = Callable[[str, Arguments], bool]

# Where NLTK's trained splitter ends a sentence, on plain text: at the last such sign of a word that
# has white space or one of these other signs behind it, be it even "P.S."; not behind dots, nor
# behind one letter.
_INSIDE = re.compile(r"\S*[.?!](?=[)\";}\]*:@'({\[!?])")
_NO_END = re.compile(r"\.\.$|(?:^|[^\w.])[A-Za-z]\.$")
_ALONE = re.compile(r"[.?!][?!]+")  # with white space around: two ends, whatever they end
_CLOSING = re.compile(r"[\"')\]}]*")  # belongs to the sentence before it


def count_words(text: str) -> int:
    """Runs of letters, digits and underscores."""
    return len(re.findall(r"\w+", text))


def count_sentences(text: str) -> int:
    """At least 1 where there is any text, whether it ends in a sign or not; 0 for white space."""
    words = text.split()
    if not words:
        return 0
    *inner, last = words
    # What ends with the text begins no further sentence, unless other signs are left over.
    found = _INSIDE.match(last)
    over = found is not None and not _CLOSING.fullmatch(last, found.end())
    return 1 + sum(map(_ends, inner)) + over


def _ends(word: str) -> int:
    if _ALONE.fullmatch(word):
        return 2
    if word[-1] in ".?!":
        return not _NO_END.search(word)
    return _INSIDE.match(word) is not None


def _compared(count: int, relation: str, threshold: int) -> bool:
    return count < threshold if relation == "less than" else count >= threshold


def _keywords(text: str, asked: Arguments) -> bool:
    return all(re.search(word, text, re.IGNORECASE) for word in asked["keywords"])


def _forbidden(text: str, asked: Arguments) -> bool:
    words = asked["forbidden_words"]
    return not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in words)


def _frequency(text: str, asked: Arguments) -> bool:
    count = len(re.findall(asked["keyword"], text, re.IGNORECASE))
    return _compared(count, asked["relation"], asked["frequency"])


def _sentences(text: str, asked: Arguments) -> bool:
    return _compared(count_sentences(text), asked["relation"], asked["num_sentences"])


def _words(text: str, asked: Arguments) -> bool:
    return _compared(count_words(text), asked["relation"], asked["num_words"])


def _bullets(text: str, asked: Arguments) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", text, re.MULTILINE)
    count: int = asked["num_bullets"]
    return len(stars) + len(dashes) == count


def _start(text: str, asked: Arguments) -> bool:
    # At the start of any line: so it stands in IFEval.
    return re.search(rf"^\s*{asked['starter']}.*$", text, re.MULTILINE) is not None


def _end(text: str, asked: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(asked["end_phrase"].strip().lower())


def _postscript(text: str, asked: Arguments) -> bool:
    return re.search(r"\s*p\.\s?s\..*$", text.lower(), re.MULTILINE) is not None


def _title(text: str, asked: Arguments) -> bool:
    found = re.findall(r"<<[^\n]+>>", text)
    return any(title.lstrip("<").rstrip(">").strip() for title in found)


def _repeat(text: str, asked: Arguments) -> bool:
    return text.strip().lower().startswith(asked["prompt_to_repeat"].strip().lower())


#: Name -> check; every kind that the sandbox asks for.
CHECKS: dict[str, Check] = {
    "keywords:existence": _keywords,
    "keywords:forbidden_words": _forbidden,
    "keywords:frequency": _frequency,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_words": _words,
    "detectable_format:number_bullet_lists": _bullets,
    "change_case:english_lowercase": lambda text, asked: text.islower(),
    "change_case:english_capital": lambda text, asked: text.isupper(),
    "punctuation:no_comma": lambda text, asked: "," not in text,
    "multi-turn:constrained_start": _start,
    "startend:end_checker": _end,
    "detectable_content:postscript": _postscript,
    "detectable_format:title": _title,
    "combination:repeat_prompt": _repeat,
}


def follows(name: str, asked: Arguments, response: str) -> bool:
    """Does `response`, as it is, follow the constraint? KeyError for a name not in `CHECKS`."""
    return bool(response.strip()) and CHECKS[name](response, asked)


def loosened(response: str) -> tuple[str, ...]:
    """The eight forms that the loose verdict looks at."""
    lines = response.split("\n")
    whole = (response, *("\n".join(lines[a:b]).strip() for a, b in ((1, None), (0, -1), (1, -1))))
    return (*whole, *(form.replace("*", "") for form in whole))


def verdict(asked: Mapping[str, Any], response: str) -> Verdict:
    """The verdicts on one response. `asked`: `instruction_id_list` and `kwargs`, as IFEval's."""
    named = list(zip(asked["instruction_id_list"], asked["kwargs"], strict=True))
    forms = loosened(response)
    return Verdict(
        strict=tuple(follows(name, arguments, response) for name, arguments in named),
        loose=tuple(
            any(follows(name, arguments, form) for form in forms) for name, arguments in named
        ),
    )
