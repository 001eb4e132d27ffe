"""`feature-tracker corpus`: many documents into an archive, and questions to it."""

from __future__ import annotations

import click

from feature_tracker.cli.corpus_run import run


@click.group()
def main() -> None:
    """Run folders of documents into an archive, and ask it."""


for command in (run,):
    main.add_command(command)
