"""Buying data in steps: plan, pilot, advice, the next batch, a few more cells, advice again.

| symbol | meaning                                                                       |
|--------|-------------------------------------------------------------------------------|
| B      | money for all data; annotation is all that it pays for                        |
| owned  | (demonstrations, preference units) bought so far                              |
| cell   | a training run on a part of what is owned: n_sft <= owned_sft, n_pref likewise |
| batch  | money of one purchase, at most what is left; share b of it for demonstrations  |
| r      | batch / what is left                                                          |
| f      | share of what is left that ends in demonstrations; after a batch b r <= f and   |
|        | f <= 1 - (1 - b) r, because nothing bought is given back                       |
| mu     | drawn score of every f (D, K), one row for each surface that fits              |

Nobody can train on data that they have not bought, so every cell is a subset of what is owned, and
the pilot is paid for out of the budget. A purchase is final: the batch is split so that what may
yet turn out to be best can still be reached (`open_share`), and only the last one goes for the
highest expected score alone. The loop is pure: all that it knows of the world comes through
`Environment`, so it buys for a simulated world and for a real one alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np

from apportion.advise.line import Floats, counts_of
from apportion.advise.next_purchase import WORTH
from apportion.advise.plan import plan
from apportion.advise.shares import advise
from apportion.advise.types import Advice
from apportion.config.budget import Prices
from apportion.errors import ResultsError
from apportion.prices import Amount, counts, spend
from apportion.search.decide import Cell, Goal, decide
from apportion.surface.model import Surface, fit_surface
from apportion.surface.rows import ResultRow

Counts = tuple[int, int]  # demonstrations, preference units

PARTS = (0.0, 0.25, 0.5, 1.0)  # of what is owned, on either side: where cells may stand
SHARES = np.linspace(0, 1, 41)  # of what is left, and of a batch
SAME = 1e-4  # score units: batches whose worth is nearer than this are worth the same
DREGS = 0.02  # of the budget: less than this is spent at once, unasked
PILOT = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.25, 1.0), (1.0, 0.25), (0.25, 0.25))
Following = Literal["open", "split", "gain"]


class Environment(Protocol):
    """What a buyer can do: train on a part of what is owned, and know what that costs."""

    def measure(self, cell: Cell) -> ResultRow:
        """Train and score one cell; the model, task and method are the same in every row."""

    def cost(self, cell: Cell, done: Sequence[Cell]) -> float:
        """Training that a cell needs beyond the cells that are done, in any one unit."""


@dataclass(frozen=True)
class Manner:
    """How to buy. `follow`, of each batch: keep open what may be best, go straight towards the
    recommended split, or take the highest expected gain at once.

    `heed_stop`: end where the advice says that no batch pays; else spend the whole budget.
    """

    batch: float = 0.2  # of the whole budget
    replicates: int = 2
    cells: int = 3  # chosen after each purchase, all replicates of each
    follow: Following = "open"
    heed_stop: bool = False
    worth: float = WORTH


@dataclass(frozen=True)
class Step:
    """One purchase. `share` and `expected_regret`: of the advice that it followed, if any."""

    bought: Counts
    money: float
    runs: int  # training runs after it
    share: float | None
    expected_regret: float | None
    said_stop: bool
    why: str


@dataclass(frozen=True)
class Story:
    """What a buyer did; `money` was spent and `left` was not."""

    owned: Counts
    steps: tuple[Step, ...]
    cells: tuple[Cell, ...]
    money: float
    left: float
    training: float  # in the environment's unit


@dataclass
class _Buyer:
    """What is owned and known on the way."""

    world: Environment
    budget: float
    prices: Prices
    manner: Manner
    owned: Counts = (0, 0)
    rows: list[ResultRow] = field(default_factory=list)
    done: list[Cell] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    training: float = 0.0

    @property
    def left(self) -> float:
        return max(self.budget - spend(*self.owned, self.prices), 0.0)

    def run(self, cells: Sequence[Cell]) -> None:
        for cell in cells:
            self.training += self.world.cost(cell, self.done)
            self.rows.append(self.world.measure(cell))
            self.done.append(cell)

    @property
    def step(self) -> float:
        """Money of the next batch; a remainder of less than half a batch goes with it."""
        batch = self.manner.batch * self.budget
        return batch if self.left >= 1.5 * batch else self.left

    @property
    def goes_on(self) -> bool:
        return self.left >= max(_cheapest(self.prices), DREGS * self.budget)

    def surface(self) -> Surface:
        first = self.rows[0]
        return fit_surface(self.rows, model=first.model, task=first.task, method=first.method)


def points_of(owned: Counts, parts: Sequence[tuple[float, float]] | None = None) -> list[Counts]:
    """Subsets of what is owned, as counts; by default every pair of `PARTS`."""
    pairs = parts or [(a, b) for a in PARTS for b in PARTS]
    found = [(round(a * owned[0]), round(b * owned[1])) for a, b in pairs]
    return [point for point in dict.fromkeys(found) if point != (0, 0)]


def buy(
    world: Environment,
    budget: float,
    prices: Prices,
    *,
    task: str,
    manner: Manner | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Story:
    """Spend `budget` (money, definite `prices`) step by step.

    The first purchase is the pilot of `plan` for `task`: at most a fifth of the budget, chosen from
    published evidence alone. Raises StudyError for a budget that buys nothing.
    """
    if prices.gpu_hour is not None:
        raise ValueError("training costs no money here: leave gpu_hour out of the prices")
    buyer = _Buyer(world, budget, prices, manner or Manner())
    planned = plan(task, budget, prices)
    towards = planned.whole.n_sft, planned.whole.n_pref
    pilot = planned.first.n_sft, planned.first.n_pref
    step = _pay(buyer, pilot, None, "the pilot")
    if buyer.goes_on:
        cells = [(0, 0, 0)] + [
            (*point, r) for point in points_of(pilot, PILOT) for r in range(buyer.manner.replicates)
        ]
        step = _ran(buyer, step, cells)
    _tell(buyer, step, on_step)
    stopped = False
    while buyer.goes_on:
        advice, surface = _ask(buyer)
        if advice is not None and _stops(buyer, advice):
            stopped = True
            break
        if advice is not None:
            towards = advice.n_sft, advice.n_pref
        bought = _batch(buyer, advice, surface, towards)
        step = _pay(buyer, bought, advice, "the advice" if advice else "the last split known")
        if buyer.goes_on and surface is not None:
            step = _ran(buyer, step, _cells(buyer, surface))
        _tell(buyer, step, on_step)
    if not stopped and buyer.left >= _cheapest(prices):
        _tell(buyer, _pay(buyer, _last(buyer, towards), None, "what was left"), on_step)
    return Story(
        owned=buyer.owned,
        steps=tuple(buyer.steps),
        cells=tuple(buyer.done),
        money=spend(*buyer.owned, prices),
        left=buyer.left,
        training=buyer.training,
    )


def _cheapest(prices: Prices) -> float:
    """Money below which nothing can be bought."""
    return min(float(prices.sft), float(prices.preference))  # type: ignore[arg-type]


def _pay(buyer: _Buyer, bought: Counts, advice: Advice | None, why: str) -> Step:
    buyer.owned = buyer.owned[0] + bought[0], buyer.owned[1] + bought[1]
    following = advice.next_purchase if advice is not None else None
    return Step(
        bought=bought,
        money=spend(*bought, buyer.prices),
        runs=0,
        share=advice.share if advice is not None else None,
        expected_regret=advice.expected_regret if advice is not None else None,
        said_stop=following is not None and following.stop,
        why=why,
    )


def _ran(buyer: _Buyer, step: Step, cells: Sequence[Cell]) -> Step:
    buyer.run(cells)
    return replace(step, runs=len(cells))


def _tell(buyer: _Buyer, step: Step, on_step: Callable[[Step], None] | None) -> None:
    buyer.steps.append(step)
    if on_step is not None:
        on_step(step)


def _ask(buyer: _Buyer) -> tuple[Advice | None, Surface | None]:
    """Advice on what is left, beside what is owned; None where the cells cannot answer."""
    if not buyer.rows:
        return None, None
    surface = buyer.surface()
    if surface.status != "ok":
        return None, None
    try:
        return advise(
            surface,
            Amount(buyer.left, "usd"),
            prices=buyer.prices,
            have=buyer.owned,
            step=buyer.step,
            worth=buyer.manner.worth,
        ), surface
    except ResultsError:  # what is left is far too small, or too large, to be asked about
        return None, surface


def _stops(buyer: _Buyer, advice: Advice) -> bool:
    following = advice.next_purchase
    return buyer.manner.heed_stop and following is not None and following.stop


def open_share(mu: Floats, shares: Floats, part: float) -> float:
    """The share of a batch that goes to demonstrations. `part`: r; `mu` (D, K) at `shares` (K,).

    Were all told before the next purchase, a batch would be worth E max mu over the f that it
    leaves; were nothing told, max E mu over them. What will be told is weighed by the part of the
    money that is then still to be spent, 1 - r. Batches worth the same: the one nearest to the f
    with the highest expected score.
    """
    mean, known = mu.mean(axis=0), 1 - part
    goal = float(shares[mean.argmax()])
    worth = []
    for share in shares:
        left = (shares >= share * part - 1e-9) & (shares <= 1 - (1 - share) * part + 1e-9)
        told = float(mu[:, left].max(axis=1).mean())
        worth.append(known * told + (1 - known) * float(mean[left].max()))
    value = np.array(worth)
    best = np.flatnonzero(value >= value.max() - SAME)
    return float(min(shares[best], key=lambda share: abs(share - goal)))


def _open(buyer: _Buyer, surface: Surface) -> Counts:
    bought = counts_of(SHARES.tolist(), Amount(buyer.left, "usd"), buyer.prices)
    ends = np.array(bought, dtype=float) + np.array(buyer.owned)
    mu = surface.draws(ends[:, 0], ends[:, 1])
    share = open_share(mu, SHARES, buyer.step / buyer.left)
    return counts(share, buyer.step, buyer.prices)


def _batch(
    buyer: _Buyer, advice: Advice | None, surface: Surface | None, towards: Counts
) -> Counts:
    """The next purchase: at least one example, at most what is left."""
    following = advice.next_purchase if advice is not None else None
    bought: Counts | None = None
    if surface is not None and buyer.manner.follow == "open":
        bought = _open(buyer, surface)
    elif following is not None:
        ways = {way.kind: (way.n_sft, way.n_pref) for way in following.ways}
        bought = ways.get("towards the split") if buyer.manner.follow == "split" else None
        bought = bought or (following.n_sft, following.n_pref)
    return bought if bought and sum(bought) else _last(buyer, towards, buyer.step)


def _last(buyer: _Buyer, towards: Counts, money: float | None = None) -> Counts:
    """What money (by default all that is left) buys: demonstrations that `towards` lacks first."""
    paid = buyer.left if money is None else money
    lacking = max(towards[0] - buyer.owned[0], 0) * float(buyer.prices.sft)  # type: ignore[arg-type]
    bought = counts(min(lacking / paid, 1.0), paid, buyer.prices)
    return bought if sum(bought) else counts(1.0, paid, buyer.prices)


def _cells(buyer: _Buyer, surface: Surface) -> list[Cell]:
    """All replicates of the few cells that are worth most to the split of the final budget."""
    amount = Amount(max(buyer.left, _cheapest(buyer.prices)), "usd")
    goal = Goal((amount,), buyer.prices, batch=buyer.manner.cells, have=buyer.owned)
    seen = {cell[:2] for cell in buyer.done}
    points = [point for point in points_of(buyer.owned) if point not in seen]
    decision = decide(surface, goal, points, 1, lambda cell: buyer.world.cost(cell, buyer.done))
    replicates = range(buyer.manner.replicates)
    return [(*choice.cell[:2], r) for choice in decision.cells for r in replicates]
