"""A shared trajectory: where one run at a constant rate is cut, and what it cannot be used with.

| symbol | meaning |
|---|---|
| n | a size: examples of one side that a cell wants |
| B | effective batch, in examples |
| b(n) | where the trunk is left for n: four fifths of n, rounded down to whole batches |

The examples of all sizes are prefixes of one order. The trunk goes through that order once, at a
constant rate, and is cut into legs at every b(n). For each n a cool-down goes on from b(n) over the
examples from b(n) to n, while the rate falls to 0. So a size sees its own n examples and no other.
In a leg every example is seen `epochs` times before the next leg begins.

Source: Hägele et al. 2024, arXiv 2405.18392 (a constant rate with a cool-down of a fifth of the
steps in place of a cosine for each length; there over one pass of pretraining data).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any

from apportion.compile.trainer import trainer_of
from apportion.config.recipe import StageRecipe
from apportion.config.study import Study
from apportion.errors import StudyError, UserError
from apportion.models.resolve import resolve_model

#: What a leg of a given spec does; a change of its outcome increases it.
VERSION = 1
#: Part of a size's examples that its cool-down sees, in percent: at least, for whole batches.
COOLDOWN = 20

Point = tuple[int, int]


@dataclass(frozen=True)
class Leg:
    """A part of a trajectory: the examples from `begin` to `end` of the order."""

    begin: int
    end: int
    cooldown: bool
    warmup_steps: int  # of the trunk, counted from its beginning


@dataclass(frozen=True)
class Part:
    """What a training stage sees: the first `n` examples, or of these a leg's, after `previous`."""

    n: int
    leg: Leg | None = None
    previous: str | None = None  # key of the leg before

    @property
    def told(self) -> str:
        """The examples for people."""
        if self.leg is None:
            return str(self.n)
        way = "cool-down" if self.leg.cooldown else "trunk"
        return f"{self.n} ({way} from {self.leg.begin})"


def branch_point(n: int, batch_size: int) -> int:
    """Examples after which the trunk is left for the size `n`: whole batches, perhaps none.

    A cool-down has at least two examples where there are two: KTO cannot learn from one label.
    """
    cut = n * (100 - COOLDOWN) // 100 // batch_size * batch_size
    return cut if n - cut > 1 else max(0, cut - batch_size)


def legs(n: int, sizes: Collection[int], recipe: StageRecipe) -> tuple[Leg, ...]:
    """The legs of the size `n` in their order, its cool-down last.

    `sizes`: all that the trunk serves, `n` among them. The warm-up is the recipe's part of the
    smallest one's steps, so that it is over, or nearly, where the trunk is first left.
    """
    last = branch_point(n, recipe.batch_size)
    steps = recipe.epochs * ceil(min(sizes) / recipe.batch_size)
    warmup = ceil(recipe.warmup_ratio * steps)
    cuts = {branch_point(size, recipe.batch_size) for size in sizes}
    bounds = sorted({0, last} | {cut for cut in cuts if cut <= last})
    trunk = [Leg(begin, end, False, warmup) for begin, end in pairwise(bounds)]
    return (*trunk, Leg(last, n, True, warmup))


def as_leg(spec: dict[str, Any], part: Part) -> dict[str, Any]:
    """The spec of a training, or of one leg of it: its rates are then the trajectory's own."""
    if part.leg is None:
        return spec
    unread = ("schedule", "warmup_ratio")
    recipe = {name: value for name, value in spec["recipe"].items() if name not in unread}
    trajectory = {
        "semantics_version": VERSION,
        "begin": part.leg.begin,
        "cooldown": part.leg.cooldown,
        "warmup_steps": part.leg.warmup_steps,
        "previous": part.previous,
    }
    return {**spec, "recipe": recipe, "trajectory": trajectory}


def cut_points(study: Study, points: Collection[Point]) -> list[Point]:
    """Where the trunks of `points` are left, as points: prefixes of their lengths are needed."""
    recipe = study.recipe
    sft = {branch_point(n, recipe.sft.batch_size) for n, _ in points}
    preference = {branch_point(n, recipe.preference.batch_size) for _, n in points}
    return [*((cut, 0) for cut in sorted(sft)), *((0, cut) for cut in sorted(preference))]


def trajectory_problems(study: Study) -> Iterator[UserError]:
    """What a shared trajectory cannot be used with."""
    if study.trajectory != "shared":
        return
    trl = [name for name in study.models if _uses_trl(study, name)]
    optimizers = {study.recipe.sft.optimizer, study.recipe.preference.optimizer}
    wrongs = {
        f"only the native trainer shares trajectories, and TRL would train {', '.join(trl)}": (
            "write trainer: native",
            bool(trl),
        ),
        "a trajectory is cut and gone on with from the saved state of the optimiser, which for "
        "adamw_8bit is not kept": ("write optimizer: adamw", optimizers != {"adamw"}),
        "an adaptive search picks cells one by one, and a trajectory yields all sizes together": (
            "write search: grid",
            study.search.strategy == "adaptive",
        ),
    }
    for problem, (mend, holds) in wrongs.items():
        if holds:
            yield StudyError(
                f"{problem}.", field="trajectory", mend=f"{mend}, or trajectory: independent."
            )


def _uses_trl(study: Study, name: str) -> bool:
    try:
        return trainer_of(study, resolve_model(name)) == "trl"
    except UserError:  # a model that there is not is somebody else's to tell
        return study.trainer == "trl"
