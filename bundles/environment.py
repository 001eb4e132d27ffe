"""Environment variables: the one place that reads them."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "FEATURE_TRACKER_CACHE"
WHEEL_VARIABLE = "FEATURE_TRACKER_WHEEL"


def cache_folder() -> Path:
    """Where fetched models lie; it need not exist yet.

    `FEATURE_TRACKER_CACHE` names it outright; else it is `feature-activation-tracker` in `XDG_CACHE_HOME`, or in
    `~/.cache`.
    """
    named = os.environ.get(CACHE_VARIABLE, "").strip()
    if named:
        return Path(named).expanduser().absolute()
    # The XDG base directory specification ignores relative paths, too.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "feature-activation-tracker"


def named_wheel() -> Path | None:
    """The built-in model's wheel, where `FEATURE_TRACKER_WHEEL` says that it lies on this machine already."""
    named = os.environ.get(WHEEL_VARIABLE, "").strip()
    return Path(named).expanduser().absolute() if named else None


def child_environment(**changes: str) -> dict[str, str]:
    """The environment of this process, the user's pip and proxy settings in it, with changes for a child process."""
    return {**os.environ, **changes}
