"""How to split a data budget between demonstrations and preference data, measured."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apportion.advise.study import advise_study
    from apportion.config.study import Study
    from apportion.search.api import run_study
    from apportion.surface.model import fit_surface as fit

__version__ = "0.1.0"
__all__ = ["Study", "__version__", "advise_study", "fit", "run_study"]

_HOMES = {
    "Study": "apportion.config.study:Study",
    "advise_study": "apportion.advise.study:advise_study",
    "fit": "apportion.surface.model:fit_surface",
    "run_study": "apportion.search.api:run_study",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: `import apportion` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'apportion' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute)
