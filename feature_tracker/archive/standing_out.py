"""What stands out in each document of an archive: against ordinary text, and against the archive's other documents.

Everything is read from disk in pieces; what is kept is a few features a document, or a few features of all documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from feature_tracker.archive.archive import Archive
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import KEYS
from feature_tracker.labels.table import LabelTable
from feature_tracker.tracing.distinctive import OrdinaryPassages, ordinary_passages

UNUSUAL = 2.0
"""Standard deviations above ordinary text, from which on a feature is said to stand out."""
_BATCH = 2**17  # rows of `archive.schema.FEATURES`
_LENGTHS = 32  # lengths of documents at which what chance does is averaged
_TELLING = 5  # features that make a document odd


class Standing(NamedTuple):
    """Features that stand out in documents, sorted by document, the highest first.

    Attributes:
        document: (n,) number.
        column: (n,) of the feature, in `Archive.features`.
        score: (n,) by how many standard deviations it stands out.
    """

    document: np.ndarray
    column: np.ndarray
    score: np.ndarray

    def of(self, document: int) -> Standing:
        """The rows of one document."""
        rows = slice(*np.searchsorted(self.document, [document, document + 1]))
        return Standing(self.document[rows], self.column[rows], self.score[rows])


class Odd(NamedTuple):
    """How unlike the others the documents of an archive are.

    Attributes:
        score: (n_documents,) mean of a document's five highest scores; 0 for a document without any.
        features: those features and further ones.
    """

    score: np.ndarray
    features: Standing


def ordinary_text(archive: Archive, labels: LabelTable) -> OrdinaryPassages:
    """How much each feature fires in ordinary passages, by column; NaN where the label table doesn't know."""
    index = pd.MultiIndex.from_tuples([tuple(feature) for feature in archive.features], names=KEYS)
    return ordinary_passages(labels.frame.reindex(index))


def stands_out(archive: Archive, ordinary: OrdinaryPassages, shown: np.ndarray, *, most: int = 12) -> Standing:
    """The features by which each document is set apart most from ordinary text; see `tracing.distinctive`.

    Args:
        shown: (n_features,) bool, the features that may come.
        most: features a document.
    """

    def score(document: np.ndarray, column: np.ndarray, root_mean: np.ndarray) -> np.ndarray:
        return ordinary.take(column).distinctiveness(root_mean, n_counted[document])

    n_counted = archive.documents["n_counted"].to_numpy()
    return _highest(archive, score, shown & (ordinary.sd > 0), most, above=0.0)


def odd_ones(archive: Archive, ordinary: OrdinaryPassages, shown: np.ndarray, *, most: int = 12) -> Odd:
    """By what each document differs from the archive's others.

    A score is by how many standard deviations over the documents a feature's mean of sqrt(activation) lies above their
    mean, times the share of these deviations' variance that is not chance in a document of its length. Without that
    factor short documents, in which a word more or less counts, would always be the odd ones.

    Args:
        ordinary: from which chance is known; where a feature is not measured, the factor is 1.
        shown: (n_features,) bool, the features that may come.
        most: features a document.
    """
    n_counted = archive.documents["n_counted"].to_numpy()
    mean, variance = _moments(archive, len(shown))
    lengths = np.maximum(np.quantile(n_counted, np.linspace(0, 1, _LENGTHS)), 1)
    noise = np.mean([np.nan_to_num(ordinary.sd_over(int(n))) ** 2 for n in lengths], axis=0)
    true = np.maximum(variance - noise, 0.05 * variance)

    def score(document: np.ndarray, column: np.ndarray, root_mean: np.ndarray) -> np.ndarray:
        chance = np.nan_to_num(ordinary.take(column).sd_over(n_counted[document])) ** 2
        factor = true[column] / (true[column] + chance)
        return factor * (root_mean - mean[column]) / np.sqrt(variance[column])

    features = _highest(archive, score, shown & (variance > 0), most, above=0.0)
    place = _places(features.document)
    telling = np.where(place < _TELLING, features.score, 0.0)
    return Odd(np.bincount(features.document, telling, minlength=len(n_counted)) / _TELLING, features)


def measured(archive: Archive, ordinary: OrdinaryPassages, features: Sequence[Feature]) -> np.ndarray:
    """(n_documents, n_features) distinctiveness of some features in all documents.

    Where a feature is not measured on ordinary text, it is compared with the archive's documents: their mean is 0 and
    their standard deviation 1.
    """
    columns = columns_of(archive, features)
    position = np.full(len(archive.features), -1)
    position[columns] = np.arange(len(columns))
    values = np.zeros((len(archive.documents), len(columns)))
    wanted = pc.field("feature").isin(sorted({feature.index for feature in features}))
    for document, column, root_mean in _rows(archive, wanted):
        at = position[column]
        values[document[at >= 0], at[at >= 0]] = root_mean[at >= 0]
    n_counted = np.maximum(archive.documents["n_counted"].to_numpy(), 1)
    for place, column in enumerate(columns):
        one = ordinary.take(np.full(len(values), column))
        sd = values[:, place].std()
        by_archive = (values[:, place] - values[:, place].mean()) / (sd if sd > 0 else 1.0)
        values[:, place] = one.distinctiveness(values[:, place], n_counted) if ordinary.sd[column] > 0 else by_archive
    return values


def columns_of(archive: Archive, features: Sequence[Feature]) -> np.ndarray:
    """Where features stand in `Archive.features`."""
    starts = _starts(archive)
    return np.array([starts[feature.layer] + feature.index for feature in features], dtype=np.int64)


def _starts(archive: Archive) -> np.ndarray:
    """(largest layer + 1,) the column of each layer's first feature."""
    layers, n_latents = archive.manifest.layers, archive.manifest.n_latents
    starts = np.zeros(max(layers, default=0) + 1, dtype=np.int64)
    starts[layers] = np.cumsum([0, *(n_latents[layer] for layer in layers[:-1])])
    return starts


def _rows(archive: Archive, wanted: pc.Expression | None = None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Document, column and `root_mean` of the rows of `archive.schema.FEATURES`, in pieces."""
    starts = _starts(archive)
    names = ["document", "layer", "feature", "root_mean"]
    for batch in archive.dataset("features").to_batches(columns=names, filter=wanted, batch_size=_BATCH):
        document, layer, feature, root_mean = (batch.column(name).to_numpy(zero_copy_only=False) for name in names)
        yield document, starts[layer] + feature, root_mean


def _moments(archive: Archive, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """(n_features,) mean and variance of `root_mean` over the documents; 0 where a feature doesn't fire."""
    sums, squares = np.zeros((2, n_features))
    for _, column, root_mean in _rows(archive):
        sums += np.bincount(column, root_mean, minlength=n_features)
        squares += np.bincount(column, root_mean.astype(float) ** 2, minlength=n_features)
    n = max(len(archive.documents), 1)
    return sums / n, np.maximum(squares / n - (sums / n) ** 2, 0.0)


def _highest(
    archive: Archive,
    score: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    shown: np.ndarray,
    most: int,
    *,
    above: float,
) -> Standing:
    nothing = np.zeros(0, dtype=np.int64)
    kept = [Standing(nothing, nothing, np.zeros(0))]
    for document, column, root_mean in _rows(archive):
        rows = shown[column]
        document, column = document[rows], column[rows]
        values = score(document, column, root_mean[rows])
        rows = values > above
        kept.append(_first(Standing(document[rows], column[rows], values[rows]), most))
    document, column, scores = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    return _first(Standing(document, column, scores), most)  # a document may lie in two pieces


def _first(standing: Standing, most: int) -> Standing:
    order = np.lexsort((-standing.score, standing.document))
    order = order[_places(standing.document[order]) < most]
    return Standing(standing.document[order], standing.column[order], standing.score[order])


def _places(document: np.ndarray) -> np.ndarray:
    """(n,) the place of each row within its document, from 0; the rows are sorted by document."""
    return np.arange(len(document)) - np.searchsorted(document, document)
