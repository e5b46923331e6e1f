"""What is known of one stage that finished or failed."""

from __future__ import annotations

import platform
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from apportion.compile import Stage


@dataclass(frozen=True)
class Record:
    """A self-describing record: everything that explains an artifact, written beside it.

    `seconds` is the wall time of the body, `tokens` what it processed (the estimate where the body
    does not say), `started` an ISO time in UTC. `reason` is given for failed stages only.
    """

    key: str
    kind: str
    label: str
    status: Literal["done", "failed"]
    parents: tuple[str, ...]
    spec: Mapping[str, Any]
    summary: Mapping[str, Any]
    reason: str | None
    versions: Mapping[str, str]
    started: str
    seconds: float
    tokens: int
    worker: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return {one.name: plain(getattr(self, one.name)) for one in fields(self)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Record:
        """The inverse of `to_dict`; KeyError or TypeError for anything else."""
        return cls(**{**value, "parents": tuple(value["parents"])})


def plain(value: Any) -> Any:
    """`value` with dicts for mappings and lists for tuples, as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


@cache
def versions() -> dict[str, str]:
    """Versions of what the numbers may depend on; recorded, never keyed."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("apportion", "torch", "transformers", "peft", "safetensors"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    with suppress(metadata.PackageNotFoundError):  # only where it is there
        found["vllm"] = metadata.version("vllm")
    found["host"] = socket.gethostname()
    found["byteorder"] = sys.byteorder
    return found


def record_of(
    stage: Stage,
    *,
    status: Literal["done", "failed"],
    summary: Mapping[str, Any],
    reason: str | None,
    started: datetime,
    seconds: float,
    worker: Mapping[str, Any] | None,
) -> Record:
    """The record of one execution of `stage` in this process."""
    return Record(
        key=stage.key,
        kind=stage.kind,
        label=stage.label,
        status=status,
        parents=tuple(stage.parents),
        spec=stage.spec,
        summary=summary,
        reason=reason,
        versions=versions(),
        started=started.isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        tokens=int(summary.get("tokens", stage.tokens)),
        worker=dict(worker or {}),
    )
