"""Families of worlds with a known truth, on which advice is judged.

| symbol       | meaning                                                              | shape  |
|--------------|----------------------------------------------------------------------|--------|
| n_s, n_p     | demonstrations, preference units                                     | any    |
| S            | true score of a cell, in [0.01, 0.99]                                | as n   |
| G(n; k, a)   | 1 - (1 + n / k)^-a: saturating gain of n examples                    | as n   |
| A_s, A_p     | what endless demonstrations, and endless pairs, add                  | scalar |
| A_x          | what the two have in common and do not add twice                     | scalar |
| k_g          | demonstrations at which pairs begin to pay (the cold-start gate)     | scalar |
| C, k_c       | loss by pairs without SFT, demonstrations that repair it             | scalar |
| O, k_o       | loss by too many pairs, pairs at which it sets in                    | scalar |
| tau_d        | sd of a replicate's data effect, common to all its trained cells     | scalar |
| tau_s, tau_p | sd of an SFT run (shared by its cells), of a preference run          | scalar |

Noise sds are in score units at a score of one half, and shrink towards the bounds as
sqrt(4 S (1 - S)) does. `FAMILIES` was written before any method was tuned on it, and is not changed
to suit one; calibration worlds and test worlds come from different streams of seeds. No law that is
fitted has the forms of `bumpy` and `scarce`; the prior `step` came later and is near `sudden`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Split = Literal["calibration", "test"]

LOW, HIGH = 0.01, 0.99
BUDGETS = (
    100.0,
    20_000.0,
)  # the range of budgets, in the price of a pair, that a world is made for


def gain(n: ArrayLike, k: float, a: float) -> Floats:
    """G(n; k, a): 0 at no examples, rising to 1."""
    value: Floats = 1 - (1 + np.asarray(n, dtype=float) / k) ** -a
    return value


@dataclass(frozen=True)
class Bump:
    """A smooth dent or rise of the surface, round in (log1p n_s, log1p n_p)."""

    at: tuple[float, float]
    width: float
    height: float

    def __call__(self, n_s: Floats, n_p: Floats) -> Floats:
        far = (np.log1p(n_s) - self.at[0]) ** 2 + (np.log1p(n_p) - self.at[1]) ** 2
        value: Floats = self.height * np.exp(-far / (2 * self.width**2))
        return value


@dataclass(frozen=True)
class Law:
    """The smooth law that most families are special cases of (see the table)."""

    base: float
    sft: tuple[float, float, float]  # A_s, k_s, a_s
    pref: tuple[float, float, float]  # A_p, k_p, a_p
    common: float = 0.0  # A_x
    gate: float = 0.0  # k_g; 0: none
    cold: tuple[float, float] = (0.0, 1.0)  # C, k_c
    over: tuple[float, float] = (0.0, 1.0)  # O, k_o
    bumps: tuple[Bump, ...] = ()

    def __call__(self, n_s: Floats, n_p: Floats) -> Floats:
        from_sft, from_pairs = gain(n_s, *self.sft[1:]), gain(n_p, *self.pref[1:])
        opened = 1 - np.exp(-n_s / self.gate) if self.gate else np.ones_like(n_s)
        score = self.base + self.sft[0] * from_sft + self.pref[0] * opened * from_pairs
        score = score - self.common * from_sft * from_pairs * opened
        score = score - self.cold[0] * np.exp(-n_s / self.cold[1]) * from_pairs
        beyond = np.maximum(np.log1p(n_p) - np.log1p(self.over[1]), 0.0)
        score = score - self.over[0] * beyond**2
        for bump in self.bumps:
            score = score + bump(n_s, n_p)
        return np.asarray(score, dtype=float)


@dataclass(frozen=True)
class Scarce:
    """The scarcer kind holds the score back: no law that adds the two can follow it."""

    base: float
    height: float
    need: tuple[float, float]  # n_s and n_p that count as one unit of skill
    a: float

    def __call__(self, n_s: Floats, n_p: Floats) -> Floats:
        units = np.minimum(n_s / self.need[0], 0.15 + n_p / self.need[1])
        return np.asarray(self.base + self.height * gain(units, 1.0, self.a), dtype=float)


@dataclass(frozen=True)
class Sudden:
    """A skill that appears within one doubling of demonstrations; pairs then polish it."""

    base: float
    height: float
    at: float
    steepness: float
    pref: tuple[float, float, float]

    def __call__(self, n_s: Floats, n_p: Floats) -> Floats:
        on = 1 / (1 + np.exp(-self.steepness * (np.log1p(n_s) - np.log1p(self.at))))
        polish = self.pref[0] * gain(n_p, *self.pref[1:])
        return np.asarray(self.base + on * (self.height + polish), dtype=float)


@dataclass(frozen=True)
class Noise:
    """How far measured scores scatter. `early` multiplies it where there is little SFT."""

    tau_d: float
    tau_s: float
    tau_p: float
    n_items: int = 300
    spread: float = 0.6  # how far an item's difficulty moves its chance, see `simulate`
    early: tuple[float, float] = (0.0, 1.0)  # factor - 1 at no SFT; demonstrations that halve it

    def scale(self, n_s: Floats) -> Floats:
        value: Floats = 1 + self.early[0] * np.exp2(-np.asarray(n_s, float) / self.early[1])
        return value


@dataclass(frozen=True)
class World:
    """One truth, its noise and its prices; `index` and `split` say which draw it is."""

    family: str
    split: Split
    index: int
    law: Callable[[Floats, Floats], Floats]
    noise: Noise
    prices: tuple[float, float] = (1.0, 1.0)  # of a demonstration, of a pair

    def truth(self, n_s: ArrayLike, n_p: ArrayLike) -> Floats:
        """True scores, in [0.01, 0.99], of the shape that `n_s` and `n_p` broadcast to."""
        a, b = np.broadcast_arrays(np.asarray(n_s, float), np.asarray(n_p, float))
        return np.asarray(np.clip(self.law(a, b), LOW, HIGH), dtype=float)

    def on_line(self, budget: float, shares: ArrayLike) -> Floats:
        """True scores of `shares` of `budget` (in money), counts not rounded."""
        part = np.asarray(shares, dtype=float)
        return self.truth(part * budget / self.prices[0], (1 - part) * budget / self.prices[1])


Draw = Callable[[np.random.Generator], tuple[Callable[[Floats, Floats], Floats], Noise]]


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _noise(rng: np.random.Generator) -> Noise:
    return Noise(
        tau_d=rng.uniform(0.003, 0.02),
        tau_s=rng.uniform(0.003, 0.02),
        tau_p=rng.uniform(0.003, 0.02),
        n_items=int(rng.choice([200, 300, 400, 1000])),
    )


def _law(rng: np.random.Generator) -> Law:
    """Two kinds of data that both help, and share a part of what they teach."""
    a_s, a_p = rng.uniform(0.15, 0.45), rng.uniform(0.05, 0.25)
    return Law(
        base=rng.uniform(0.03, 0.25),
        sft=(a_s, _log(rng, 40, 1500), rng.uniform(0.4, 1.5)),
        pref=(a_p, _log(rng, 100, 4000), rng.uniform(0.4, 1.5)),
        common=rng.uniform(0.0, 0.6) * min(a_s, a_p),
        gate=_log(rng, 10, 200),
    )


def _cold_start(rng: np.random.Generator) -> tuple[Law, Noise]:
    law = _law(rng)
    return replace(law, cold=(rng.uniform(0.02, law.base), _log(rng, 5, 150))), _noise(rng)


def _no_gate(rng: np.random.Generator) -> tuple[Law, Noise]:
    return replace(_law(rng), gate=0.0), _noise(rng)


def _over(rng: np.random.Generator) -> tuple[Law, Noise]:
    return replace(_law(rng), over=(rng.uniform(0.005, 0.04), _log(rng, 200, 4000))), _noise(rng)


def _flat(rng: np.random.Generator) -> tuple[Law, Noise]:
    law = Law(
        base=rng.uniform(0.2, 0.7),
        sft=(rng.uniform(0.0, 0.02), _log(rng, 40, 1500), 1.0),
        pref=(rng.uniform(0.0, 0.02), _log(rng, 40, 1500), 1.0),
    )
    return law, _noise(rng)


def _corner(rng: np.random.Generator) -> tuple[Law, Noise]:
    """One kind of data is worth next to nothing."""
    law = _law(rng)
    if rng.random() < 0.5:
        return replace(law, pref=(rng.uniform(0.0, 0.01), *law.pref[1:]), common=0.0), _noise(rng)
    none = (rng.uniform(0.0, 0.02), *law.sft[1:])
    more = (rng.uniform(0.2, 0.5), *law.pref[1:])
    return replace(law, sft=none, pref=more, common=0.0, gate=0.0), _noise(rng)


def _bumpy(rng: np.random.Generator) -> tuple[Law, Noise]:
    bumps = tuple(
        Bump(
            at=(rng.uniform(2, 9), rng.uniform(2, 9)),
            width=rng.uniform(0.6, 1.6),
            height=rng.uniform(-0.05, 0.05),
        )
        for _ in range(6)
    )
    return replace(_law(rng), bumps=bumps), _noise(rng)


def _heteroscedastic(rng: np.random.Generator) -> tuple[Law, Noise]:
    law, _ = _cold_start(rng)
    return law, replace(_noise(rng), early=(rng.uniform(1.0, 4.0), _log(rng, 50, 500)))


def _sudden(rng: np.random.Generator) -> tuple[Sudden, Noise]:
    law = Sudden(
        base=rng.uniform(0.02, 0.3),
        height=rng.uniform(0.1, 0.4),
        at=_log(rng, 50, 3000),
        steepness=rng.uniform(1.5, 4.0),
        pref=(rng.uniform(0.02, 0.2), _log(rng, 100, 4000), rng.uniform(0.5, 1.5)),
    )
    return law, _noise(rng)


def _scarce(rng: np.random.Generator) -> tuple[Scarce, Noise]:
    law = Scarce(
        base=rng.uniform(0.03, 0.3),
        height=rng.uniform(0.2, 0.6),
        need=(_log(rng, 100, 2000), _log(rng, 100, 2000)),
        a=rng.uniform(0.5, 1.5),
    )
    return law, _noise(rng)


def _quarter_bad(rng: np.random.Generator) -> tuple[Law, Noise]:
    """Demonstrations go on paying and pairs hardly do: a quarter leaves much on the table."""
    law = _law(rng)
    sft = (rng.uniform(0.35, 0.6), _log(rng, 1500, 6000), rng.uniform(0.8, 1.5))
    pref = (rng.uniform(0.0, 0.06), *law.pref[1:])
    return replace(law, base=rng.uniform(0.03, 0.2), sft=sft, pref=pref, common=0.0), _noise(rng)


FAMILIES: Mapping[str, Draw] = {
    "cold start": _cold_start,
    "no gate": _no_gate,
    "over-optimised": _over,
    "flat": _flat,
    "corner": _corner,
    "bumpy": _bumpy,
    "heteroscedastic": _heteroscedastic,
    "price-skewed": _cold_start,  # with the prices of `_SKEWED`
    "sudden": _sudden,
    "scarce": _scarce,
    "a quarter is wrong": _quarter_bad,
}
_SKEWED = ((10.0, 1.0), (5.0, 1.0), (1.0, 5.0), (1.0, 10.0))


def generator(split: Split, index: int) -> np.random.Generator:
    """What the numbers of world `index` are drawn from."""
    digest = blake2b(f"apportion worlds 1|{split}|{index}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def world(split: Split, index: int) -> World:
    """World `index` of a split; families take turns. Depends on (split, index) only."""
    names = list(FAMILIES)
    family = names[index % len(names)]
    rng = generator(split, index)
    law, noise = FAMILIES[family](rng)
    prices = _SKEWED[int(rng.integers(len(_SKEWED)))] if family == "price-skewed" else (1.0, 1.0)
    return World(family, split, index, law, noise, prices)


@dataclass
class Laboratory:
    """Measures cells of a world, replicate by replicate, as a study would: same runs, same noise.

    A cell measured twice gives the same scores; an SFT run is shared by all cells that use it.
    `measured` counts what was asked for the first time.
    """

    world: World
    seed: int = 0
    measured: dict[tuple[int, int, int], Floats] = field(default_factory=dict)

    def items(self, n_sft: int, n_pref: int, replicate: int) -> Floats:
        """Item scores (I,), each 0 or 1."""
        key = (n_sft, n_pref, replicate)
        if key not in self.measured:
            self.measured[key] = self._measure(*key)
        return self.measured[key]

    def _normal(self, *name: object) -> np.random.Generator:
        w = self.world
        text = "|".join(map(str, (w.split, w.index, self.seed, *name)))
        digest = blake2b(text.encode(), digest_size=8).digest()
        return np.random.default_rng(int.from_bytes(digest, "big"))

    def _measure(self, n_sft: int, n_pref: int, replicate: int) -> Floats:
        noise, true = self.world.noise, float(self.world.truth(n_sft, n_pref))
        shift = 0.0
        if n_sft or n_pref:
            shift += noise.tau_d * self._normal("data", replicate).standard_normal()
        if n_sft:
            shift += noise.tau_s * self._normal("sft", n_sft, replicate).standard_normal()
        if n_pref:
            run = self._normal("pref", n_sft, n_pref, replicate)
            shift += noise.tau_p * run.standard_normal()
        shift *= float(noise.scale(np.asarray(n_sft))) * np.sqrt(4 * true * (1 - true))
        level = min(max(true + shift, 0.0), 1.0)
        hard = self._normal("items").uniform(-noise.spread, noise.spread, noise.n_items)
        chance = level + (hard - hard.mean()) * min(level, 1 - level)
        drawn = self._normal("answers", n_sft, n_pref, replicate).random(noise.n_items)
        return np.asarray(drawn < chance, dtype=float)
