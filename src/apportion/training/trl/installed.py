"""Whether TRL and what it reports to are installed; light, since a study's check asks."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from apportion.errors import StudyError

VERSION = 1  # what training through this bridge means; part of the keys of what it trained
_OLDEST = (1, 8)


def trl_is_installed() -> bool:
    """Whether a TRL that the bridge can use can be imported."""
    try:
        found = version("trl")
    except PackageNotFoundError:
        return False
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    return numbers >= _OLDEST and find_spec("trl") is not None


def require_trl() -> None:
    """StudyError where TRL is missing or too old."""
    if not trl_is_installed():
        raise StudyError(
            "`trainer: trl` needs TRL 1.8 or newer, which is not installed.",
            field="trainer",
            mend="run `pip install 'apportion[trl]'`, or write trainer: native.",
        )


def require_tracker(name: str) -> None:
    """StudyError where the package behind a tracker is missing."""
    packages = ("tensorboard", "tensorboardX") if name == "tensorboard" else (name,)
    if not any(find_spec(package) for package in packages):
        raise StudyError(
            f"the tracker {name} is not installed.",
            field="trackers",
            mend=f"run `pip install {name}`, or remove it from trackers.",
        )
