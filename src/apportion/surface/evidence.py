"""What published panels taught: their moments, shipped, and the prior learnt from them.

`tools/learn_prior.py` writes the file from the published figure; a test holds that it still would.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from apportion.surface.learnt import PanelMoments, learn
from apportion.surface.shape import Prior

FILE = Path(__file__).parent / "data" / "panels.json"


@lru_cache(maxsize=1)
def panels() -> tuple[PanelMoments, ...]:
    """Moments of every published panel."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    return tuple(
        PanelMoments(one["name"], tuple(one["mean"]), tuple(one["sd"])) for one in found["panels"]
    )


def prior_from_evidence(*, without: str | None = None) -> Prior:
    """The learnt prior; `without`: a panel left out, for judging the prior on it."""
    return learn([panel for panel in panels() if panel.name != without])
