"""`apportion prices`: the shipped prices, as a study file takes them, each with its source."""

from __future__ import annotations

import typer

from apportion.cli.common import AsJson, print_json


def prices(as_json: AsJson = False) -> None:
    """List the shipped prices by name, each figure with its source, ready to paste and change."""
    from dataclasses import asdict

    from apportion.config.price_presets import PRICES

    if as_json:
        print_json({name: asdict(preset) for name, preset in PRICES.items()})
        return
    for name, preset in PRICES.items():
        typer.echo(
            f"# {name}: {preset.about}\n"
            f"#   sft: {preset.sft_source}\n"
            f"#   preference: {preset.preference_source}\n"
            f"prices: {{sft: {preset.sft}, preference: {preset.preference}}}\n"
        )
    typer.echo("# By name: prices: human, or changed: prices: {preset: human, sft: 2.50}")
