"""The heat map shows each cell where it is, and the scatter figure says what replicates say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from apportion.advise.shares import advise_levels
from apportion.report.group import group_results
from apportion.report.html import ReportMeta, write_report
from apportion.report.lattice import heat_map, line_advice
from apportion.report.scatter import replicate_scatter, scatter_of
from apportion.report.style import save
from apportion.surface.model import fit_surface
from apportion.surface.simulate import budget_cells, law, simulate

LEVELS = (0, 100, 200, 400)


def lattice(levels=LEVELS, replicates=3, sigma=0.02, n_items=100, seed=0):
    truth = {(a, b): law(a, b) for a in levels for b in levels}
    return simulate(truth, replicates=replicates, sigma=sigma, n_items=n_items, seed=seed)


def group(rows, advice=()):
    return group_results(rows, advice, sandbox=False)[0]


def texts(figure):
    return [t.get_text() for ax in figure.axes for t in ax.texts]


def test_every_cell_has_its_number_at_its_place():
    one = group(lattice())
    figure = heat_map(one)
    ax = figure.axes[0]
    ticks = [t.get_text() for t in ax.get_xticklabels()]
    assert ticks == ["0", "100", "200", "400"]
    at = dict(zip(ax.get_xticks(), LEVELS, strict=True))
    shown = {(at[t.get_position()[0]], at[t.get_position()[1]]): t.get_text() for t in ax.texts}
    assert shown == {(c.n_sft, c.n_pref): f"{100 * c.mean:.0f}" for c in one.estimate.cells}
    (mesh,) = ax.collections
    tiles = np.asarray(mesh.get_array()).reshape(4, 4)
    assert tiles[1, 3] == pytest.approx(100 * one.cell(400, 100).mean)


def test_a_failed_cell_is_a_hole_and_no_number():
    gone = {"status": "failed", "score": None, "item_scores": None, "reason": "out of memory"}
    rows = [
        dataclasses.replace(r, **gone) if (r.n_sft, r.n_pref) == (200, 200) else r
        for r in lattice()
    ]
    ax = heat_map(group(rows)).axes[0]
    assert len(ax.texts) == 15
    assert np.ma.getmaskarray(ax.collections[0].get_array()).sum() == 1


def test_budget_lines_of_a_lattice_are_those_that_it_covers():
    found = line_advice(group(lattice()))
    assert [advice.budget for advice in found] == [100, 200, 400]
    narrow = [row for row in lattice() if row.n_pref <= 100]
    wide = group([*narrow, *simulate({(a, 50): 0.5 for a in LEVELS}, replicates=1, sigma=0.0,
                                     n_items=100, seed=1)])  # fmt: skip
    assert [advice.budget for advice in line_advice(wide)] == [100]


def test_the_recommended_split_is_marked_where_it_is():
    one = group(lattice())
    ax = heat_map(one).axes[0]
    rings = [line for line in ax.lines if line.get_marker() == "o"]
    at = [(float(ring.get_xdata()[0]), float(ring.get_ydata()[0])) for ring in rings]
    expected = [
        (np.log1p(advice.n_sft / 100), np.log1p(advice.n_pref / 100)) for advice in line_advice(one)
    ]
    assert np.array(at) == pytest.approx(np.array(expected))


def test_a_study_of_budget_lines_is_drawn_as_dots_with_its_advice():
    cells = budget_cells((100, 400, 1600), (0, 0.25, 0.5, 1))
    rows = simulate(
        {k: law(*k) for k in cells}, replicates=2, sigma=0.01, n_items=80, seed=1, lines=cells
    )
    estimate = fit_surface(rows, model=rows[0].model, task=rows[0].task, method=rows[0].method)
    one = group(rows, advise_levels(estimate)[0])
    ax = heat_map(one).axes[0]
    assert len(ax.texts) == len(cells) and len(ax.collections) == 1
    assert sum(line.get_marker() == "o" for line in ax.lines) == 3


def test_too_few_levels_make_no_map():
    assert heat_map(group(lattice(levels=(0, 100)))) is None
    assert replicate_scatter(group(lattice(replicates=1))) is None


def test_scatter_of_two_replicates_by_hand():
    rows = lattice(replicates=2)
    found = {(s.n_sft, s.n_pref): s for s in scatter_of(group(rows))}
    first, second = (r for r in rows if (r.n_sft, r.n_pref) == (200, 400))
    gap = np.array(first.item_scores) - np.array(second.item_scores)
    one = found[200, 400]
    assert one.seen == pytest.approx(abs(gap.mean()) / np.sqrt(2))
    assert one.alone == pytest.approx(np.sqrt(gap.var(ddof=1) / 2 / 100))
    assert (0, 0) not in found and len(found) == 15


def test_without_item_scores_the_standard_error_stands_in():
    rows = [dataclasses.replace(r, item_scores=None) for r in lattice()]
    errors = [r.stderr for r in rows if (r.n_sft, r.n_pref) == (100, 0)]
    (one,) = (s for s in scatter_of(group(rows)) if (s.n_sft, s.n_pref) == (100, 0))
    assert one.alone == pytest.approx(np.sqrt(np.mean(np.square(errors))))


@pytest.mark.parametrize(("sigma", "above"), [(0.0, (0.0, 0.15)), (0.08, (0.5, 1.0))])
def test_cells_above_the_band_tell_of_run_noise(sigma, above):
    levels = (0, 50, 100, 200, 400, 800, 1600, 3200)
    figure = replicate_scatter(group(lattice(levels, sigma=sigma, n_items=300)))
    said = next(text for text in texts(figure) if "above the band" in text)
    count, _, of = said.split()[:3]
    assert of == "63"
    assert above[0] <= int(count) / 63 <= above[1]


def test_a_report_of_a_lattice_holds_both_and_the_same_bytes(tmp_path):
    rows = lattice()
    paths = write_report(rows, (), ReportMeta("x"), tmp_path)
    names = [path.name.partition("-")[0] for path in paths.pngs]
    assert names == ["score_by_budget", "heat_map", "replicates"]
    again = save(heat_map(group(rows)), tmp_path / "again")[0]
    assert again.read_bytes() == paths.pngs[1].read_bytes()
