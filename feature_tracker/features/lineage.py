"""A feature's lineage: its nearest relatives in the other SAE layers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from feature_tracker.circuits.correlation import activation_columns, pearson
from feature_tracker.feature import Feature
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.trace import Trace


def lineage(trace: Trace, saes: Mapping[int, Sae], feature: Feature) -> pd.DataFrame:
    """The chosen feature and, step by step towards both ends, the latent of the next SAE layer most like the last.

    Likeness is the mean of two: the cosine of the decoder directions, and Pearson's r over the tokens of the trace.
    Where either does not fire in this text there is no r, and it counts as 0.

    Returns:
        `layer, feature, cosine, r, activation`, one row a layer of the trace in ascending order. `cosine` and `r` link
        a row to its neighbour on the way to the chosen feature and are NaN for that one, `r` also where it is not
        defined; `activation` is the largest over the tokens.
    """
    layers = sorted(trace.layers)
    start = layers.index(feature.layer)
    steps = [_step(trace, feature, float("nan"), float("nan"))]
    for direction in (layers[:start][::-1], layers[start + 1 :]):
        here = feature
        for layer in direction:
            here, cosine, r = _nearest(trace, saes, here, layer)
            steps.append(_step(trace, here, cosine, r))
    return pd.DataFrame(steps).sort_values("layer", ignore_index=True)


def _nearest(trace: Trace, saes: Mapping[int, Sae], feature: Feature, layer: int) -> tuple[Feature, float, float]:
    directions = torch.nn.functional.normalize(saes[layer].decoder, dim=1)
    own = torch.nn.functional.normalize(saes[feature.layer].decoder[feature.index], dim=0)
    cosine = (directions @ own.to(directions.device)).cpu().numpy()
    r = pearson(activation_columns(trace, [feature]), trace.layers[layer].dense()[trace.counted].astype(float))[0]
    best = int(np.argmax(cosine + np.nan_to_num(r)))
    return Feature(layer, best), float(cosine[best]), float(r[best])


def _step(trace: Trace, feature: Feature, cosine: float, r: float) -> dict[str, float]:
    activation = float(trace.column(feature)[trace.counted].max(initial=0.0))
    return {"layer": feature.layer, "feature": feature.index, "cosine": cosine, "r": r, "activation": activation}
