"""Write docs/cli.md from what every command's --help prints; `--print` prints it instead."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "docs" / "cli.md"


def reference() -> str:
    """The page: the help of the program and of each of its commands."""
    from typer.testing import CliRunner

    from apportion.cli.main import app

    # The width is fixed so that the page does not depend on who makes it.
    runner = CliRunner(env={"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"})
    commands = [command.name for command in app.registered_commands]
    page = ["# The command line", "", "Made by `python tools/cli_reference.py`; do not edit.", ""]
    for command in [None, *commands]:
        arguments = [command] if command else []
        shown = runner.invoke(app, [*arguments, "--help"], prog_name="apportion")
        title = " ".join(["apportion", *arguments])
        page += [f"## {title}", "", "```", shown.output.strip(), "```", ""]
    return "\n".join(page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", help="print instead of writing")
    os.environ.setdefault("COLUMNS", "100")
    text = reference()
    if parser.parse_args().print:
        print(text, end="")
    else:
        TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
