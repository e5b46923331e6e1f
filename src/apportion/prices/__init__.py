"""Money to examples and back, exactly: budgets, prices and shares as the user wrote them."""

from __future__ import annotations

from apportion.config.cost import Cost, exact
from apportion.prices.count import (
    Amount,
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
    "corners",
    "costs_of",
    "counts",
    "effective",
    "end",
    "exact",
    "exact_spend",
    "is_definite",
    "mid",
    "orders",
    "parse_budget",
    "parse_have",
    "parse_price",
    "parse_prices",
    "points",
    "spend",
]
