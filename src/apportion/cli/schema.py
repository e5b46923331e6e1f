"""`apportion schema`: the JSON Schema of a study file, for editors."""

from __future__ import annotations

from apportion.cli.common import print_json


def schema() -> None:
    """Print the JSON Schema of a study file, for editors."""
    from apportion.config.schema import study_json_schema

    print_json(study_json_schema())
