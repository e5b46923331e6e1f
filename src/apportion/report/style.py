"""What all figures share: colours, the strip with the title, and files without dates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.report.group import Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
SANDBOX = "generated sandbox: says nothing about real models"
INK, QUIET, WARN, SAFE, PICK = "#1d2433", "#6b7280", "#b45309", "#86c5a4", "#c2255c"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9aa3b2",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e9ef",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
}


def title(figure: Any, group: Group, what: str) -> None:
    """The title, and under it what the figure rests on, in a strip that the axes keep free."""
    width, height = figure.get_size_inches()
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - 0.66 / height))
    text = f"{what}: {group.name}"
    size = min(12.5, 72 * width * 0.98 / (0.68 * len(text)))  # a bold letter is 0.68 em wide
    top = 1 - 0.1 / height
    figure.text(0.01, top, text, fontsize=size, fontweight="bold", va="top")
    warning = f" · {SANDBOX}" if group.sandbox else ""
    figure.text(
        0.01,
        top - 0.26 / height,
        f"{group.evidence} · 90 % intervals{warning}",
        fontsize=9.5,
        va="top",
        color=WARN if warning else QUIET,
    )


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write `stem`.png and `stem`.pdf, without dates, so equal results give equal bytes."""
    from matplotlib import rc_context

    png, pdf = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".pdf")
    with rc_context(STYLE):
        figure.savefig(png, dpi=DPI, metadata={"Software": None}, facecolor="white")
        figure.savefig(pdf, metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return png, pdf
