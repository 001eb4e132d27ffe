"""The labels of an archive's features, opened without a model or its SAEs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from feature_tracker.archive.archive import Archive
from feature_tracker.bundles.bundle import load_bundle
from feature_tracker.errors import TrackerError
from feature_tracker.labels.csv_files import load_labels, open_labels
from feature_tracker.labels.own import load_own_labels, own_labels_path, with_own_labels
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
