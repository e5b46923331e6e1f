"""Fit the published panels one by one, and write what they say of the law's parameters.

python tools/learn_prior.py            # writes src/apportion/surface/data/panels.json
"""

from __future__ import annotations

import json

from apportion.advise.published import FIGURE, PublishedPoint, by_task, load_published
from apportion.surface.evidence import FILE
from apportion.surface.learnt import PanelMoments, moments
from apportion.surface.observe import Observations, observe
from apportion.surface.posterior import sample
from apportion.surface.rows import finished_cells
from apportion.surface.shape import BROAD
from apportion.surface.simulate import SimulatedResult

ITEM_SD = 0.01  # sampling error of a published score: its test sets have 500 to 1,500 items


def rows(points: tuple[PublishedPoint, ...]) -> list[SimulatedResult]:
    """A panel as result rows: one seed, the reading error and the items' as standard error."""
    return [
        SimulatedResult(
            n_sft=round(point.n_sft),
            n_pref=round(point.n_pref),
            replicate=0,
            score=point.score,
            stderr=(point.sd**2 + ITEM_SD**2) ** 0.5,
            task=point.task,
        )
        for point in points
    ]


def observations(points: tuple[PublishedPoint, ...]) -> Observations:
    """A panel as observations."""
    made = rows(points)
    groups, _ = finished_cells(made, model=made[0].model, task=made[0].task, method="dpo")
    return observe(groups, {})


def panels() -> list[PanelMoments]:
    """Every task's moments under the broad prior."""
    figure = by_task(load_published())
    return [
        moments(task, sample(BROAD, observations(points), seed=0))
        for task, points in figure.items()
    ]


def main() -> None:
    """Write the file."""
    content = {
        "source": f"fits of {FIGURE.name} (arXiv 2502.11284) under the broad prior",
        "parameters": "log k_s a_s k_p a_p k_g k_c k_o; weights base sft pref common cold over",
        "panels": [
            {
                "name": one.name,
                "mean": [round(v, 4) for v in one.mean],
                "sd": [round(v, 4) for v in one.sd],
            }
            for one in panels()
        ],
    }
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main()
