"""What a study costs and what it found, as a person reads it in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from apportion.cli.common import console, duration, points

if TYPE_CHECKING:
    from apportion.run.audit import Audit
    from apportion.run.results import CellResult
    from apportion.run.survey import Survey


def show_results(rows: Sequence[CellResult]) -> None:
    """A table for each (model, task, method): scores in percent; why, where there is none."""
    from rich import box
    from rich.table import Table

    for model, task, method in dict.fromkeys((r.model, r.task, r.method) for r in rows):
        title = f"{model} · {task} · {method}: percent ± one standard error of the items"
        table = Table(
            title=title,
            title_justify="left",
            pad_edge=False,
            box=box.SIMPLE_HEAD,
            collapse_padding=True,
        )
        for heading in ("SFT", "pref.", "repl."):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("score", no_wrap=True)
        for heading in ("lenient", "no format", "cut off", "tokens", "items"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in rows:
            if (row.model, row.task, row.method) == (model, task, method):
                table.add_row(*_cells(row))
        console().print(table)


def show_audit(audit: Sequence[Audit]) -> None:
    """A sentence for each model, task and method of a shared trajectory."""
    for one in audit:
        differs = one.verdict in ("lower", "higher", "differs by size")
        style = "bold red" if differs else None
        console().print(
            f"{'warning' if differs else 'audit'}: {one.words()}", style=style, markup=False
        )


def _cells(row: CellResult) -> list[str]:
    counts = [f"{row.n_sft:,}", f"{row.n_pref:,}", str(row.replicate)]
    if row.status != "done":
        from rich.markup import escape

        return [*counts, escape(f"{row.status}: {row.reason}"[:60])]
    length = "–" if row.response_tokens is None else f"{row.response_tokens:.0f}"
    return [
        *counts,
        f"{points(row.score)} ± {points(row.stderr)}",
        points(row.lenient),
        points(row.format_failure_rate),
        points(row.truncation_rate),
        length,
        str(row.n_items),
    ]


def show_survey(survey: Survey) -> None:
    """Counts, costs and the smallest detectable difference, one line each."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in _survey_lines(survey):
        table.add_row(name, value)
    console().print(table)


def _survey_lines(survey: Survey) -> list[tuple[str, str]]:
    fewer = survey.naive_training_tokens / max(1, survey.training_tokens)
    low, high = survey.data.money
    money = f"{low:,.2f}" if low == high else f"{low:,.2f} to {high:,.2f}"
    todo = survey.stages - survey.reused_stages
    lines = [
        ("cells", f"{survey.cells:,}, with the base model's"),
        (
            "stages",
            f"{survey.stages:,}, where a loop that shares nothing runs {survey.naive_stages:,}; "
            f"{survey.reused_stages:,} are in the store, {todo:,} to do",
        ),
        (
            "training",
            f"about {_large(survey.training_tokens)} tokens, where such a loop trains "
            f"{_large(survey.naive_training_tokens)} ({fewer:.2f} times as many)",
        ),
        *_trajectory(survey),
        ("time", _time(survey)),
    ]
    if survey.disk_bytes is not None:
        lines.append(("disk", f"about {survey.disk_bytes / 1e6:,.0f} MB"))
    return [
        *lines,
        (
            "data",
            f"{survey.data.demonstrations:,} demonstrations and "
            f"{survey.data.preference_units:,} preference units for a replicate: {money} "
            "at the study's prices",
        ),
        (
            "can detect",
            f"differences between two cells from {100 * survey.detectable_difference:.1f} points "
            f"({survey.n_items:,} items, replicates: {survey.replicates}; 80 % power at 5 %, "
            f"assuming a run-to-run sd of {100 * survey.run_sd:g} points and a correlation of "
            f"{survey.correlation:g} between two runs on an item)",
        ),
    ]


def _trajectory(survey: Survey) -> list[tuple[str, str]]:
    """What a shared trajectory saves, and what of it the audit costs."""
    told = survey.trajectory
    if told is None:
        return []
    both = told.shared_tokens + told.audit_tokens
    ratio = told.independent_tokens / max(1, both)
    return [
        (
            "trajectory",
            f"shared: about {_large(told.shared_tokens)} tokens, and {_large(told.audit_tokens)} "
            f"for {told.audit_cells} cells that are also run independently, where independent runs "
            f"of all cells train {_large(told.independent_tokens)} ({ratio:.2f} times as many). "
            "It changes the recipe",
        )
    ]


def _large(count: int) -> str:
    return f"{count / 1e6:.2f} million" if count >= 1e6 else f"{count:,}"


def _time(survey: Survey) -> str:
    if survey.seconds is None:
        return "not measured (leave --no-measure out)"
    if survey.reused_stages == survey.stages:
        return "nothing to do: every stage is in the store"
    speeds = ", ".join(f"{kind} {rate:,.0f}" for kind, rate in survey.tokens_per_second.items())
    workers = "1 worker" if survey.workers == 1 else f"{survey.workers} workers"
    return f"about {duration(survey.seconds)} on {workers} (measured tokens/s of one: {speeds})"
