"""The labels of an archive's features, opened without a model or its SAEs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from feature_tracker.archive.archive import Archive
from feature_tracker.bundles.bundle import load_bundle
from feature_tracker.errors import TrackerError
from feature_tracker.feature import ALWAYS_ON, Feature
from feature_tracker.labels.columns import FORM_KINDS, KEYS, UNLABELLED
from feature_tracker.labels.csv_files import load_labels, open_labels
from feature_tracker.labels.own import load_own_labels, own_labels_path, with_own_labels
from feature_tracker.labels.search import search_words
from feature_tracker.labels.table import LabelTable


def archive_labels(archive: Archive, *, bundle: str = "", path: Path | None = None) -> LabelTable:
    """The label table of the bundle that made an archive, with the user's own labels; of a bundle without one,
    every feature is unlabelled.

    Args:
        bundle: a shipped bundle's name or a TOML file; if empty, the name that the archive has written down.
        path: a label table to read instead of the bundle's.

    Raises:
        TrackerError: there is no such bundle, it is another one than the archive's, or its table is refused.
    """
    n_latents = archive.manifest.n_latents
    made_by = archive.manifest.bundle
    try:
        opened = load_bundle(bundle or made_by)
    except TrackerError as error:
        if bundle:
            raise
        raise TrackerError(
            f"{archive.folder} was made with the bundle {made_by}, which can't be opened here. Name its TOML file by "
            f"--bundle. ({error})"
        ) from None
    if opened.name != made_by:
        raise TrackerError(
            f"{archive.folder} was made with the bundle {made_by}, and {opened.name} has other features. Name a bundle "
            f"{made_by} by --bundle, or leave the option out."
        )
    # An archive may have fewer layers than its bundle; the table's rows of others are left out.
    opened = replace(opened, layers=tuple(archive.manifest.layers), layers_chosen=True)
    table = open_labels(opened, n_latents) if path is None else load_labels(path, n_latents, opened)
    return with_own_labels(table, load_own_labels(own_labels_path(made_by), archive.manifest.fingerprint))


def labelled_with(labels: LabelTable, words: str, archive: Archive) -> list[Feature]:
    """The archive's features whose label holds every one of these words, whatever their endings.

    Raises:
        TrackerError: there is none.
    """
    keys = search_words(labels.frame[["label"]], words).index if words.strip() else []
    n_latents = archive.manifest.n_latents
    features = [Feature(*key) for key in keys if key[1] < n_latents.get(key[0], 0)]
    if not features:
        raise TrackerError(f"No feature's label holds “{words}”. Take one word of it, or a feature such as L16/F283.")
    return sorted(features)


def tells_of_content(labels: LabelTable, features: list[Feature]) -> np.ndarray:
    """(n,) bool, which features tell of what a text is about, as far as their labels say.

    Not those of its form (numbers, punctuation, grammar, position), always-on ones, or, where any has a label, those
    without one.
    """
    known = labels.describe(pd.MultiIndex.from_tuples([tuple(feature) for feature in features], names=KEYS))
    is_form = known["kind"].isin(FORM_KINDS) | (known["density"] > ALWAYS_ON)
    is_labelled = (known["label"] != UNLABELLED).to_numpy()
    return ~is_form.to_numpy() & (is_labelled | (not is_labelled.any()))
