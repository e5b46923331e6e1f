"""The grid: its study, its cells in the loops' terms, a sample of them, and what they train on."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate, zip_longest
from typing import Any

from apportion.compile import Cell, Plan, compile_study
from apportion.config.study import Study
from apportion.models.resolve import resolve_model
from apportion.models.template import load_tokenizer, make_template
from apportion.run.common import task_of
from apportion.run.export.cell import Parts, find_cell


@dataclass(frozen=True)
class Grid:
    """What is asked for; `threads`, `micro`: how TRL is run (see `step`).

    `lattice`: levels of demonstrations and of preference units, in place of budgets × shares.
    `targets`: the budgets that a search is to decide.
    """

    model: str
    task: str
    methods: tuple[str, ...]
    budgets: tuple[int, ...]
    shares: tuple[float, ...]
    replicates: int
    items: int
    threads: int
    micro: tuple[tuple[str, int], ...] = ()
    lattice: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()
    dtype: str = "float32"

    @property
    def values(self) -> dict[str, Any]:
        """The study as it stands in a file."""
        levels = list(self.lattice)
        where: dict[str, Any] = {
            "budget": {"unit": "examples", "levels": list(self.budgets)},
            "shares": list(self.shares),
        }
        return {
            "models": [self.model],
            "tasks": [self.task],
            "methods": list(self.methods),
            **({"lattice": {"n_sft": levels, "n_pref": levels}} if levels else where),
            "replicates": self.replicates,
            "recipe": {"preset": "sandbox", "dtype": self.dtype},
            "evaluation": {"n_items": self.items, "decoding": "greedy"},
            "trainer": "native",
        }

    @cached_property
    def plan(self) -> Plan:
        return compile_study(Study.of(self.values))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All but the untrained model, which ours measures once and a loop need not at all."""
        return tuple(cell for cell in self.plan.cells if cell.n_sft or cell.n_pref)

    @property
    def header(self) -> dict[str, Any]:
        """What every measurement in one file must have in common: data and models by their keys."""
        keys = "".join(cell.score_key for cell in self.plan.cells)
        digest = hashlib.sha256(keys.encode()).hexdigest()[:16]
        plain = {k: v if not isinstance(v, tuple) else list(v) for k, v in asdict(self).items()}
        return {**plain, "micro": dict(self.micro), "plan": digest}

    def parts(self, cell: Cell) -> Parts:
        place = (cell.n_sft, cell.n_pref, cell.replicate)
        return find_cell(self.plan, place, method=cell.method)


def name_of(cell: Cell) -> str:
    """A cell within a grid of one model and one task."""
    return f"{cell.method}-{cell.n_sft}-{cell.n_pref}-r{cell.replicate}"


def steps_of(cell: Cell) -> tuple[str, ...]:
    """The processes that a loop starts for a cell."""
    trained = (("sft", cell.n_sft), (cell.method, cell.n_pref))
    return (*(step for step, n in trained if n), "evaluate")


def sample(cells: Sequence[Cell], n: int, seed: int) -> list[Cell]:
    """`n` cells drawn at random: in turn from every method and budget (of a lattice: every number
    of demonstrations), each in a random order.

    So the regression sees all methods, and few tokens as well as many.
    """
    stream = random.Random(seed)
    strata: dict[tuple[str, float], list[Cell]] = {}
    for cell in cells:
        size = cell.lines[0][0] if cell.lines else float(cell.n_sft)
        strata.setdefault((cell.method, size), []).append(cell)
    for stratum in strata.values():
        stream.shuffle(stratum)
    rounds = zip_longest(*strata.values())
    return [cell for one in rounds for cell in one if cell is not None][:n]


class Tokens:
    """Prompt and response tokens that a training sees over its epochs, padding left out; of a pair
    both responses, each with its prompt; of a label its own response."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._known: dict[tuple[str, int], list[int]] = {}

    def of(self, cell: Cell) -> dict[str, int]:
        """By step of the cell's loop."""
        parts = self._grid.parts(cell)
        stages = dict(zip(steps_of(cell), parts.training, strict=False))
        return {step: self._count(step, stage) for step, stage in stages.items()}

    def _count(self, step: str, stage: Any) -> int:
        data = stage.spec["data"]
        sums = self._known.get((step, data["seed"]), [])
        if len(sums) <= data["n"]:
            sums = self._known[step, data["seed"]] = self._sums(step, stage)
        return sums[data["n"]] * int(stage.spec["recipe"]["epochs"])

    def _sums(self, step: str, stage: Any) -> list[int]:
        """Tokens of the first n examples, by n; subsets are nested."""
        from apportion.training.batches import encode

        ref = resolve_model(stage.spec["model"]["name"])
        template = make_template(ref, load_tokenizer(ref))
        pool, data = task_of(stage.spec).pool, stage.spec["data"]
        draw = {"sft": pool.demonstrations, "dpo": pool.pairs, "kto": pool.labels}[step]
        most = max(cell.n_sft if step == "sft" else cell.n_pref for cell in self._grid.plan.cells)
        lengths = []
        for one in draw(most, seed=data["seed"]):
            texts = (one.chosen, one.rejected) if step == "dpo" else (one.response,)
            rows = [
                encode(template, one.prompt, text, max_length=stage.spec["max_length"])
                for text in texts
            ]
            lengths.append(sum(len(row.ids) for row in rows if row is not None))
        return list(accumulate(lengths, initial=0))
