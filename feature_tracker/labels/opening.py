"""Open a bundle's label table, or stand in for it while there is none."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.errors import TrackerError
from feature_tracker.labels.importers.sources import recognize
from feature_tracker.labels.table import COLUMNS, KEYS, UNLABELLED, LabelTable, load_labels


def open_labels(bundle: Bundle, n_latents: Mapping[int, int]) -> LabelTable:
    """A bundle's label table; while there is none, every feature is unlabelled.

    Args:
        n_latents: of each layer's SAE.

    Raises:
        TrackerError: the file is another tool's, is damaged, or belongs to another bundle or other SAEs.
    """
    path = bundle.labels
    if not path.exists():
        return unlabelled(n_latents)
    foreign = None if path.is_dir() else recognize(path)
    if foreign or path.is_dir():
        raise TrackerError(
            f"{path} is no label table of this project but a {foreign.kind if foreign else 'folder'}. Import it: "
            f'feature-tracker labels import "{path}" --bundle {bundle.name} --out labels/{bundle.name}.csv'
        )
    return load_labels(path, n_latents, bundle)


def unlabelled(n_latents: Mapping[int, int]) -> LabelTable:
    """A table in which every feature is unlabelled and nothing is measured."""
    index = pd.MultiIndex.from_tuples(
        [(layer, latent) for layer, n in n_latents.items() for latent in range(n)], names=KEYS
    )
    frame = pd.DataFrame(float("nan"), index=index, columns=COLUMNS)
    return LabelTable(frame.assign(label=UNLABELLED, f1_method="", rule="")[COLUMNS])
