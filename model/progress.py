"""How long work tells its caller where it stands."""

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Called as progress(what, share), with share between 0 and 1 of the whole task."""


def silent(_what: str, _share: float) -> None:
    """A progress that nobody watches."""
