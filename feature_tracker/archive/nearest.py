"""Documents of an archive that are nearest to one of them, or to a set of features, and why.

A document is described by how many standard deviations each feature's mean of sqrt(activation) lies above the mean of
the archive's documents. That is like distinctiveness, with the archive in place of ordinary text: what all documents
have in common brings none of them together. Near is the cosine of two such descriptions. It says that documents dwell
on the same things, not that they say the same about them: a rise and a fall of deposits are near.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.selection import FEWEST
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature

_REASONS = 3
_LARGEST = 6.0
"""Standard deviations that count at most, lest a feature of six short documents decides what is near them."""


class Reason(NamedTuple):
    """A feature that brings a document near.

    Attributes:
        feature: which.
        share: of all that brings the document near; small where many features do.
        standing: the document's standard deviations above the archive's mean.
    """

    feature: Feature
    share: float
    standing: float


class Near(NamedTuple):
    """A document that is near.

    Attributes:
        document: its number.
        cosine: from -1 to 1.
        reasons: the features that contribute most, the largest first; no feature that both lack counts as one.
        same_text: whether its text is that of the document asked for.
    """

    document: int
    cosine: float
    reasons: list[Reason]
    same_text: bool


class Nearest(NamedTuple):
    """What is near, and what would be by chance.

    Attributes:
        near: the nearest first.
        typical: median cosine of all other documents.
        one_in_hundred: cosine that one in a hundred of them exceeds.
        n_documents: the others.
    """

    near: list[Near]
    typical: float
    one_in_hundred: float
    n_documents: int


def nearest_to_document(
    archive: Archive, document: int, *, top: int = 10, no_reasons: Collection[Feature] = frozenset()
) -> Nearest:
    """The documents nearest to one.

    Args:
        document: its number.
        no_reasons: features that count like all others and aren't named as reasons, such as those of punctuation.

    Raises:
        TrackerError: it has no counted tokens, or no other document does.
    """
    described = _described(archive)
    if document not in described.rows:
        raise TrackerError(f"{archive.documents['name'][document]} has no tokens that count, so nothing is near it.")
    own = described.values[np.flatnonzero(described.rows == document)[0]]
    return _nearest(archive, described, own, top, no_reasons, without=document)


def nearest_to_features(archive: Archive, features: Sequence[Feature], *, top: int = 10) -> Nearest:
    """The documents in which these features, all alike, stand out most beside everything else that does.

    Raises:
        TrackerError: a feature isn't among the archive's, or fires in too few documents.
    """
    described = _described(archive)
    own = np.zeros(described.values.shape[1], np.float32)
    for feature in features:
        if feature not in described.features:
            raise TrackerError(
                f"{feature} fires in fewer than {FEWEST} documents of {archive.folder}, or isn't among its features "
                f"(layers {', '.join(map(str, archive.manifest.layers))}). Name another."
            )
        own[described.features.index(feature)] = 1.0
    return _nearest(archive, described, own, top, frozenset(), without=None)


class _Described(NamedTuple):
    """Standard deviations above the archive's mean.

    Attributes:
        values: (n_rows, n_features) float32.
        rows: (n_rows,) numbers of the documents that have tokens that count.
        features: those that fire in at least `FEWEST` of them.
    """

    values: np.ndarray
    rows: np.ndarray
    features: list[Feature]


def _described(archive: Archive) -> _Described:
    rows = np.flatnonzero(archive.documents["n_counted"] > 0)
    values = archive.matrix("root_mean")[rows]
    fires = np.flatnonzero(((values > 0).sum(axis=0) >= FEWEST) & (np.ptp(values, axis=0) > 0))
    values = values[:, fires]
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    return _Described(np.clip(values, -_LARGEST, _LARGEST), rows, [archive.features[at] for at in fires])


def _nearest(
    archive: Archive,
    described: _Described,
    own: np.ndarray,
    top: int,
    no_reasons: Collection[Feature],
    *,
    without: int | None,
) -> Nearest:
    values, rows = described.values, described.rows
    size = np.maximum(np.linalg.norm(values, axis=1) * np.linalg.norm(own), 1e-12)
    cosine = values @ own / size
    others = np.flatnonzero(rows != without) if without is not None else np.arange(len(rows))
    if not len(others) or not values.shape[1]:
        raise TrackerError(
            f"{archive.folder} has too few documents, or none whose features differ, so nothing can be near. "
            "Run more documents."
        )
    best = others[np.argsort(-cosine[others], kind="stable")[:top]]
    texts = archive.texts([*rows[best], *([] if without is None else [without])])
    is_reason = (own > 0) & [feature not in no_reasons for feature in described.features]
    near = []
    for row in best:
        parts = np.maximum(values[row] * own, 0.0)
        total, parts = parts.sum(), np.where(is_reason, parts, 0.0)
        strongest = [at for at in np.argsort(-parts, kind="stable")[:_REASONS] if parts[at] > 0]
        reasons = [Reason(described.features[at], float(parts[at] / total), float(values[row, at])) for at in strongest]
        same = without is not None and texts[int(rows[row])] == texts[without]
        near.append(Near(int(rows[row]), float(cosine[row]), reasons, same))
    typical, one_in_hundred = np.quantile(cosine[others], [0.5, 0.99])
    return Nearest(near, float(typical), float(one_in_hundred), len(others))
