"""What stands out in most documents of an archive, as a few themes.

`themes.archive_themes` asks what goes together, whether it is much or little; this asks what the documents are about,
and takes together what goes together among that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.standing_out import Standing, measured
from feature_tracker.archive.themes import Theme
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import KEYS
from feature_tracker.labels.table import LabelTable
from feature_tracker.tracing.distinctive import OrdinaryPassages

MOST = 10
"""Themes of an archive."""
_CANDIDATES = 48
_APART = 0.6
"""Average distance within a theme: 0 for features that go together over the documents, 1 for unrelated ones."""
_DIRECTION = 0.3
"""Weight of the decoder directions beside the documents when two features are compared."""
_FEW = 10
"""Documents by which a correlation over them counts half."""


class Prominent(NamedTuple):
    """Themes of an archive.

    Attributes:
        themes: the commonest first.
        values: (n_documents, n_themes) as `combined_values` has them.
    """

    themes: list[Theme]
    values: np.ndarray


def prominent_themes(
    archive: Archive,
    standing: Standing,
    ordinary: OrdinaryPassages,
    labels: LabelTable,
    directions: Mapping[int, np.ndarray],
) -> Prominent:
    """The themes that stand out in most documents, the commonest first.

    Args:
        standing: of the archive's documents, from `stands_out`.
        directions: by layer, (n_latents, d_model) decoder directions.
    """
    counts = np.bincount(standing.column, minlength=len(archive.features))
    columns = np.argsort(-counts, kind="stable")[:_CANDIDATES]
    columns = columns[counts[columns] > 0]
    features = [archive.features[column] for column in columns]
    if not features:
        return Prominent([], np.zeros((len(archive.documents), 0)))
    values = measured(archive, ordinary, features)
    groups = _groups(values, np.stack([directions[feature.layer][feature.index] for feature in features]))
    order = _naming_order(features, labels)
    found: list[tuple[int, Theme, np.ndarray]] = []
    for group in np.unique(groups):
        members = order[groups[order] == group]
        n_documents = len(np.unique(standing.document[np.isin(standing.column, columns[members])]))
        theme = Theme(
            labels.name(features[members[0]]), [features[member] for member in members], columns[members], float("nan")
        )
        found.append((n_documents, theme, _combined(values[:, members])))
    found = sorted(found, key=lambda one: -one[0])[:MOST]
    return Prominent([theme for _, theme, _ in found], np.stack([combined for *_, combined in found], axis=1))


def combined_values(archive: Archive, ordinary: OrdinaryPassages, themes: Sequence[Sequence[Feature]]) -> np.ndarray:
    """(n_documents, n_themes) how far each theme's features together stand out in each document.

    It is the mean of their distinctiveness, over the standard deviation of a mean of features that are correlated as
    these are in the archive. Where they measure the same it is their mean; where each tells something of its own, all
    together are surer than one.
    """
    features = sorted({feature for theme in themes for feature in theme})
    values = measured(archive, ordinary, features)
    place = {feature: number for number, feature in enumerate(features)}
    columns = [_combined(values[:, [place[feature] for feature in theme]]) for theme in themes]
    return np.stack(columns, axis=1) if columns else np.zeros((len(values), 0))


def _combined(values: np.ndarray) -> np.ndarray:
    centered = values - values.mean(axis=0)
    centered /= np.linalg.norm(centered, axis=0) + 1e-12
    together = np.clip(centered.T @ centered, 0.0, 1.0)
    np.fill_diagonal(together, 1.0)
    return values.sum(axis=1) / np.sqrt(together.sum())


def _groups(values: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(n,) number of each feature's group."""
    if values.shape[1] == 1:
        return np.ones(1, dtype=int)
    centered = values - values.mean(axis=0)
    centered /= np.linalg.norm(centered, axis=0) + 1e-12
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    together = len(values) / (len(values) + _FEW) * (centered.T @ centered)
    alike = (1 - _DIRECTION) * together + _DIRECTION * directions @ directions.T
    apart = np.maximum(1 - alike[np.triu_indices(len(alike), 1)], 0.0)  # rounding may fall below 0
    return fcluster(linkage(apart, "average"), _APART, "distance")


def _naming_order(features: list[Feature], labels: LabelTable) -> np.ndarray:
    """Places of the features, of reliable labels before others, of topics before others, and by F1."""
    described = labels.describe(pd.MultiIndex.from_tuples([tuple(feature) for feature in features], names=KEYS))
    keys = described["f1"].fillna(0.0).to_numpy(), described["kind"] == "topic", described["reliable"].to_numpy()
    return np.lexsort(keys)[::-1]
