"""Command line of the model: `python -m model fetch`."""

from __future__ import annotations

import click

from bundles.bundle import BUILT_IN, load_bundle
from bundles.errors import TrackerError
from model.fetch import ensure_builtin_model


@click.group()
def main() -> None:
    """Fetch language models ahead of time."""


@main.command()
@click.option("--bundle", default=BUILT_IN, show_default=True, help="Bundle whose model is fetched.")
def fetch(bundle: str) -> None:
    """Fetch and convert a bundle's model where that was never finished, and print its folder."""
    steps = 1000
    try:
        with click.progressbar(length=steps, label="Looking for the model", width=30) as bar:

            def show(what: str, share: float) -> None:
                bar.label = what.ljust(26)
                bar.update(round(share * steps) - bar.pos)

            folder = ensure_builtin_model(load_bundle(bundle).model, show)
    except TrackerError as error:
        raise click.ClickException(str(error)) from None
    click.echo(folder)


if __name__ == "__main__":
    main()
