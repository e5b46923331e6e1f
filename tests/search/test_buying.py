"""The buyer's loop: it spends what it has, trains on what it owns, and heeds what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from apportion.config.budget import Prices
from apportion.errors import StudyError
from apportion.prices import spend
from apportion.search import buying
from apportion.search.buying import Manner, buy, open_share, points_of
from apportion.surface import hierarchy
from apportion.surface.simulate import SimulatedResult


def law(n_sft, n_pref):
    """Demonstrations carry the score; pairs add little, and saturate."""
    s, p = np.asarray(n_sft, float), np.asarray(n_pref, float)
    return 0.1 + 0.5 * (1 - (1 + s / 3000) ** -1.0) + 0.05 * (1 - np.exp(-p / 100))


@dataclass
class World:
    """Exact scores; remembers what was asked of it."""

    asked: list = field(default_factory=list)

    def measure(self, cell):
        self.asked.append(cell)
        score = float(law(*cell[:2])) + 0.001 * cell[2]
        return SimulatedResult(*cell, score=score, stderr=0.01, n_items=400)

    def cost(self, cell, done):
        assert cell not in done
        return float(cell[0] + cell[1])


@dataclass
class Known:
    """A surface that knows the law, but for a shift of each draw."""

    estimate: object
    model: str = "sandbox:simulated"
    task: str = "math"
    method: str = "dpo"
    status: str = "ok"
    reasons: tuple = ()

    @property
    def diagnostics(self):
        return SimpleNamespace(replicated=5, effective=500.0, run_sd=(0.02, 0.01, 0.03))

    def draws(self, n_sft, n_pref, *, n_draws=500, seed=0):
        rng = np.random.default_rng(seed)
        s, p = np.asarray(n_sft, float), np.asarray(n_pref, float)
        slope = 0.6 * rng.standard_normal((n_draws, 1)) * np.log1p(s) / 9
        return np.clip(law(s, p) + slope, 0, 1)


@pytest.fixture
def knows(monkeypatch):
    """The fit is a stub, so that the loop alone is on trial."""

    def fit(rows, **name):
        return Known(hierarchy.fit(rows, **name, n_draws=50))

    monkeypatch.setattr(buying, "fit_surface", fit)


def go(prices=(1.0, 1.0), budget=4000.0, **manner):
    world, heard = World(), []
    story = buy(
        world, budget, Prices(sft=prices[0], preference=prices[1]), task="math",
        manner=Manner(**manner), on_step=lambda step: heard.append((step, len(world.asked))),
    )  # fmt: skip
    return world, story, heard


@pytest.mark.parametrize("prices", [(1.0, 1.0), (10.0, 1.0), (1.0, 5.0)])
@pytest.mark.parametrize("follow", ["open", "split", "gain"])
def test_it_spends_the_budget_and_never_trains_on_what_it_does_not_own(knows, prices, follow):
    world, story, heard = go(prices, follow=follow)
    assert [step for step, _ in heard] == list(story.steps)
    owned, before = np.zeros(2), 0
    for step, runs in heard:
        owned += step.bought
        assert all(s <= owned[0] and p <= owned[1] for s, p, _ in world.asked[before:runs])
        assert runs - before == step.runs
        assert step.money == pytest.approx(
            spend(*step.bought, Prices(sft=prices[0], preference=prices[1]))
        )
        before = runs
    assert tuple(owned) == story.owned
    assert story.money + story.left == pytest.approx(4000)
    assert 0 <= story.left < min(prices)
    assert tuple(world.asked) == story.cells and len(set(world.asked)) == len(world.asked)
    assert story.training == sum(s + p for s, p, _ in world.asked)


def test_the_pilot_is_a_fifth_at_most_and_every_trained_cell_has_two_replicates(knows):
    world, story, _ = go()
    assert story.steps[0].why == "the pilot" and 0 < story.steps[0].money <= 800
    points = {cell[:2] for cell in world.asked} - {(0, 0)}
    assert all({(*point, 0), (*point, 1)} <= set(world.asked) for point in points)
    assert points >= set(points_of(story.steps[0].bought, buying.PILOT))


def test_it_ends_near_the_best_split_of_a_world_that_it_knows(knows):
    _, story, _ = go(follow="split")
    line = np.arange(4001)
    assert law(line, 4000 - line).max() - law(*story.owned) < 0.005


SHARES = np.linspace(0, 1, 11)


def test_a_batch_keeps_open_what_may_be_best():
    """Half of the draws want all demonstrations, half (a little less) want none."""
    first, second = SHARES, 0.9 * (1 - SHARES)
    mu = np.array([first, second])
    # A tenth now: all on demonstrations leaves f in 0.1..1, none leaves 0..0.9. What is lost is
    # 0.9 * 0.1 / 2 with the first and 0.1 / 2 with the second: the first is the better one.
    assert open_share(mu, SHARES, 0.1) == 1.0
    # The last money goes where the expected score is highest, whatever could have been.
    assert open_share(mu, SHARES, 1.0) == 1.0
    assert open_share(np.array([0.9 * first, second + 0.2 * (SHARES == 0)]), SHARES, 1.0) == 0.0


def test_where_the_best_is_not_touched_by_the_batch_it_goes_towards_it():
    mu = -np.abs(SHARES - 0.3)[None]  # known: every batch that leaves 0.3 is worth the same
    assert open_share(mu, SHARES, 0.2) == pytest.approx(0.3)
    assert open_share(mu, SHARES, 0.9) == pytest.approx(0.3)


def test_a_doubtful_best_in_the_middle_is_not_left_for_a_likely_corner():
    """Two thirds say no demonstrations (by little); a third says half (by much)."""
    little = 0.02 * (1 - SHARES)
    much = -5 * (SHARES - 0.5) ** 2
    mu = np.array([little, little, much])
    part = 0.6  # going all on pairs would leave f at most 0.4
    share = open_share(mu, SHARES, part)
    assert share * part <= 0.5 <= 1 - (1 - share) * part


def test_stop_is_heeded_where_it_should_be(knows):
    spent = {heed: go(heed_stop=heed, worth=0.9)[1] for heed in (True, False)}
    assert spent[True].money == spent[True].steps[0].money < 1000
    assert spent[False].money == 4000
    assert [s.said_stop for s in spent[False].steps if s.share is not None].count(False) == 0


def test_without_evidence_it_goes_on_to_the_plans_split(monkeypatch):
    def none(rows, **name):
        return SimpleNamespace(status="not enough evidence", reasons=("too few",))

    monkeypatch.setattr(buying, "fit_surface", none)
    _, story, _ = go()
    whole = buying.plan("math", 4000.0, Prices()).whole
    assert story.owned == (whole.n_sft, whole.n_pref)
    assert story.steps[0].runs and not any(step.runs for step in story.steps[1:])


def test_a_budget_for_a_single_example_is_spent_on_it():
    world, story, _ = go(budget=1.0)
    assert sum(story.owned) == 1 and world.asked == [] and len(story.steps) == 1


def test_a_budget_that_buys_nothing_is_refused():
    with pytest.raises(StudyError, match="buys nothing"):
        go(budget=0.5)


def test_subsets_of_what_is_owned():
    assert points_of((4, 0)) == [(1, 0), (2, 0), (4, 0)]
    assert points_of((8, 4), ((1.0, 0.25), (0.25, 1.0))) == [(8, 1), (2, 4)]


def test_one_world_with_the_real_fit():
    _, story, _ = go(batch=0.4, cells=1)
    assert story.money == 4000
    assert law(*story.owned) > law(1000, 3000), "a quarter is wrong here, and the buyer saw it"
    advised = [step for step in story.steps if step.why == "the advice"]
    assert advised and all(0 <= step.expected_regret < 0.1 for step in advised)
