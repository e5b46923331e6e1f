"""Nothing in the package imports upwards: the order of the rooms is the design."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import apportion

ORDER = (
    "errors", "config", "prices", "data", "metrics", "sandbox", "tasks", "models", "generation",
    "training", "judging", "compile", "store", "run", "surface", "advise", "findings", "diagnose",
    "search", "report", "cli",
)  # fmt: skip
PACKAGE = Path(apportion.__file__).parent


def imported(source: str, module: str, *, package: bool) -> Iterator[tuple[int, str]]:
    """(row, module) of every import in a file, also inside functions and by name."""
    here = module.split(".") if package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # `from apportion import x` may mean the room x.
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            name = ast.unparse(node.func).rpartition(".")[2]
            argument = node.args[0]
            if name in ("import_module", "__import__") and isinstance(argument, ast.Constant):
                yield node.lineno, str(argument.value)


def room_of(module: str) -> str | None:
    """The room of a module of the package; None for others and for the package itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "apportion" and len(parts) > 1 else None


def violations(source: str, module: str, *, package: bool = False) -> list[str]:
    room = room_of(module)
    if room is None or room == "__main__":
        return []
    found = []
    for row, other in imported(source, module, package=package):
        if other == "apportion.__version__":
            continue
        target = room_of(other)
        if other == "apportion" or (target is not None and target not in ORDER):
            found.append(f"{module}:{row} imports {other}: from no room")
        elif target is not None and ORDER.index(target) > ORDER.index(room):
            found.append(f"{module}:{row} imports {other}: upwards")
    return found


def modules() -> Iterator[tuple[Path, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield path, ".".join(["apportion", *(p for p in parts if p != "__init__")])


def test_every_module_is_in_a_room_of_the_order() -> None:
    strays = [m for _, m in modules() if room_of(m) not in (None, "__main__", *ORDER)]
    assert strays == []


@pytest.mark.parametrize(("path", "module"), list(modules()), ids=lambda value: str(value)[-40:])
def test_imports_go_downwards(path: Path, module: str) -> None:
    source = path.read_text(encoding="utf-8")
    assert violations(source, module, package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from apportion.run import run", "apportion.store.store"),
        ("import apportion.cli.main", "apportion.report.html"),
        ("import apportion.cli.main as main", "apportion.report.html"),
        ("from apportion import compile", "apportion.tasks.math"),
        ("def f():\n    from apportion.models.resolve import x", "apportion.tasks.math"),
        ("from ..surface import fit", "apportion.store.store"),
        ("from .. import surface", "apportion.store.store"),
        ("import importlib\nimportlib.import_module('apportion.cli')", "apportion.errors"),
        ("if TYPE_CHECKING:\n    from apportion.advise import x", "apportion.surface.fit"),
        ("from apportion.nowhere import x", "apportion.cli.main"),
        ("import apportion", "apportion.data.sides"),
    ],
)
def test_a_planted_violation_is_found(source: str, module: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from apportion.errors import StudyError", "apportion.config.study"),
        ("from apportion.data.records import Item", "apportion.data.subset"),
        ("from . import plan", "apportion.compile"),
        ("from .plan import Plan", "apportion.compile.build"),
        ("import json, torch", "apportion.errors"),
        ("import apportion_extras", "apportion.errors"),
    ],
)
def test_what_is_allowed(source: str, module: str) -> None:
    assert violations(source, module, package=module == "apportion.compile") == []
