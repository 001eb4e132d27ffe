"""Pearson correlation between features of different layers over the tokens of a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sae.feature import Feature
from tracing.trace import Trace

COLUMNS = ["source_layer", "source_feature", "target_layer", "target_feature", "r", "n_either"]


def activation_columns(trace: Trace, features: Sequence[Feature]) -> np.ndarray:
    """(n_tokens, n_features) float64 activations, 0 where a feature is not among its layer's top k."""
    columns = np.zeros((trace.n_tokens, len(features)))
    for layer in {feature.layer for feature in features}:
        places = [place for place, feature in enumerate(features) if feature.layer == layer]
        columns[:, places] = trace.layers[layer].dense()[:, [features[place].index for place in places]]
    return columns


def pearson(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(n_left, n_right) Pearson's r between columns of (n_tokens, n_left) and (n_tokens, n_right).

    NaN where a column is constant.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = [(x - x.mean(axis=0)) / np.linalg.norm(x - x.mean(axis=0), axis=0) for x in (left, right)]
    return np.clip(scaled[0].T @ scaled[1], -1, 1)


def correlate(trace: Trace, features: Sequence[Feature], *, min_support: int = 8) -> pd.DataFrame:
    """Pearson's r over the tokens of a trace for every pair of features of different layers.

    Args:
        features: no feature twice; a latent index says nothing across layers, only (layer, index) does.
        min_support: a pair needs so many tokens on which either fires.

    Returns:
        `source_layer, source_feature, target_layer, target_feature, r, n_either`, one row a pair whose r is defined,
        the source in the shallower layer; `n_either` counts the tokens on which either fires.
    """
    columns = activation_columns(trace, features)
    fires = (columns > 0).astype(float)
    n_fires = fires.sum(axis=0)
    n_either = n_fires[:, None] + n_fires[None, :] - fires.T @ fires
    r = pearson(columns, columns)
    layers = np.array([feature.layer for feature in features], dtype=int)
    indices = np.array([feature.index for feature in features], dtype=int)
    wanted = (layers[:, None] < layers[None, :]) & (n_either >= min_support) & ~np.isnan(r)
    source, target = np.nonzero(wanted)
    values = [layers[source], indices[source], layers[target], indices[target], r[wanted], n_either[wanted].astype(int)]
    return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))
