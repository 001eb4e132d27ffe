"""Which bundles there are to choose from, and which one opens."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from feature_tracker.bundles.bundle import BUILT_IN, BUNDLES, Bundle, load_bundle
from feature_tracker.bundles.missing import missing_parts
from feature_tracker.bundles.settings import Environment, Overrides
from feature_tracker.errors import TrackerError


class Opening(NamedTuple):
    """The bundle that opens when nobody chose one."""

    name: str
    """As `load_bundle` takes it."""
    lacking: str
    """Why it is not the user's own, where that one was asked for and is incomplete; else empty."""


def bundle_names() -> list[str]:
    """Names of the shipped bundles, the built-in one first, then paths of the user's, as `load_bundle` takes them.

    Raises:
        TrackerError: `FEATURE_TRACKER_BUNDLES` names no folder.
    """
    environment = Environment()
    names = sorted((path.stem for path in BUNDLES.glob("*.toml")), key=lambda name: (name != BUILT_IN, name))
    if environment.bundles is not None:
        if not environment.bundles.is_dir():
            raise TrackerError(
                f"FEATURE_TRACKER_BUNDLES names {environment.bundles}, which is no folder. Correct or unset it."
            )
        # A name that is not UTF-8 could not be sent to a browser. Spelled otherwise, it stands there as unavailable.
        found = (os.fsencode(path).decode(errors="replace") for path in environment.bundles.glob("*.toml"))
        names += sorted(found)
    if environment.user_bundle not in names:
        names.append(environment.user_bundle)
    return names


def unavailable_bundles(names: Iterable[str]) -> dict[str, str]:
    """Why bundles can't be read, by name; those that can are not among them."""
    reasons: dict[str, str] = {}
    for name in names:
        try:
            load_bundle(name)
        except TrackerError as error:
            reasons[name] = str(error)
    return reasons


def opening_bundle() -> Opening:
    """The user's own bundle where all its parts are there, else the built-in one."""
    environment = Environment()
    try:
        lacking = " ".join(missing_parts(load_bundle(environment.user_bundle)))
    except TrackerError as error:
        lacking = str(error)
    if not lacking:
        return Opening(environment.user_bundle, "")
    was_asked_for = environment.bundle is not None or environment.any_set
    return Opening(BUILT_IN, lacking if was_asked_for and environment.user_bundle != BUILT_IN else "")


def command_bundle(name: str, overrides: Overrides) -> Bundle:
    """The bundle of a command line: the one named, else the one that opens.

    Args:
        name: empty where none was named; overrides then apply to the user's own bundle.

    Raises:
        TrackerError: it can't be read, or the user's own was asked for and is incomplete: a command never falls back
            to another bundle.
    """
    user_bundle = Environment().user_bundle
    if not name and not overrides.any_set:
        opening = opening_bundle()
        if opening.lacking:
            raise TrackerError(
                f"Your bundle {user_bundle} is not complete. {opening.lacking} To use the built-in model, give "
                f"--bundle {BUILT_IN}, or unset FEATURE_TRACKER_BUNDLE and the variables that belong to it."
            )
        name = opening.name
    return load_bundle(name or user_bundle, overrides)
