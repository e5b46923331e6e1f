"""`apportion export`: a cell as a plain TRL script, or its weights."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apportion.cli.common import StoreDir, StudyFile, console, store_path

if TYPE_CHECKING:
    from apportion.compile import Plan
    from apportion.run.export.cell import Parts
    from apportion.run.results import CellResult


class Form(StrEnum):
    """What a cell is written as."""

    script = "script"
    adapter = "adapter"
    merged = "merged"
    peft_chain = "peft-chain"


def export(
    study: StudyFile,
    cell: Annotated[
        str,
        typer.Option(metavar="N_SFT,N_PREF[,REPLICATE]", help="Which cell: 250,750 or 250,750,1."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for it.")],
    form: Annotated[
        Form,
        typer.Option(
            "--as",
            help="script: a TRL script with its data. adapter: one LoRA adapter (a chain's sum). "
            "merged: a whole model. peft-chain: the adapters one by one.",
        ),
    ] = Form.script,
    model: Annotated[str | None, typer.Option(help="Where the study has several.")] = None,
    task: Annotated[str | None, typer.Option(help="Where the study has several.")] = None,
    method: Annotated[str | None, typer.Option(help="Where the study has several.")] = None,
    store: StoreDir = None,
) -> None:
    """Write a cell as a script that runs without apportion, or as weights that load anywhere."""
    from apportion.cli.session import load_plan
    from apportion.run.export.cell import find_cell, parse_cell

    wanted = parse_cell(cell)
    plan = load_plan(study)
    parts = find_cell(plan, wanted, model=model, task=task, method=method)
    place = store_path(study, store)
    if form is Form.script:
        _script(plan, parts, place, out)
    else:
        from apportion.run.export.weights import export_weights
        from apportion.store.store import Store

        with Store.open(place, create=False, read_only=True) as opened:
            export_weights(parts, opened, out, form.value)  # type: ignore[arg-type]  # a literal
        console().print(
            f"Written: {out}; how to load it is in its README.md.", markup=False, soft_wrap=True
        )


def _script(plan: Plan, parts: Parts, place: Path, out: Path) -> None:
    from apportion.run.export.script import export_script

    made = export_script(parts, out, known=_known(plan, parts, place))
    shown = console()
    shown.print(
        f"Written: {made.folder}; run it with: python train.py", markup=False, soft_wrap=True
    )
    for sentence in made.caveats:
        shown.print(f"Note: {sentence}", markup=False, soft_wrap=True)


def _known(plan: Plan, parts: Parts, place: Path) -> CellResult | None:
    """What the store has of the cell; a study need not have been run for its script."""
    from dataclasses import replace

    from apportion.cli.session import collect_results

    if not place.is_dir():
        return None
    return collect_results(replace(plan, cells=(parts.cell,)), place)[0]
