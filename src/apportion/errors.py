"""One exception tree. Every error says where it is (file, row, field), what is wrong, and the mend.

`UserError` and its children are mistakes that the user can mend (exit code 2).
Anything else that escapes is ours (exit code 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class ApportionError(Exception):
    """Base of the tree.

    `problem` is one sentence that says what is wrong; `mend` one sentence that says what to do.
    `row` is a 1-based line number of `file`; `field` a dotted path such as `budget.levels[1]`.
    """

    exit_code = 1

    def __init__(
        self,
        problem: str,
        *,
        file: str | Path | None = None,
        row: int | None = None,
        field: str | None = None,
        mend: str | None = None,
    ) -> None:
        self.problem = problem
        self.file = None if file is None else str(file)
        self.row = row
        self.field = field
        self.mend = mend
        super().__init__(problem)

    @property
    def where(self) -> str:
        place = self.file or ""
        if self.row is not None:
            place += f":{self.row}"
        return ": ".join(part for part in (place, self.field) if part)

    @property
    def told(self) -> str:
        """The problem and its mend, for a list whose entries say themselves where they are."""
        return f"{self.problem} Mend: {self.mend}" if self.mend else self.problem

    def __str__(self) -> str:
        return f"{self.where}: {self.told}" if self.where else self.told


class UserError(ApportionError):
    """Something in the user's hands: exit code 2."""

    exit_code = 2


class StudyError(UserError):
    """A study file, preset or command-line value that cannot be used."""


class DataError(UserError):
    """A data file, pool or row that cannot be used."""


class MissingPackage(DataError):
    """Data or a metric that need an optional package, or its data, which are not installed."""


class ModelError(UserError):
    """A model, tokenizer or template that cannot be used."""


class StoreError(UserError):
    """A store that cannot be read or written (read-only, full, newer, corrupted)."""


class ResultsError(UserError):
    """A results table that cannot be read, or holds too little evidence."""


class ManyErrors(UserError):
    """Every mistake at once; `errors` holds them in the order of the file."""

    def __init__(self, errors: Iterable[UserError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class StageError(ApportionError):
    """A stage failed while it ran; the study goes on without it and records the reason."""
