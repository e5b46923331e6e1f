"""What n examples of one kind cost, exactly.

| symbol | meaning |
|---|---|
| n | usable examples: those that pass quality control |
| p, k | money per annotation; annotations per example (redundancy) |
| r | part of what is bought that quality control rejects |
| F | fixed cost, paid once if anything of the kind is bought |
| c | money for the compute of training on one usable example; 0 where compute has no price |
| C(n) | F + p·k·⌈n / (1 − r)⌉ + c·n for n > 0; C(0) = 0 |

Whole examples are bought, so the number bought is rounded up: the expected number of usable ones is
then at least n. How many are rejected in truth is luck; C takes the rate for certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor


def exact(number: float | int | Fraction) -> Fraction:
    """A number at its written value: 0.1 → 1/10."""
    return Fraction(repr(number)) if isinstance(number, float) else Fraction(number)


@dataclass(frozen=True)
class Cost:
    """The cost of one kind of data: `unit` is p·k, `kept` is 1 − r, `training` is c."""

    unit: Fraction
    fixed: Fraction = Fraction(0)
    kept: Fraction = Fraction(1)
    training: Fraction = Fraction(0)

    @property
    def each(self) -> Fraction:
        """Money per usable example, in the mean over many, without the fixed cost."""
        return self.unit / self.kept + self.training

    def bought(self, n: int) -> int:
        """How many examples to buy so that n are expected to be usable."""
        return ceil(n / self.kept)

    def of(self, n: int) -> Fraction:
        """C(n)."""
        if n == 0:
            return Fraction(0)
        return self.fixed + self.unit * self.bought(n) + self.training * n

    def buys(self, money: Fraction) -> int:
        """The largest n with C(n) <= money; `money` at least 0, `each` above 0."""
        n = max(0, floor((money - self.fixed) / self.each))
        while self.of(n) > money:  # once at most: rounding up costs less than `unit`
            n -= 1
        return n
