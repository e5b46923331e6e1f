"""The report: one self-contained page, and the figures beside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.advise.phrases import number, percent, ranges
from apportion.advise.types import Advice, Baseline
from apportion.advise.words import describe, gains
from apportion.errors import ResultsError
from apportion.report import figures, lattice, scatter
from apportion.report.group import Group, ReportRow, group_results

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class ReportMeta:
    """What the page says of the study beside its results.

    `facts`: titled lists of (name, value), such as ("Recipe", (("SFT learning rate", "1e-4"),)),
    shown as they are. `study`: the study file's text. `refused`: budgets without advice, and why.
    `audit`: how far the scores of a shared trajectory are from independent ones, in sentences.
    """

    title: str
    sandbox: bool = False
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    study: str | None = None
    refused: tuple[str, ...] = field(default=())
    audit: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class ReportPaths:
    """The files that a report wrote."""

    html: Path
    pngs: tuple[Path, ...]
    pdfs: tuple[Path, ...]


@dataclass(frozen=True)
class _Figure:
    name: str
    alt: str
    data: str  # base64 of the PNG
    png: str
    pdf: str


def _points(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _span(interval: tuple[float, float] | None) -> str:
    return "–" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def _runs(shares: Sequence[float], advice: Advice) -> str:
    """Neighbouring shares as `5 % to 40 %`."""
    return ", ".join(ranges(list(shares), [row.share for row in advice.shares])) or "none"


def _length(tokens: float | None) -> str:
    return "–" if tokens is None else f"{tokens:.0f}"


def _gap(rule: Baseline) -> str:
    if rule.difference is None:
        return "–"
    low, high = rule.difference.interval
    return f"{_signed(rule.difference.mean)} ({_signed(low)} to {_signed(high)})"


def _cells(group: Group) -> list[dict[str, Any]]:
    """One row per measured cell, in order of budget and share; then cells on no line."""
    rows = []
    for cell in group.estimate.cells:
        counts = (cell.n_sft, cell.n_pref)
        where = "; ".join(f"{number(b)} at {percent(s)}" for b, s in cell.lines)
        rows.append(
            {
                "where": "base model" if counts == (0, 0) else where or "–",
                "order": (min(cell.lines, default=(0.0, 0.0)), counts),
                "cell": cell,
                "strict": _points(group.mean_of("strict", *counts)),
                "lenient": _points(group.mean_of("lenient", *counts)),
                "no_format": _points(group.mean_of("format_failure_rate", *counts)),
                "cut": _points(group.mean_of("truncation_rate", *counts)),
                "length": _length(group.mean_of("response_tokens", *counts)),
            }
        )
    return sorted(rows, key=lambda row: row["order"])


def _absent(group: Group) -> list[dict[str, Any]]:
    """Cells without a score, replicates with the same reason together."""
    found: dict[tuple[int, int, str, str], list[int]] = {}
    for row in group.rows:
        if row.status != "done":
            key = (row.n_sft, row.n_pref, row.status, row.reason or "no reason recorded")
            found.setdefault(key, []).append(row.replicate)
    return [
        {"n_sft": k[0], "n_pref": k[1], "status": k[2], "reason": k[3], "replicates": sorted(v)}
        for k, v in found.items()
    ]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "group"


def _figures(group: Group, place: int, out_dir: Path) -> tuple[list[_Figure], list[Path]]:
    drawn = [
        ("score_by_budget", "Score against budget, one line per share", figures.score_by_budget),
        ("score_by_share", "Score against share, one panel per budget", figures.score_by_share),
        ("heat_map", "Score over both counts, best splits marked", lattice.heat_map),
        ("replicates", "Scatter between replicates against that of the items",
         scatter.replicate_scatter),
    ]  # fmt: skip
    shown, written = [], []
    for name, alt, draw in drawn:
        figure = draw(group)
        if figure is None:
            continue
        stem = out_dir / f"{name}-{place}-{_slug(group.name)}"
        png, pdf = figures.save(figure, stem)
        data = base64.b64encode(png.read_bytes()).decode("ascii")
        shown.append(_Figure(name, f"{alt}: {group.name}", data, png.name, pdf.name))
        written += [png, pdf]
    return shown, written


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        points=_points,
        span=_span,
        percent=percent,
        runs=_runs,
        gains=gains,
        number=number,
        gap=_gap,
        describe=describe,
    )
    return environment


def _sigma(group: Group) -> dict[str, str]:
    sigma = group.estimate.sigma
    return {
        "median": _points(sigma.median),
        "interval": _span(sigma.interval),
        "prior": f"{100 * sigma.prior_share:.0f} %",
        "scale": _points(sigma.prior_scale),
        "df": f"{sigma.prior_df:g}",
        "data_df": str(sigma.data_df),
    }


def _reasons(group: Group) -> list[str]:
    """Every reason for doubt once: what holds for all budgets first, then budget by budget."""
    every = [set(advice.reasons) for advice in group.advice]
    common = set.intersection(*every) if every else set()
    shown = dict.fromkeys(group.estimate.reasons)
    for advice in group.advice:
        shown.update(dict.fromkeys(r for r in advice.reasons if r in common))
    for advice in group.advice:
        for reason in advice.reasons:
            if reason not in shown:
                shown[f"budget {number(advice.budget)}: {reason}"] = None
    return [reason[0].upper() + reason[1:] for reason in shown]


def write_report(
    results: Iterable[ReportRow], advice_list: Sequence[Advice], meta: ReportMeta, out_dir: Path
) -> ReportPaths:
    """Write `report.html` and its figures (PNG and PDF) into `out_dir`, made if need be.

    `results` may hold several models, tasks and methods; each gets a part of its own. Raises
    ResultsError for an empty or bad table, and when the folder cannot be written.
    """
    groups = group_results(results, advice_list, sandbox=meta.sandbox)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        parts, files = [], []
        for place, group in enumerate(groups, start=1):
            shown, written = _figures(group, place, out_dir)
            files += written
            parts.append(
                {
                    "group": group,
                    "figures": shown,
                    "cells": _cells(group),
                    "absent": _absent(group),
                    "sigma": _sigma(group),
                    "reasons": _reasons(group),
                }
            )
        page = _environment().get_template("report.html.j2").render(meta=meta, parts=parts)
        html = out_dir / "report.html"
        html.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ResultsError(
            f"the report cannot be written: {error.strerror}.",
            file=out_dir,
            mend="Choose another folder.",
        ) from None
    pngs = tuple(path for path in files if path.suffix == ".png")
    return ReportPaths(html, pngs, tuple(path for path in files if path.suffix == ".pdf"))
