"""Distinctiveness: how far a text makes a feature fire beyond what ordinary passages do."""

from __future__ import annotations

import numpy as np
import pandas as pd

PIECES = (256, 64)
"""Tokens of the corpus pieces that `window_mean` and `window_sd`, and `window_sd_64`, are measured over."""


def distinctiveness(dense: np.ndarray, labels: pd.DataFrame) -> np.ndarray:
    """(n,) by how many standard deviations each feature's mean of sqrt(activation) over a text lies above the corpus'.

    The standard deviation is that of means over as many tokens as the text has. It falls with their number, faster for
    features of single words than for those of topics. Between 32 and 1,500 tokens a power of the number holds within
    some 10 %, with one exponent a feature; a sum of a constant and a part that falls with 1 / n overshoots by 30 % at
    1,500. Here the exponent is the one that leads from `window_sd_64` to `window_sd`.

    The square root keeps a few strong firings from outweighing all others.

    Args:
        dense: (n_tokens, n) activations on the tokens that count: neither BOS nor attention sinks.
        labels: (n,) rows with `window_mean, window_sd, window_sd_64`.

    Returns:
        NaN for a feature that was not measured, or that never fired in the corpus.
    """
    mean, sd, sd_short = (labels[name].to_numpy(float) for name in ("window_mean", "window_sd", "window_sd_64"))
    long, short = PIECES
    with np.errstate(divide="ignore", invalid="ignore"):
        # Between 0, the same whatever the length, and 1/2, that of tokens independent of each other.
        exponent = np.clip(np.log(sd_short / sd) / np.log(long / short), 0.0, 0.5)
        z = (np.sqrt(dense).mean(axis=0, dtype=float) - mean) / (sd * (long / len(dense)) ** exponent)
    return np.where(sd > 0, z, np.nan)
