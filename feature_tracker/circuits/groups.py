"""Features of one layer that do the same work become one node."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

_APART = 0.55
"""Average distance within a group: 0 for features of the same work, 1 for unrelated ones."""
_WEIGHTS = (0.4, 0.2, 0.4)
"""Of where features fire, of their decoder directions, and of what they feed."""


def group_features(where: np.ndarray, directions: np.ndarray, feeds: np.ndarray) -> list[np.ndarray]:
    """Groups of features, as arrays of row numbers.

    Features are alike where they contribute on the same words, their decoder directions are alike (which says that they
    have one lineage), and they feed the same nodes in the same proportions, signs included.

    Args:
        where: (n, n_tokens) contribution of each feature on each token.
        directions: (n, d_model) decoder directions.
        feeds: (n, n_targets) contribution to each node of the deeper layer.
    """
    if len(where) < 2:
        return [np.arange(len(where))] if len(where) else []
    alike = np.zeros((len(where), len(where)))
    for weight, rows in zip(_WEIGHTS, (where, directions, feeds), strict=True):
        alike += weight * _cosines(rows)
    apart = np.maximum(1 - alike[np.triu_indices(len(where), 1)], 0.0)  # rounding may fall below 0
    numbers = fcluster(linkage(apart, "average"), _APART, "distance")
    return [np.flatnonzero(numbers == number) for number in np.unique(numbers)]


def _cosines(rows: np.ndarray) -> np.ndarray:
    unit = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12)
    return unit @ unit.T
