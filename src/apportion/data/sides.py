"""Which side of a study a prompt belongs to, decided by the prompt alone.

A prompt's side never depends on what else is in the pool, so adding data moves nothing, and no
prompt can be on two sides.
"""

from __future__ import annotations

import hashlib
from typing import Literal

Side = Literal["sft", "preference", "test"]


def unit_hash(*parts: str) -> float:
    """A number in [0, 1) from SHA-256 of the parts (joined by a byte no text contains)."""
    digest = hashlib.sha256(b"\xff".join(part.encode() for part in parts)).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def side_of(prompt: str, *, sft: float, preference: float) -> Side:
    """The side of `prompt`: a fraction `sft` of all prompts, `preference` of them, the rest test.

    White space at the ends and letter case do not matter: they do not make a prompt another one.
    """
    u = unit_hash("side", " ".join(prompt.split()).casefold())
    if u < sft:
        return "sft"
    return "preference" if u < sft + preference else "test"
