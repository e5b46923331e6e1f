"""Very many rows merged into few observations, with the noise that their means have.

| symbol | meaning                                                                  | shape |
|--------|--------------------------------------------------------------------------|-------|
| N, G   | rows; groups: cells, or where there are too many, neighbours in           |       |
|        | (log1p n_sft, log1p n_pref), zero counts by themselves                     |       |
| A      | part of a group's rows that belong to a run: data draw, or SFT run         | G, .  |
| v, c   | item variance of a row; correlation of two rows' item errors               | N; 1  |

A group's mean has covariance A A' tau² of each kind of run, and c sd sd' + (1 - c) of the items'
independent part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apportion.surface.shape import Floats

Ints = NDArray[np.int64]
_FIRST_PITCH = 0.02


@dataclass(frozen=True, eq=False)
class Merged:
    """What `observe.Observations` needs of the groups."""

    n_sft: Floats
    n_pref: Floats
    z: Floats
    items: Floats
    same_data: Floats
    same_sft: Floats
    own_pref: Floats


def groups_of(n_sft: Ints, n_pref: Ints, most: int) -> Ints:
    """Group numbers (N,), at most `most` different: finer groups first."""
    u = np.log1p(np.stack([n_sft, n_pref], axis=1).astype(float))
    label = np.unique(u, axis=0, return_inverse=True)[1].ravel()
    pitch = _FIRST_PITCH
    while label.max() + 1 > most:
        binned = np.where(u == 0, -1.0, np.floor(u / pitch))
        label = np.unique(binned, axis=0, return_inverse=True)[1].ravel()
        pitch *= 1.5
    return np.asarray(label, dtype=np.int64)


def _parts(label: Ints, runs: Ints, belongs: NDArray[np.bool_], count: Floats) -> Floats:
    """A (G, runs): the part of each group that each run holds."""
    number = np.unique(runs, return_inverse=True)[1].ravel()
    parts = np.zeros((len(count), int(number.max()) + 1))
    np.add.at(parts, (label[belongs], number[belongs]), 1.0)
    return np.asarray(parts / count[:, None])


def merge(
    n_sft: Ints,
    n_pref: Ints,
    replicate: Ints,
    z: Floats,
    variance: Floats,
    *,
    common: float,
    most: int,
) -> Merged:
    """Groups of rows (N,); see the table. `common`: c."""
    label = groups_of(n_sft, n_pref, most)
    count = np.bincount(label).astype(float)

    def mean(values: Floats) -> Floats:
        return np.asarray(np.bincount(label, values) / count)

    trained = (n_sft > 0) | (n_pref > 0)
    data = _parts(label, replicate, trained, count)
    run = np.unique(np.stack([n_sft, replicate], axis=1), axis=0, return_inverse=True)[1].ravel()
    sft = _parts(label, np.asarray(run, dtype=np.int64), n_sft > 0, count)
    sd = mean(np.sqrt(variance))
    alone = np.bincount(label, variance) / count**2
    return Merged(
        n_sft=np.expm1(mean(np.log1p(n_sft.astype(float)))),
        n_pref=np.expm1(mean(np.log1p(n_pref.astype(float)))),
        z=mean(z),
        items=common * np.outer(sd, sd) + np.diag((1 - common) * alone),
        same_data=data @ data.T,
        same_sft=sft @ sft.T,
        own_pref=np.diag(np.bincount(label, (n_pref > 0).astype(float)) / count**2),
    )
