"""Themes of an archive: features of all layers that are high in the same documents.

A theme is a cluster of features by their correlation over documents, of how high each stands among documents of like
length (see `standing`). Nothing is known of what it means: it has the label of the feature that goes along best with
the others as its name. Features of neighboring layers that carry on the same thing are in one theme and count once. Of
a theme, the mean standing of its features is what is shown: 0.5 in the ordinary document of this archive.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import norm

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.labels import labelled_with, tells_of_content
from feature_tracker.archive.selection import FEWEST
from feature_tracker.archive.standing import length_strata, standing
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable

_ALIKE = 0.4
"""Average correlation over documents within a theme."""
_MOST_FEATURES = 6000  # their correlations take 300 MB
_FEWEST_DOCUMENTS = 20
_FEWEST_FEATURES = 3


class Theme(NamedTuple):
    """Features that are high in the same documents.

    Attributes:
        name: the label of the first feature.
        features: those that go along best with the theme's mean first.
        columns: their columns in `Archive.matrix`.
        correlation: their mean correlation with each other over documents.
    """

    name: str
    features: list[Feature]
    columns: np.ndarray
    correlation: float


def archive_themes(archive: Archive, labels: LabelTable) -> list[Theme]:
    """Group features that are high in the same documents, the themes of most features first.

    Features of a text's form (numbers, punctuation, grammar, position), those without a label, always-on ones, and
    those that fire in fewer than one document in fifty, are left out. A theme has three features or more, and they
    correlate by 0.4 on average, or by more where an archive is so small that chance gives that.

    Raises:
        TrackerError: fewer than 20 documents have tokens.
    """
    rows = np.flatnonzero(archive.documents["n_counted"] > 0)
    if len(rows) < _FEWEST_DOCUMENTS:
        raise TrackerError(
            f"{len(rows)} documents are too few to see what goes together; at least {_FEWEST_DOCUMENTS} are needed."
        )
    values = archive.matrix("root_mean")[rows]
    share = (values > 0).mean(axis=0)
    candidates = np.flatnonzero(tells_of_content(labels, archive.features) & (share >= max(FEWEST / len(rows), 0.02)))
    if len(candidates) > _MOST_FEATURES:  # those that vary most in whether they fire
        candidates = np.sort(candidates[np.argsort(np.abs(share[candidates] - 0.5), kind="stable")[:_MOST_FEATURES]])
    if len(candidates) < _FEWEST_FEATURES:
        return []
    ranks = standing(values[:, candidates], length_strata(archive.documents["n_counted"].to_numpy()[rows]))
    r = np.nan_to_num(np.corrcoef(ranks, rowvar=False))
    np.fill_diagonal(r, 1.0)
    n_pairs = len(candidates) * (len(candidates) - 1) / 2
    by_chance = np.tanh(norm.isf(0.05 / n_pairs) / np.sqrt(len(rows) - 3))
    distances = squareform(np.maximum(1 - r, 0), checks=False)
    cluster = fcluster(linkage(distances, "average"), 1 - max(_ALIKE, by_chance), "distance")
    themes = []
    for number, size in zip(*np.unique(cluster, return_counts=True), strict=True):
        if size >= _FEWEST_FEATURES:
            themes.append(_theme(archive, labels, np.flatnonzero(cluster == number), candidates, r))
    return sorted(themes, key=lambda theme: (-len(theme.features), theme.features[0]))


def theme_of_words(archive: Archive, labels: LabelTable, words: str) -> Theme:
    """The features whose labels hold these words, as a theme of the user's own.

    Raises:
        TrackerError: no label holds them.
    """
    features = labelled_with(labels, words, archive)
    column_of = {feature: column for column, feature in enumerate(archive.features)}
    return Theme(words, features, np.array([column_of[feature] for feature in features]), float("nan"))


def _theme(archive: Archive, labels: LabelTable, members: np.ndarray, candidates: np.ndarray, r: np.ndarray) -> Theme:
    within = r[np.ix_(members, members)]
    members = members[np.argsort(-within.sum(axis=0), kind="stable")]
    columns = candidates[members]
    features = [archive.features[column] for column in columns]
    n = len(members)
    return Theme(labels.name(features[0]), features, columns, float((within.sum() - n) / (n * (n - 1))))
