"""How long work tells its caller where it stands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

Progress = Callable[[str, float], None]
"""Called as progress(what, share), with share between 0 and 1 of the whole task."""

_STEPS = 1000


def silent(_what: str, _share: float) -> None:
    """A progress that nobody watches."""


@contextmanager
def terminal_progress(label: str) -> Iterator[Progress]:
    """A command line's progress: a bar on standard error, which begins with this label."""
    with click.progressbar(length=_STEPS, label=label, width=30, file=sys.stderr) as bar:

        def show(what: str, share: float) -> None:
            bar.label = what.ljust(26)
            bar.pos = round(share * _STEPS)  # `update` takes no step back, and every task begins at 0
            bar.render_progress()

        yield show
