"""How long work reports its progress."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Called as progress(what, share): what is being done, and the share of the whole task that is done, 0 to 1."""


def silent(_what: str, _share: float) -> None:
    """Ignore progress: the default of functions that report it."""
