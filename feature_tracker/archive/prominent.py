"""What stands out in most documents of an archive, as a few themes.

`themes.archive_themes` asks what goes together, whether it is much or little; this asks what the documents are about,
and takes together what goes together among that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.standing_out import Standing, columns_of, measured
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


def prominent_themes(
    archive: Archive,
    standing: Standing,
    ordinary: OrdinaryPassages,
    labels: LabelTable,
    directions: Mapping[int, np.ndarray],
) -> list[Theme]:
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
        return []
    values = measured(archive, ordinary, features)
    groups = _groups(values, np.stack([directions[feature.layer][feature.index] for feature in features]))
    themes = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        n_documents = len(np.unique(standing.document[np.isin(standing.column, columns[members])]))
        themes.append((n_documents, _theme(archive, [features[member] for member in members], labels)))
    return [theme for _, theme in sorted(themes, key=lambda counted: -counted[0])[:MOST]]


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


def _theme(archive: Archive, features: list[Feature], labels: LabelTable) -> Theme:
    """Named by a reliable label before others, by a topic before others, and by the best F1."""
    index = pd.MultiIndex.from_tuples([tuple(feature) for feature in features], names=KEYS)
    described = labels.describe(index)
    keys = list(zip(described["reliable"], described["kind"] == "topic", described["f1"].fillna(0.0), strict=True))
    features = [features[place] for place in sorted(range(len(features)), key=keys.__getitem__, reverse=True)]
    return Theme(labels.name(features[0]), features, columns_of(archive, features), float("nan"))
