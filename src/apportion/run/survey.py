"""What a study costs and what it can detect, before anything is spent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.metrics.power import detectable_difference
from apportion.prices import corners, data_only, spend
from apportion.run.estimate import Estimate, Rates, estimate, measure_rate
from apportion.run.layout import plan_layout
from apportion.run.schedule import needed
from apportion.store.store import Store

if TYPE_CHECKING:
    from apportion.compile import Plan

RUN_SD = 0.03  # run-to-run noise before a study has measured it: the prior of the estimate
CORRELATION = 0.3  # of two runs' scores on one item, likewise


@dataclass(frozen=True)
class Spend:
    """The examples a replicate needs: subsets are nested, so as many as its largest cells."""

    demonstrations: int
    preference_units: int
    money: tuple[float, float]  # at the low and high prices


@dataclass(frozen=True)
class Trajectory:
    """Training tokens of a shared trajectory, of its audit beside it, and of an ordinary study."""

    shared_tokens: int
    audit_tokens: int
    audit_cells: int
    independent_tokens: int


@dataclass(frozen=True)
class Survey:
    """Counts, costs and the smallest difference that two cells can show.

    Seconds and bytes are for what is not in the store yet; None where nothing was measured.
    """

    cells: int
    stages: int
    naive_stages: int
    training_tokens: int
    naive_training_tokens: int
    reused_stages: int
    trajectory: Trajectory | None  # where it is shared
    workers: int
    seconds: float | None
    disk_bytes: int | None
    tokens_per_second: dict[str, float]
    data: Spend
    replicates: int
    n_items: int
    detectable_difference: float
    run_sd: float
    correlation: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON-able values; what was not measured is null."""
        return asdict(self)


def survey(plan: Plan, store: Path, *, measure: bool = True) -> Survey:
    """Count what `plan` needs beyond `store`; with `measure`, time some seconds of real steps."""
    todo = _todo(plan, store)
    layout = plan_layout(plan, None)
    workers = max(1, layout.workers)
    rates = _rates(plan, layout.threads) if measure and todo else None
    cost = Estimate(0.0, 0) if not todo else estimate(plan, rates, workers, todo) if rates else None
    study = plan.study
    return Survey(
        cells=len(plan.cells),
        stages=plan.unique.total,
        naive_stages=plan.naive.total,
        training_tokens=plan.unique.training_tokens,
        naive_training_tokens=plan.naive.training_tokens,
        reused_stages=len(plan.stages) - len(todo),
        trajectory=_trajectory(plan) if plan.audit else None,
        workers=workers,
        seconds=cost.seconds if cost else None,
        disk_bytes=cost.disk_bytes if cost else None,
        tokens_per_second=dict(rates.tokens_per_second) if rates else {},
        data=_data(plan),
        replicates=study.replicates,
        n_items=study.evaluation.n_items,
        detectable_difference=detectable_difference(
            study.evaluation.n_items, study.replicates, run_sd=RUN_SD, correlation=CORRELATION
        ),
        run_sd=RUN_SD,
        correlation=CORRELATION,
    )


def _trajectory(plan: Plan) -> Trajectory:
    from apportion.compile import compile_study

    own = {key for cell in plan.cells for key in cell.stages}
    shared = sum(
        stage.tokens
        for key, stage in plan.stages.items()
        if key in own and stage.kind in ("sft", "preference")
    )
    ordinary = compile_study(plan.study.model_copy(update={"trajectory": "independent"}))
    return Trajectory(
        shared_tokens=shared,
        audit_tokens=plan.unique.training_tokens - shared,
        audit_cells=len(plan.audit),
        independent_tokens=ordinary.unique.training_tokens,
    )


def _todo(plan: Plan, store: Path) -> set[str]:
    """Stages that a run would still do; all of them where there is no store yet."""
    if not store.exists():
        return set(plan.stages)
    with Store.open(store, create=False, read_only=True) as opened:

        def done(key: str) -> bool:
            record = opened.record(key)
            return record is not None and record.status == "done"

        return set(needed(plan.stages, plan.wanted, done))


def _rates(plan: Plan, threads: int) -> Rates:
    """Rates of the plan's largest model: what it takes, the others take at most."""
    from apportion.models.resolve import resolve_model

    names = sorted({cell.model for cell in plan.cells})
    refs = [resolve_model(name) for name in names]
    size = {ref.name: sum(f.stat().st_size for f in Path(ref.path).glob("*.safetensors"))
            for ref in refs if ref.kind != "hub"}  # fmt: skip
    largest = max(refs, key=lambda ref: size.get(ref.name, float("inf")))
    return measure_rate(largest, plan.study.recipe, task=plan.study.tasks[0], threads=threads)


def _data(plan: Plan) -> Spend:
    """Distinct examples the study needs per replicate: subsets are nested, so the largest."""
    demonstrations = max(cell.n_sft for cell in plan.cells)
    units = max(cell.n_pref for cell in plan.cells)
    priced = corners(data_only(plan.study.prices))
    costs = [spend(demonstrations, units, prices) for prices in priced]
    return Spend(demonstrations, units, (min(costs), max(costs)))
