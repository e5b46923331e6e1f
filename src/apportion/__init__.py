"""How to split a data budget between demonstrations and preference data, measured."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apportion.advise.study import advise_study
    from apportion.config.study import Study
    from apportion.run.api import run_study
    from apportion.surface.hierarchy import fit

__version__ = "0.1.0"
__all__ = ["Study", "__version__", "advise_study", "fit", "run_study"]

_HOMES = {
    "Study": "apportion.config.study",
    "advise_study": "apportion.advise.study",
    "fit": "apportion.surface.hierarchy",
    "run_study": "apportion.run.api",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: `import apportion` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'apportion' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
