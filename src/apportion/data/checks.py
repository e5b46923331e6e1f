"""What is said of a pool's rows: the wrong ones refused or dropped, the doubtful ones reported."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from apportion.data.files import Row
from apportion.data.records import Demonstration, Example, Item, Label, Pair, canonical
from apportion.data.shape import RowProblem
from apportion.data.sides import side_of
from apportion.errors import DataError

E = TypeVar("E", bound=Example)
T = TypeVar("T", Demonstration, Pair, Label)
_SHOWN = 5


@dataclass(frozen=True)
class Numbered(Generic[E]):
    """An example and the row it stands in."""

    row: int
    example: E


@dataclass(frozen=True)
class Finding:
    """Rows that were left out, and why. `rows`: their numbers in `file`, in order."""

    file: str
    rows: tuple[int, ...]
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {listed(self.rows)}: {self.what}"


def listed(rows: Sequence[int]) -> str:
    """`row 3`, `rows 3 and 5`, or `rows 1, 2, 3, 4, 5 and 17 more`."""
    if len(rows) == 1:
        return f"row {rows[0]}"
    shown, rest = rows[:_SHOWN], len(rows) - _SHOWN
    if rest > 0:
        return f"rows {', '.join(map(str, shown))} and {rest:,} more"
    return f"rows {', '.join(map(str, shown[:-1]))} and {shown[-1]}"


def normalised(prompt: str) -> str:
    """What makes two prompts the same question: letters and digits, whatever case and spacing."""
    return " ".join(re.findall(r"\w+", prompt.casefold())) or prompt


def read_rows(
    rows: Iterable[Row],
    make: Callable[[Row], E],
    *,
    file: str,
    bad_rows: Literal["refuse", "drop"],
) -> tuple[list[Numbered[E]], list[Finding]]:
    """The examples of `rows`. A wrong row is a DataError, or left out and reported (`drop`).

    DataError too where no row is left.
    """
    good: list[Numbered[E]] = []
    bad: dict[str, list[tuple[int, RowProblem]]] = {}
    total = 0
    for row in rows:
        total += 1
        try:
            good.append(Numbered(row.number, make(row)))
        except RowProblem as problem:
            bad.setdefault(problem.problem, []).append((row.number, problem))
    if bad and (bad_rows == "refuse" or not good):
        first, worst = min((wrong[0] for wrong in bad.values()), key=lambda found: found[0])
        others = sum(map(len, bad.values())) - 1
        said = worst.problem
        if others:
            said = f"{said[:-1]} ({others} other row{'s are' if others > 1 else ' is'} wrong too)."
        if bad_rows == "drop":
            said = f"no row is left of {total:,}; of the first dropped: {said}"
        raise DataError(said, file=file, row=first, field=worst.field, mend=worst.mend)
    if not good:
        raise DataError("no row is left.", file=file, mend="check `rows` and the file.")
    findings = [
        Finding(file, tuple(number for number, _ in wrong), f"dropped: {said}")
        for said, wrong in bad.items()
    ]
    return good, findings


def without_duplicates(
    examples: Sequence[Numbered[E]], file: str
) -> tuple[list[Numbered[E]], list[Finding]]:
    """The first of each content."""
    kept: dict[bytes, Numbered[E]] = {}
    again = [e.row for e in examples if kept.setdefault(canonical(e.example), e) is not e]
    found = [Finding(file, tuple(again), "the same as an earlier row; counted once")]
    return list(kept.values()), found if again else []


def different_ids(items: Sequence[Numbered[Item]], file: str) -> None:
    """DataError where two test items share an id."""
    seen: dict[str, int] = {}
    for item in items:
        first = seen.setdefault(item.example.item_id, item.row)
        if first != item.row:
            raise DataError(
                f"the id {item.example.item_id!r} is also that of row {first}.",
                file=file,
                row=item.row,
                field="id",
                mend="make the ids different, or map no id.",
            )


def without_test_items(
    examples: Sequence[Numbered[T]],
    tests: Iterable[Item],
    file: str,
    *,
    policy: Literal["remove", "refuse"],
) -> tuple[list[Numbered[T]], list[Finding]]:
    """The examples whose prompt is no test item's, exactly or after normalisation."""
    asked = {item.prompt for item in tests}
    questions = {normalised(prompt) for prompt in asked}
    kept: list[Numbered[T]] = []
    exact: list[int] = []
    close: list[int] = []
    for e in examples:
        if e.example.prompt in asked:
            exact.append(e.row)
        elif normalised(e.example.prompt) in questions:
            close.append(e.row)
        else:
            kept.append(e)
    if policy == "refuse" and (exact or close):
        rows = sorted([*exact, *close])
        raise DataError(
            f"{listed(rows)}: the prompt is a test item's.",
            file=file,
            row=rows[0],
            mend="remove them, or write test_in_pool: remove in the task card.",
        )
    if not kept:
        raise DataError(
            "no row is left: every prompt is a test item's.",
            file=file,
            mend="give other rows to the test (`rows: 900..`).",
        )
    said = "left out: the prompt is a test item's"
    findings = [Finding(file, tuple(exact), said)] if exact else []
    if close:
        findings.append(
            Finding(file, tuple(close), f"{said} but for case, spacing and punctuation")
        )
    return kept, findings


def sides_apart(
    sft: Sequence[Numbered[Demonstration]],
    preference: Sequence[Numbered[T]],
    files: tuple[str, str],
) -> tuple[list[Numbered[Demonstration]], list[Numbered[T]], list[Finding]]:
    """Each prompt that both sides hold is given to one of them, by its hash alone."""

    def name(prompt: str) -> str:
        return " ".join(prompt.split()).casefold()

    shared = {name(e.example.prompt) for e in sft} & {name(e.example.prompt) for e in preference}
    if not shared:
        return list(sft), list(preference), []
    to_sft = {prompt for prompt in shared if side_of(prompt, sft=0.5, preference=0.5) == "sft"}
    to_preference = shared - to_sft
    findings = []
    kept_sft = [e for e in sft if name(e.example.prompt) not in to_preference]
    kept_preference = [e for e in preference if name(e.example.prompt) not in to_sft]
    for file, before, after, other in (
        (files[0], sft, kept_sft, "preference"),
        (files[1], preference, kept_preference, "SFT"),
    ):
        left = {e.row for e in before} - {e.row for e in after}
        if left:
            said = f"left out: both sides hold the prompt, and it went to the {other} side"
            findings.append(Finding(file, tuple(sorted(left)), said))
    return kept_sft, kept_preference, findings
