"""Each statement on worlds where it is true, where it is false, and where nothing can be told."""

from __future__ import annotations

from dataclasses import replace
from math import log1p

import numpy as np
import pytest

from apportion.findings.best_share import falling
from apportion.findings.study import find
from findings.worlds import flat, on_lattice, on_lines, only_pairs, only_sft, paper


def verdicts(rows, **options):
    found = find(rows, n_draws=1500, **options)
    return {one.letter: one.verdict for one in found.findings}, {
        one.letter: one for one in found.findings
    }


def test_a_world_like_the_paper_s():
    said, findings = verdicts(on_lines(paper))
    # At 250 examples SFT alone is best, at 4,000 a mix is; the cold start needs both scorings.
    small, _ = findings["a"].places
    assert (small.budget, small.verdict) == (250, "holds")
    assert (said["b"], said["c"], said["d"], said["e"]) == ("holds", "holds", "holds", "holds")
    (best,) = findings["b"].places
    truth = max(paper(round(4000 * s), round(4000 * (1 - s))) for s in (0.1, 0.25, 0.5, 0.75))
    assert best.interval[0] < truth - paper(4000, 0) < best.interval[1]
    assert (said["f"], said["h"]) == ("not measured", "not measured")


def test_a_world_where_only_demonstrations_count():
    said, findings = verdicts(on_lines(only_sft, replicates=6, n_items=1500))
    assert (said["a"], said["b"], said["d"]) == ("holds", "does not hold", "holds")
    assert said["c"] == "cannot tell"  # the best share is all SFT throughout: no slope
    assert findings["c"].places[0].interval == (0.0, 0.0)


def test_a_world_where_only_pairs_count():
    said, findings = verdicts(on_lines(only_pairs))
    assert (said["a"], said["d"]) == ("does not hold", "does not hold")
    assert said["e"] == "not measured"
    assert "no loss to repair" in findings["e"].reason


def test_where_nothing_differs_nothing_is_claimed():
    said, _ = verdicts(on_lines(flat, seed=4))
    assert set(said.values()) <= {"cannot tell", "not measured"}


@pytest.mark.parametrize(("world", "b"), [(paper, "holds"), (only_sft, "does not hold")])
def test_a_lattice_answers_as_the_lines_do(world, b):
    said, findings = verdicts(on_lattice(world))
    assert said["b"] == b and said["d"] == "holds"
    (place,) = findings["b"].places
    assert place.budget == 4000 and "interpolated" in place.note


def test_what_a_little_sft_repairs_is_found_in_examples():
    def sudden(n_sft, n_pref):  # half of the loss is gone at e^2 - 1 = 6.4 demonstrations
        return 0.2 + 0.1 * min(log1p(n_sft), 4.0)

    _, findings = verdicts(on_lattice(sudden, levels=(0, 2, 4, 8, 16, 64, 256)))
    (place,) = findings["e"].places
    assert place.verdict == "holds"
    low, high = place.numbers["examples_low"], place.numbers["examples_high"]
    assert low < 6.4 < high and place.estimate == pytest.approx(6.4 / 256, rel=0.25)


def scored(rows, *, strict, lenient):
    """Rows with both scorings, the strict one primary; each a function of the primary score."""
    return [replace(r, strict=strict(r.score), lenient=lenient(r.score)) for r in rows]


def test_a_cold_start_in_one_scoring_only_is_format():
    rows = on_lines(only_sft)
    both = scored(rows, strict=lambda s: s, lenient=lambda s: s)
    said, _ = verdicts(both)
    assert said["d"] == "holds"
    format_only = scored(rows, strict=lambda s: s, lenient=lambda s: 0.8)
    said, findings = verdicts(format_only)
    assert said["d"] == "cannot tell"
    assert "format" in findings["d"].places[0].note
    assert "(lenient)" in findings["d"].places[0].quantity


def test_methods_that_agree_and_that_do_not():
    dpo = on_lines(paper, replicates=6, sigma=0.002, n_items=3000)
    same = on_lines(paper, replicates=6, sigma=0.002, n_items=3000, seed=1, method="kto")
    said, findings = verdicts([*dpo, *same])
    assert said["f"] == "holds", findings["f"]
    worse = on_lines(lambda a, b: paper(a, b // 3), seed=1, method="kto")
    assert verdicts([*dpo, *worse])[0]["f"] == "does not hold"
    # One cell that is far off is a disagreement, whatever the mean says.
    odd = on_lines(lambda a, b: paper(a, b) - 0.2 * (a == 1000), seed=1, method="kto")
    assert verdicts([*dpo, *odd])[0]["f"] == "does not hold"


def test_model_sizes():
    small = on_lines(paper, model="org/x-0.5B")
    large = on_lines(lambda a, b: paper(a, b) + 0.1, seed=1, model="org/x-5B")
    said, findings = verdicts([*large, *small])
    share, gain = findings["h"].places
    assert said["h"] == share.verdict
    assert gain.interval[0] < 0.1 < gain.interval[1] and gain.verdict == "holds"
    apart = on_lines(only_pairs, model="org/x-5B")
    assert verdicts([*apart, *on_lines(only_sft, model="org/x-0.5B")])[0]["h"] == "does not hold"
    unknown = [replace(row, model="mine") for row in large]
    said, findings = verdicts([*small, *unknown])
    assert said["h"] == "not measured" and "mine" in findings["h"].reason
    assert verdicts([*small, *unknown], sizes={"mine": 5e9})[0]["h"] == share.verdict


def test_dear_demonstrations_move_the_best_share():
    # Score by demonstrations up to a need, then by pairs: more of the money when they are dear.
    def needed(n_sft, n_pref):
        return 0.2 + 0.5 * min(n_sft, 300) / 300 + 0.2 * n_pref / (n_pref + 500)

    said, findings = verdicts(on_lattice(needed, levels=(0, 100, 200, 400, 800, 1600, 3200)))
    assert said["g"] == "does not hold"
    best = [v for k, v in findings["g"].places[0].numbers.items() if k.startswith("best_at_")]
    assert len(best) == 7 and best[0] < best[-1]


def test_missing_cells_are_no_numbers():
    rows = on_lines(paper)
    gone = [
        replace(r, status="failed", score=None, item_scores=None, reason="out of memory")
        if r.n_pref == 0 and r.n_sft == 4000
        else r
        for r in rows
    ]
    found = find(gone, n_draws=500)
    assert any("out of memory" in note for note in found.notes)
    assert found.findings[1].places[0].budget == 1000


def test_what_rounding_leaves_of_a_slope_is_no_fall():
    for left in (-1e-17, 1e-17):
        place = falling("m · t · dpo", "slope", left, np.full(1000, left), 1)
        assert (place.verdict, place.estimate, place.interval) == ("cannot tell", 0.0, (0.0, 0.0))
        assert place.leaning is None and not place.contradicted
        assert str(place.estimate) == "0.0"  # and not -0.0
    assert falling("m · t · dpo", "slope", -0.1, np.full(1000, -0.1), 1).verdict == "holds"
