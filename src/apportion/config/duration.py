"""A span of time as people write it: 90s, 30m, 1h30m."""

from __future__ import annotations

import re

from apportion.errors import StudyError

_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)
_SECONDS = (3600.0, 60.0, 1.0)
_LONGEST = 30 * 24 * 3600.0  # a month; more is a slip of the keyboard


def parse_duration(text: str, *, field: str) -> float:
    """Seconds of `30m`, `90s`, `1h30m`, `1.5h`. StudyError (naming `field`) for anything else.

    A bare number is refused: nobody can tell whether 30 are seconds or minutes.
    """
    found = _SPAN.fullmatch("".join(text.lower().split()))
    parts = found.groups() if found else ()
    seconds = sum(
        float(part) * unit for part, unit in zip(parts, _SECONDS, strict=False) if part is not None
    )
    if not 0 < seconds <= _LONGEST:
        raise StudyError(
            f"{text!r} is not a span of time.",
            field=field,
            mend="write hours, minutes or seconds, such as 30m, 90s or 1h30m.",
        )
    return seconds
