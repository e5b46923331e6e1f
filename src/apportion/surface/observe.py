"""Rows of results as observations on the scale z, with the structure of their noise.

| symbol | meaning                                                                    | shape  |
|--------|----------------------------------------------------------------------------|--------|
| N, I   | observations (one cell and replicate each); test items                     |        |
| z      | arcsin(sqrt((I y + 3/8) / (I + 3/4))) of the score y (Anscombe)            | N      |
| Q      | covariance of z by the choice of items, the same for all cells             | N, N   |
| D      | 1 where two observations have the same replicate, so the same data draw    | N, N   |
| R      | 1 where they have the same SFT run: the same n_sft > 0 and replicate       | N, N   |
| P      | 1 on the diagonal where there was a preference run                         | N, N   |

Noise = Q + e (tau_d² D + tau_s² R + tau_p² P) e', e larger where there is little SFT (see `shape`).
The base model (0, 0) is not trained and has Q only.
Q's correlations are those of the item scores, shrunk towards their mean (`SHRINK` items' worth):
a few hundred items do not tell N (N - 1) / 2 correlations. Without item scores the reported
standard error stands in, independent between cells.
More than `MOST` observations are averaged within as many sets of replicates as fit, with the same
noise law; very large tables by `merge`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from apportion.surface.merge import merge
from apportion.surface.rows import CellKey, ResultRow
from apportion.surface.shape import EARLY, EARLY_HALF, TAU_D, TAU_P, TAU_S, Floats, places

SHRINK = 100.0
MOST = 130  # a fit's time grows with the cube: 98 rows took 7 s of a busy core, 196 took 25 s
GROUPS = 120  # observations that a very large table is merged into
VERY_MANY = 1500  # rows from which matrices of rows by rows are not made
JITTER = 1e-6


@dataclass(frozen=True, eq=False)
class Observations:
    """See the table; counts are (N,)."""

    n_sft: Floats
    n_pref: Floats
    z: Floats
    items: Floats  # Q
    same_data: Floats  # D
    same_sft: Floats  # R
    own_pref: Floats  # P
    rows: int  # rows that are in, before any averaging
    cells: int
    replicated: int  # cells with more than one replicate
    averaged: bool

    @cached_property
    def apart(self) -> tuple[Floats, NDArray[np.intp]]:
        """Squared distances (K, 2) of the distinct pairs of places, and which of them two
        observations have (N * N,): replicates share a place, and a kernel is the same both ways.
        """
        u, which = np.unique(places(self.n_sft, self.n_pref), axis=0, return_inverse=True)
        first, second = np.triu_indices(len(u))
        pair = np.empty((len(u), len(u)), dtype=np.intp)
        pair[first, second] = pair[second, first] = np.arange(len(first))
        place = which.reshape(-1)
        return (u[first] - u[second]) ** 2, pair[place[:, None], place].reshape(-1)

    def noise(self, theta: Floats) -> Floats:
        """(T, N, N) for thetas (T, 14)."""
        value = np.exp(theta)
        n = len(self.z)
        noise = (value[:, [TAU_D, TAU_S, TAU_P]] ** 2 @ self._kinds).reshape(-1, n, n)
        scale = 1 + value[:, EARLY, None] * np.exp2(-self.n_sft / EARLY_HALF)
        noise *= scale[:, :, None]
        noise *= scale[:, None]
        noise += self.items
        return np.asarray(noise)

    @cached_property
    def _kinds(self) -> Floats:
        """D, R and P, one row each (3, N * N)."""
        kinds = (self.same_data, self.same_sft, self.own_pref)
        return np.stack([np.asarray(kind, dtype=float).reshape(-1) for kind in kinds])


@dataclass(frozen=True, eq=False)
class _Flat:
    """One row for each cell and replicate."""

    n_sft: NDArray[np.int64]
    n_pref: NDArray[np.int64]
    replicate: NDArray[np.int64]
    score: Floats
    n_items: Floats  # effective number behind a score: from the standard error where that is all
    lists: list[Sequence[float] | None]


def _effective_items(row: ResultRow, items: Sequence[float] | None) -> float | None:
    """How many right-or-wrong items would have this score's standard error."""
    assert row.score is not None  # noqa: S101  (checked when the row was read)
    if items is not None:
        return float(len(items))
    if row.stderr is not None and row.stderr > 0:
        spread = max(row.score * (1 - row.score), 0.25 / (row.n_items or 100))
        return max(spread / row.stderr**2, 1.0)
    return float(row.n_items) if row.n_items else None


def _flatten(
    groups: dict[CellKey, list[ResultRow]], contributions: Mapping[int, Sequence[float]]
) -> _Flat:
    rows = [row for many in groups.values() for row in many]
    lengths = Counter(len(c) for c in contributions.values())
    length = lengths.most_common(1)[0][0] if lengths else -1
    kept, counts, lists = [], [], []
    for row in rows:
        mine = contributions.get(id(row))
        mine = mine if mine is not None and len(mine) == length else None
        effective = _effective_items(row, mine)
        if effective is not None:
            kept.append(row)
            counts.append(effective)
            lists.append(mine)
    return _Flat(
        np.array([r.n_sft for r in kept], dtype=np.int64),
        np.array([r.n_pref for r in kept], dtype=np.int64),
        np.array([r.replicate for r in kept], dtype=np.int64),
        np.array([r.score for r in kept], dtype=float),
        np.array(counts, dtype=float),
        lists,
    )


def _correlations(lists: Sequence[Sequence[float]]) -> Floats:
    """Shrunken correlations of the items' scores between observations (N, I) -> (N, N)."""
    y = np.asarray(lists, dtype=float)
    n, length = y.shape
    centred = y - y.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).mean(axis=1))
    known = size > 0
    scaled = np.where(known[:, None], centred / np.where(known, size, 1.0)[:, None], 0.0)
    raw = scaled @ scaled.T / length
    pairs = known[:, None] & known[None] & ~np.eye(n, dtype=bool)
    common = float(np.clip(raw[pairs].mean(), 0.0, 0.95)) if pairs.any() else 0.0
    weight = length / (length + SHRINK)
    mixed = np.where(pairs, weight * raw + (1 - weight) * common, 0.0)
    return np.asarray(mixed + np.eye(n))


def _item_covariance(flat: _Flat) -> Floats:
    sd = 0.5 / np.sqrt(flat.n_items + 0.5)
    correlation = np.eye(len(sd))
    with_items = [k for k, one in enumerate(flat.lists) if one is not None]
    if with_items:
        some = [flat.lists[k] for k in with_items]
        block = _correlations([one for one in some if one is not None])
        correlation[np.ix_(with_items, with_items)] = block
    return sd[:, None] * correlation * sd[None]


def _scaled(flat: _Flat) -> Floats:
    n = flat.n_items
    return np.asarray(np.arcsin(np.sqrt((n * flat.score + 0.375) / (n + 0.75))))


def _merged(flat: _Flat) -> Observations:
    """A very large table, merged into at most `GROUPS` observations."""
    with_items = [one for one in flat.lists if one is not None][:MOST]
    block = _correlations(with_items) if len(with_items) > 1 else np.eye(1)
    apart = ~np.eye(len(block), dtype=bool)
    common = float(block[apart].mean()) if apart.any() else 0.0
    many = Counter(zip(flat.n_sft.tolist(), flat.n_pref.tolist(), strict=True))
    found = merge(
        flat.n_sft, flat.n_pref, flat.replicate, _scaled(flat), 0.25 / (flat.n_items + 0.5),
        common=common, most=GROUPS,
    )  # fmt: skip
    return Observations(
        n_sft=found.n_sft,
        n_pref=found.n_pref,
        z=found.z,
        items=found.items + JITTER * np.eye(len(found.z)),
        same_data=found.same_data,
        same_sft=found.same_sft,
        own_pref=found.own_pref,
        rows=len(flat.lists),
        cells=len(many),
        replicated=sum(1 for count in many.values() if count > 1),
        averaged=True,
    )


def _means(
    s: NDArray[np.int64], p: NDArray[np.int64], replicate: NDArray[np.int64], *, sets: int
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Weights (M, N) that average each cell within `sets` sets of replicates, and its M counts.

    Two sets or more leave differences between runs, from which their noise is told.
    """
    numbers = {number: k % sets for k, number in enumerate(sorted(set(replicate.tolist())))}
    which = [numbers[number] for number in replicate.tolist()]
    keys = list(zip(s.tolist(), p.tolist(), which, strict=True))
    many = Counter(keys)
    place = {key: k for k, key in enumerate(many)}
    mean = np.zeros((len(many), len(keys)))
    for column, key in enumerate(keys):
        mean[place[key], column] = 1 / many[key]
    n_sft, n_pref, _ = (np.array(side) for side in zip(*many, strict=True))
    return mean, n_sft, n_pref


def observe(
    groups: dict[CellKey, list[ResultRow]], contributions: Mapping[int, Sequence[float]]
) -> Observations:
    """Observations from finished cells; `contributions` has the item scores by `id(row)`."""
    flat = _flatten(groups, contributions)
    if len(flat.lists) > VERY_MANY:
        return _merged(flat)
    s, p, r = flat.n_sft, flat.n_pref, flat.replicate
    trained = (s > 0) | (p > 0)
    same = r[:, None] == r[None]
    both = trained[:, None] & trained[None]
    identity = np.eye(len(s))
    parts = {
        "items": _item_covariance(flat) + JITTER * identity,
        "same_data": (same & both).astype(float),
        "same_sft": (same & (s[:, None] == s[None]) & (s > 0)[:, None]).astype(float),
        "own_pref": identity * (p > 0),
    }
    z = _scaled(flat)
    keys = list(dict.fromkeys(zip(s.tolist(), p.tolist(), strict=True)))
    many = Counter(zip(s.tolist(), p.tolist(), strict=True))
    averaged = len(z) > MOST and len(keys) < len(z)
    if averaged:
        mean, s, p = _means(s, p, r, sets=max(1, MOST // len(keys)))
        z, parts = mean @ z, {name: mean @ part @ mean.T for name, part in parts.items()}
    return Observations(
        n_sft=s.astype(float),
        n_pref=p.astype(float),
        z=z,
        rows=len(flat.lists),
        cells=len(keys),
        replicated=sum(1 for count in many.values() if count > 1),
        averaged=averaged,
        **parts,
    )
