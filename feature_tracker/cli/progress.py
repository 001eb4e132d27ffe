"""How a command shows its progress: a bar, or log lines with their times."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager

import click

from feature_tracker.progress import Progress

_STEPS = 1000


def log_times() -> None:
    """Show on standard error what the package logs, each line with its time of day."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


@contextmanager
def terminal_progress(label: str) -> Generator[Progress]:
    """Show progress as a bar on standard error; the bar starts with `label` until the first report."""
    with click.progressbar(length=_STEPS, label=label, width=30, file=sys.stderr) as bar:

        def show(what: str, share: float) -> None:
            bar.label = what.ljust(26)
            bar.pos = round(share * _STEPS)  # `update` takes no step back, and every task begins at 0
            bar.render_progress()

        yield show
