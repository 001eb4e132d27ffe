"""Activation statistics of each latent of a layer, and how financial it is."""

from __future__ import annotations

import numpy as np
import pandas as pd

QUANTILES = [0.5, 0.9, 0.99]
"""Shares of a feature's firing tokens, for the columns `q50, q90, q99`."""


def statistics_frame(
    *,
    finance_sum: np.ndarray,
    general_sum: np.ndarray,
    finance_tokens: int,
    general_tokens: int,
    fired: np.ndarray,
    largest: np.ndarray,
    quantiles: np.ndarray,
) -> pd.DataFrame:
    """Measures of every latent of a layer from sums over a text, in the order of latents.

    Returns:
        `specialization` (mean activation a token on finance text less the same on general text),
        `specialization_index` ((f - g) / (f + g), NaN where the latent fires on neither), `finance_mean, general_mean,
        finance_tokens, general_tokens, density, mean_activation, max_activation`, and `q50, q90, q99` of the
        activations where it fires.

    Args:
        finance_sum, general_sum: (n_latents,) summed activations on each kind of text.
        finance_tokens, general_tokens: tokens of each, without BOS.
        fired: (n_latents,) tokens on which each latent fired.
        largest: (n_latents,) largest activation, 0 where it never fired.
        quantiles: (n_latents, 3) `QUANTILES` of its activations, 0 where it never fired.
    """
    nothing = np.full(len(fired), np.nan)
    f = finance_sum / finance_tokens if finance_tokens else nothing
    g = general_sum / general_tokens if general_tokens else nothing
    n_tokens = finance_tokens + general_tokens
    with np.errstate(invalid="ignore"):
        index = (f - g) / (f + g)
    return pd.DataFrame(
        {
            "specialization": f - g,
            "specialization_index": index,
            "finance_mean": f,
            "general_mean": g,
            "finance_tokens": finance_tokens,
            "general_tokens": general_tokens,
            "density": fired / n_tokens,
            "mean_activation": (finance_sum + general_sum) / n_tokens,
            "max_activation": largest,
            "q50": quantiles[:, 0],
            "q90": quantiles[:, 1],
            "q99": quantiles[:, 2],
        }
    )
