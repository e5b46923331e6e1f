"""The command `apportion`: a thin face on the Python API, one small file per command.

Exit codes: 0 done, 1 our mistake or stages that failed, 2 the user's mistake, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from apportion import __version__
from apportion.cli import (
    advise,
    check,
    export,
    findings,
    import_,
    init,
    plan,
    prices,
    quickstart,
    report,
    results,
    run,
    schema,
)
from apportion.errors import ApportionError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: it appears at once
    pretty_exceptions_enable=False,
    help="Split a data budget between demonstrations (SFT) and preference data, by measuring.",
)

for _name, _function in (
    ("plan", plan.plan),
    ("prices", prices.prices),
    ("quickstart", quickstart.quickstart),
    ("init", init.init),
    ("check", check.check),
    ("run", run.run),
    ("results", results.results),
    ("advise", advise.advise),
    ("report", report.report),
    ("findings", findings.findings),
    ("import", import_.import_results),
    ("export", export.export),
    ("schema", schema.schema),
):
    app.command(_name)(_function)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"apportion {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Split a data budget between demonstrations (SFT) and preference data, by measuring."""


def main() -> None:
    """Run the command line; turn every `ApportionError` into one message and its exit code."""
    try:
        app()
    except ApportionError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Finished stages are kept; run again to go on.\n")
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has gone: not a mistake of anybody's.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
