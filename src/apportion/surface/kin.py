"""Families of models with a known truth: a small model's world, and larger relatives of it.

| what of the law               | from one size to the next                                    |
|-------------------------------|--------------------------------------------------------------|
| base                          | + up to 0.3 of the room below 0.9, uniformly                  |
| heights (A_s, A_p, A_x, O)    | times exp(0.15 e)                                            |
| half-lives (k_s, k_p, k_g, …) | times exp(-0.2 + 0.35 e): larger models need less data        |
| exponents, steepness          | times exp(0.1 e)                                             |
| cold-start loss C             | times exp(-0.2 + 0.15 e)                                     |
| bumps                         | height times exp(0.15 e), place + 0.3 e in log1p of counts    |

e is a standard normal, a new one for every number. These figures are stated, not measured: how far
real sizes lie apart is not known here. They were fixed before the prior of a family was tuned on
calibration families; test families come from another stream of seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np

from apportion.surface.worlds import FAMILIES, Bump, Law, Scarce, Split, Sudden, World

SIZES = ("small", "medium", "large")
ROOM, TOP = 0.3, 0.9
HEIGHT_SD, HALF_SD, POWER_SD, PLACE_SD = 0.15, 0.35, 0.1, 0.3
DRIFT = -0.2

Triple = tuple[float, float, float]


class _Change:
    """Moves each kind of number by its own law; see the table."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def _times(self, value: float, drift: float, sd: float) -> float:
        return float(value * np.exp(drift + sd * self.rng.standard_normal()))

    def height(self, value: float, drift: float = 0.0) -> float:
        return self._times(value, drift, HEIGHT_SD)

    def half(self, value: float) -> float:
        return self._times(value, DRIFT, HALF_SD)

    def power(self, value: float) -> float:
        return self._times(value, 0.0, POWER_SD)

    def base(self, value: float, heights: float) -> float:
        return float(value + self.rng.uniform(0, ROOM) * max(TOP - value - heights, 0.0))

    def gain(self, gain: Triple) -> Triple:
        return self.height(gain[0]), self.half(gain[1]), self.power(gain[2])

    def bump(self, bump: Bump) -> Bump:
        a, b = (float(x + PLACE_SD * self.rng.standard_normal()) for x in bump.at)
        return replace(bump, at=(a, b), height=self.height(bump.height))


def _law(law: Law, to: _Change) -> Law:
    return Law(
        base=to.base(law.base, law.sft[0] + law.pref[0]),
        sft=to.gain(law.sft),
        pref=to.gain(law.pref),
        common=to.height(law.common),
        gate=to.half(law.gate),
        cold=(to.height(law.cold[0], DRIFT), to.half(law.cold[1])),
        over=(to.height(law.over[0]), to.half(law.over[1])),
        bumps=tuple(to.bump(bump) for bump in law.bumps),
    )


def _sudden(law: Sudden, to: _Change) -> Sudden:
    return Sudden(
        base=to.base(law.base, law.height + law.pref[0]),
        height=to.height(law.height),
        at=to.half(law.at),
        steepness=to.power(law.steepness),
        pref=to.gain(law.pref),
    )


def _scarce(law: Scarce, to: _Change) -> Scarce:
    return Scarce(
        base=to.base(law.base, law.height),
        height=to.height(law.height),
        need=(to.half(law.need[0]), to.half(law.need[1])),
        a=to.power(law.a),
    )


_GROW: dict[type, Callable[[Any, _Change], Any]] = {
    Law: _law,
    Sudden: _sudden,
    Scarce: _scarce,
}


def grown(law: Any, rng: np.random.Generator) -> Any:
    """The law of the next larger model: a `Law`, `Sudden` or `Scarce`, as the one given."""
    return _GROW[type(law)](law, _Change(rng))


def kin(split: Split, index: int) -> tuple[World, ...]:
    """One world for each of `SIZES`, the smallest first; kinds of worlds take turns.

    Depends on (split, index) only. All prices are one, and the noise is that of the smallest.
    """
    names = list(FAMILIES)
    name = names[index % len(names)]
    digest = blake2b(f"apportion kin 1|{split}|{index}".encode(), digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "big"))
    law, noise = FAMILIES[name](rng)
    worlds = [World(name, split, index, law, noise)]
    while len(worlds) < len(SIZES):
        law = grown(law, rng)
        worlds.append(World(name, split, index, law, noise))
    return tuple(worlds)
