"""Activation statistics of every feature of a layer, and how financial each is."""

from __future__ import annotations

import numpy as np
import pandas as pd

from labels.firings import Firings


def feature_statistics(firings: Firings) -> pd.DataFrame:
    """Measures of every latent of a layer from its post-top-k activations, in the order of latents.

    Returns:
        `specialization` (mean activation a token on finance text less the same on general text),
        `specialization_index` ((f - g) / (f + g), NaN where the latent fires on neither), `finance_mean, general_mean,
        finance_tokens, general_tokens, density, mean_activation, max_activation`, and `q50, q90, q99` of the
        activations where it fires.
    """
    finance = firings.is_finance
    n_finance, n_general = int(finance.sum()), int((~finance).sum())
    sums: dict[str, np.ndarray] = {}
    for part, chosen in (("finance", finance), ("general", ~finance)):
        indices, values = firings.indices[chosen].ravel(), firings.values[chosen].ravel()
        sums[part] = np.bincount(indices, weights=values.astype(float), minlength=firings.n_latents)
    f = sums["finance"] / n_finance if n_finance else np.full(firings.n_latents, np.nan)
    g = sums["general"] / n_general if n_general else np.full(firings.n_latents, np.nan)
    values_of = [firings.of(latent)[1] for latent in range(firings.n_latents)]
    quantiles = np.array([np.quantile(v, [0.5, 0.9, 0.99]) if len(v) else np.zeros(3) for v in values_of])
    with np.errstate(invalid="ignore"):
        index = (f - g) / (f + g)
    return pd.DataFrame(
        {
            "specialization": f - g,
            "specialization_index": index,
            "finance_mean": f,
            "general_mean": g,
            "finance_tokens": n_finance,
            "general_tokens": n_general,
            "density": [len(v) / firings.n_tokens for v in values_of],
            "mean_activation": (sums["finance"] + sums["general"]) / firings.n_tokens,
            "max_activation": [float(v.max()) if len(v) else 0.0 for v in values_of],
            "q50": quantiles[:, 0],
            "q90": quantiles[:, 1],
            "q99": quantiles[:, 2],
        }
    )
