"""Money to examples and back, exactly: budgets, prices and shares as the user wrote them."""

from __future__ import annotations

from apportion.config.cost import Cost, exact
from apportion.prices.compute import (
    Amount,
    billed,
    data_only,
    needs_seconds,
    owned_training,
    rest_of,
    timed,
    training_of,
)
from apportion.prices.count import (
    Line,
    corners,
    costs_of,
    counts,
    effective,
    end,
    exact_spend,
    is_definite,
    mid,
    orders,
    points,
    spend,
)
from apportion.prices.parse import parse_budget, parse_have, parse_price, parse_prices

__all__ = [
    "Amount",
    "Cost",
    "Line",
    "billed",
    "corners",
    "costs_of",
    "counts",
    "data_only",
    "effective",
    "end",
    "exact",
    "exact_spend",
    "is_definite",
    "mid",
    "needs_seconds",
    "orders",
    "owned_training",
    "parse_budget",
    "parse_have",
    "parse_price",
    "parse_prices",
    "points",
    "rest_of",
    "spend",
    "timed",
    "training_of",
]
