"""Which bundles there are to choose from, and which one opens."""

from __future__ import annotations

from typing import NamedTuple

from feature_tracker.bundles.bundle import BUILT_IN, BUNDLES, Bundle, load_bundle, own_bundle
from feature_tracker.bundles.missing import missing_parts
from feature_tracker.bundles.overrides import Overrides
from feature_tracker.bundles.settings import (
    BUNDLE_VARIABLE,
    BUNDLES_VARIABLE,
    bundles_folder,
    named_bundle,
    own_settings,
)
from feature_tracker.errors import TrackerError


class Opening(NamedTuple):
    """The bundle that opens when nobody chose one.

    Attributes:
        name: as `load_bundle` takes it.
        lacking: why it is not the user's own, where that one was asked for and isn't complete; else empty.
    """

    name: str
    lacking: str


def bundle_names() -> list[str]:
    """Names of the project's bundles, then paths of those in the user's folder, as `load_bundle` takes them.

    Raises:
        TrackerError: `FEATURE_TRACKER_BUNDLES` names no folder.
    """
    names = sorted(path.stem for path in BUNDLES.glob("*.toml"))
    names.sort(key=lambda name: name != BUILT_IN)
    folder = bundles_folder()
    if folder is not None:
        if not folder.is_dir():
            raise TrackerError(f"{BUNDLES_VARIABLE} names {folder}, but there is no such folder. Correct or unset it.")
        names += sorted(str(path) for path in folder.glob("*.toml"))
    if own_bundle() not in names:
        names.append(own_bundle())
    return names


def opening_bundle() -> Opening:
    """The user's own bundle where all its parts are there, else the built-in one."""
    asked = bool(named_bundle() or own_settings())
    try:
        missing = missing_parts(load_bundle(own_bundle()))
    except TrackerError as error:
        missing = [str(error)]
    if not missing:
        return Opening(own_bundle(), "")
    return Opening(BUILT_IN, " ".join(missing) if asked and own_bundle() != BUILT_IN else "")


def command_bundle(name: str, overrides: Overrides) -> Bundle:
    """The bundle of a command line: the one named, else the one that opens.

    Args:
        name: empty where none was named; options then belong to the user's own bundle.

    Raises:
        TrackerError: it can't be read, or the user's own was asked for and isn't complete: a command does not go on
            with another.
    """
    if not name and not overrides:
        opening = opening_bundle()
        if opening.lacking:
            raise TrackerError(
                f"Your bundle {own_bundle()} is not complete. {opening.lacking} To go on with the built-in model, give "
                f"--bundle {BUILT_IN} or unset {BUNDLE_VARIABLE} and the variables that belong to it."
            )
        name = opening.name
    return load_bundle(name or own_bundle(), overrides)
