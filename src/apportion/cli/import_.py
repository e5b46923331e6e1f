"""`apportion import`: results from lm-eval, TRL or one's own table, into a table of results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apportion.cli.common import console
from apportion.errors import ResultsError, StudyError

if TYPE_CHECKING:
    from apportion.run.imports.place import Place
    from apportion.run.results import CellResult


def import_results(
    source: Annotated[
        Path,
        typer.Argument(
            help="samples_*.jsonl of lm-eval, a TRL run (folder or trainer_state.json), or a table."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The table it is added to: .jsonl keeps scores per item, .csv does not.",
        ),
    ],
    cell: Annotated[
        str | None,
        typer.Option(metavar="N_SFT,N_PREF[,REPLICATE]", help="Which cell it is; not for tables."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The base model's name.")] = None,
    task: Annotated[str | None, typer.Option(help="Default: lm-eval's own name of it.")] = None,
    method: Annotated[str, typer.Option(help="How preferences were used.")] = "dpo",
    metric: Annotated[
        str | None,
        typer.Option(help="Which metric is the score: exact_match,strict-match or eval_accuracy."),
    ] = None,
    items: Annotated[
        int | None, typer.Option(min=1, help="Test items that a TRL run was evaluated on.")
    ] = None,
) -> None:
    """Add measured results to a table, for `advise --results` and `report --results`."""
    from apportion.run.imports import lm_eval, trl
    from apportion.run.imports.merge import add_to
    from apportion.run.tables import read_table

    state = trl.find_state(source)
    new: list[CellResult]
    if state is not None:
        place = _place(cell, model, task, method)
        if items is None:
            raise StudyError(
                "a trainer's state does not say on how many items it was evaluated.",
                field="--items",
                mend="say how many: --items 500.",
            )
        new = [trl.result_of(state, place, metric, items)]
    elif lm_eval.looks_like_samples(source):
        samples = lm_eval.read_samples(source)
        place = _place(cell, model, task or samples.task, method)
        new = [lm_eval.result_of(samples, place, metric)]
    elif source.is_dir():
        raise ResultsError(
            "there is no trainer_state.json in the folder.", file=source, mend="name a file."
        )
    else:
        new = read_table(source, lines=False)
    table = add_to(out, new)
    console().print(
        f"{out}: {len(table)} results, {len(new)} of them new.", markup=False, soft_wrap=True
    )


def _place(cell: str | None, model: str | None, task: str | None, method: str) -> Place:
    from apportion.run.export.cell import parse_cell
    from apportion.run.imports.place import Place

    for field, value in (("--cell", cell), ("--model", model), ("--task", task)):
        if value is None:
            raise StudyError(
                f"{field} is needed: the file does not say it.", field=field, mend="say it."
            )
    n_sft, n_pref, replicate = parse_cell(str(cell))
    return Place(str(model), str(task), method, n_sft, n_pref, replicate)
