"""A feature's lineage: its closest relatives in the other SAE layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from feature_tracker.circuits.correlation import activation_columns, pearson
from feature_tracker.feature import Feature
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.trace import Trace


class _Step(NamedTuple):
    """One row of a lineage; see `lineage`."""

    layer: int
    feature: int
    cosine: float
    r: float
    activation: float


def lineage(trace: Trace, saes: Mapping[int, Sae], feature: Feature) -> pd.DataFrame:
    """Follow a feature layer by layer in both directions, each time to the most similar latent of the next SAE layer.

    Similarity is the mean of two measures: cosine of the decoder directions, and Pearson's r over the tokens of the
    trace. If either latent doesn't fire in this text, r is undefined and counts as 0.

    Returns:
        `layer, feature, cosine, r, activation`, one row per layer of the trace, ascending. `cosine` and `r` compare a
        row with its neighbour on the side of the chosen feature. Both are NaN for the chosen feature itself, and `r`
        where it is undefined. `activation` is the maximum over the tokens that count (`Trace.counted`).
    """
    layers = sorted(trace.layers)
    start = layers.index(feature.layer)
    steps = [_step(trace, feature, cosine=math.nan, r=math.nan)]
    for direction in (layers[:start][::-1], layers[start + 1 :]):
        relative = feature
        for layer in direction:
            relative, cosine, r = _nearest(trace, saes, relative, layer)
            steps.append(_step(trace, relative, cosine=cosine, r=r))
    return pd.DataFrame(steps).sort_values("layer", ignore_index=True)


def _nearest(trace: Trace, saes: Mapping[int, Sae], feature: Feature, layer: int) -> tuple[Feature, float, float]:
    """The latent of `layer` most similar to a feature, with their cosine and r."""
    directions = torch.nn.functional.normalize(saes[layer].decoder, dim=1)
    direction = torch.nn.functional.normalize(saes[feature.layer].decoder[feature.index], dim=0)
    cosine = (directions @ direction.to(directions.device)).cpu().numpy()
    r = pearson(activation_columns(trace, [feature]), trace.layers[layer].dense()[trace.counted].astype(float))[0]
    nearest = int(np.argmax(cosine + np.nan_to_num(r)))
    return Feature(layer, nearest), float(cosine[nearest]), float(r[nearest])


def _step(trace: Trace, feature: Feature, *, cosine: float, r: float) -> _Step:
    activation = float(trace.column(feature)[trace.counted].max(initial=0.0))
    return _Step(feature.layer, feature.index, cosine, r, activation)
