"""Whose features a label table is about."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from feature_tracker.bundles.bundle import Bundle, load_bundle
from feature_tracker.bundles.choice import bundle_names
from feature_tracker.errors import TrackerError

BUNDLE = "bundle"
"""Column of a label table with the name of the bundle that it belongs to; an older table is without it."""


def check_bundle(frame: pd.DataFrame, where: str, bundle: Bundle) -> None:
    """Refuse a table as it was read where it names another bundle, unless that one has the same SAEs.

    Raises:
        TrackerError: with both names and what to do.
    """
    named = frame[BUNDLE].unique() if BUNDLE in frame else []
    for name in named:
        if name not in ("", bundle.name) and not _has_same_saes(name, bundle):
            raise TrackerError(
                f"{where} holds labels of bundle {name}, not of {bundle.name}, and features of different SAEs have "
                f"nothing in common. Name the table of {bundle.name} by FEATURE_TRACKER_LABELS, --labels or `labels` "
                "in the bundle's TOML file, or make one with: feature-tracker labels import PATH… --bundle "
                f"{bundle.name}. Where both bundles have the same model and SAEs, take the column `{BUNDLE}` out of "
                "the table."
            )


def _has_same_saes(name: str, bundle: Bundle) -> bool:
    """Whether a bundle of this name is known and reads the same SAE folder, as a copy with other settings does."""
    try:
        known = {Path(listed).name.removesuffix(".toml"): listed for listed in bundle_names()}
        return name in known and load_bundle(known[name]).sae_folder.resolve() == bundle.sae_folder.resolve()
    except TrackerError:
        return False
