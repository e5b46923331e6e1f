"""Rows of a data set of the hub, through `datasets`, which is imported only here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apportion.data.files import Row
from apportion.data.source import Source
from apportion.errors import DataError


class HubError(DataError):
    """A data set of the hub that could not be read here and now."""


def read_hub(source: Source) -> list[Row]:
    """All rows of the split. HubError where it cannot be had; no code of the data set is run."""
    try:
        from datasets import load_dataset
    except ImportError:
        raise HubError(
            "data sets of the hub need the package datasets.",
            file=source.name,
            mend="pip install 'apportion[hub]'.",
        ) from None
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        table = load_dataset(
            source.hub, source.config, split=source.split, revision=source.revision
        )
    except Exception as error:  # of many libraries: network, authentication, names, formats
        said = next(iter(str(error).strip().splitlines()), "")
        raise HubError(
            f"the data set cannot be read: {type(error).__name__}: {said}",
            file=source.name,
            mend="check the id, config, split and your access (`hf auth login`), or give a file.",
        ) from error
    return [Row(number, _plain(row)) for number, row in enumerate(table, start=1)]


def _plain(row: Any) -> Mapping[str, Any]:
    return dict(row)
