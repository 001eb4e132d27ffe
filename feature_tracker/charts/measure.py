"""What the numbers of a ranking are called, and how they are written."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from feature_tracker.tracing.rank import Aggregation

TITLES: dict[Aggregation, str] = {
    "max": "Activation",
    "mean": "Mean activation",
    "sum": "Summed activation",
    "share": "Share of words",
}
"""Of an axis or a column that holds a feature's aggregated activation."""

RARITY_TITLE = "One word in so many is as strong"
_MOST = 1e7  # stands for the strongest activation of a corpus whose size isn't known


def tick_format(aggregation: Aggregation) -> str:
    """Plotly's format of an axis of activations."""
    return ".0%" if aggregation == "share" else ""


def activation_text(value: float, aggregation: Aggregation = "max") -> str:
    """A feature's aggregated activation in words: `Mean activation 1.52`."""
    return f"{TITLES[aggregation]} {format(value, '.1%' if aggregation == 'share' else '.3g')}"


def rarity(percentile: npt.ArrayLike) -> np.ndarray:
    """Of how many tokens one is as strong, at least 1; NaN where the percentile is not known.

    Args:
        percentile: of `rank_features`, 0 to 100, any shape.
    """
    share = np.asarray(percentile, dtype=float) / 100
    return np.where(share >= 1, _MOST, 1 / (1 - np.where(share >= 1, 0, share)))


def rounded(value: float, digits: int = 2) -> float:
    """A number to so many significant digits."""
    return float(f"{value:.{digits}g}")


def one_in(percentile: float) -> str:
    """The rarity in words, such as `1 in 12,000`; empty where the percentile is not known."""
    if math.isnan(percentile):
        return ""
    if percentile >= 100:
        return "never seen before"
    value = rounded(float(rarity(percentile)))
    if value >= 1e6:
        return f"1 in {value / 1e6:g} million"
    return f"1 in {value:,.{0 if value >= 10 or value == int(value) else 1}f}"
