"""How high a feature stands in a document among documents of like length.

A feature's mean over the tokens of a short document is 0 or large, over those of a long one neither. Documents of
unlike length therefore differ in every feature's distribution, though not in its mean, and a rank test takes that for a
difference. Ranks among documents of like length don't.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

_FEWEST_ALIKE, _MOST_STRATA = 20, 10
_FEWEST_OF_GROUP = 5


def length_strata(n_counted: np.ndarray, *, smallest_group: int | None = None) -> np.ndarray:
    """(n_documents,) int, the same for documents of like length.

    Up to ten strata of as many documents each, at least twenty, of which a group has five on average; documents of one
    length are in one stratum.

    Args:
        n_counted: (n_documents,) the documents' tokens that count.
        smallest_group: documents of the smaller one of two groups that are to be compared.
    """
    most = len(n_counted) // _FEWEST_ALIKE
    if smallest_group is not None:
        most = min(most, smallest_group // _FEWEST_OF_GROUP)
    n_strata = int(np.clip(most, 1, _MOST_STRATA))
    edges = np.quantile(n_counted, np.arange(1, n_strata) / n_strata)
    return np.unique(np.searchsorted(edges, n_counted, side="right"), return_inverse=True)[1]


def standing(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """(n_documents, n_features) float32 each document's rank over (1 + the stratum's size), so between 0 and 1.

    Ties share their mean rank. In every stratum the mean is 1/2.

    Args:
        values: (n_documents, n_features).
        strata: (n_documents,) from `length_strata`.
    """
    ranks = np.empty(values.shape, np.float32)
    for stratum in np.unique(strata):
        rows = strata == stratum
        ranks[rows] = rankdata(values[rows], axis=0) / (1 + np.count_nonzero(rows))
    return ranks


def unit_means(values: np.ndarray, units: np.ndarray) -> np.ndarray:
    """(n_units, n_features) means over the documents of each unit, in the order of the units' numbers."""
    _, unit, n_documents = np.unique(units, return_inverse=True, return_counts=True)
    order = np.argsort(unit, kind="stable")
    starts = np.cumsum(n_documents) - n_documents
    return np.add.reduceat(values[order], starts, axis=0) / n_documents[:, None]
