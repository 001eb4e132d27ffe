"""Names and formats for the numbers of a ranking."""

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
"""Titles of an axis or a column of aggregated activations."""

RARITY_TITLE = "Rarity (1 in N tokens this strong)"
_UNKNOWN_CORPUS_RARITY = 1e7  # for activations above the strongest one in a corpus of unknown size


def tick_format(aggregation: Aggregation) -> str:
    """Tick format, in Plotly's notation, for an axis of activations."""
    return ".0%" if aggregation == "share" else ""


def activation_text(value: float, aggregation: Aggregation = "max") -> str:
    """A feature's aggregated activation in words: `Mean activation 1.52`."""
    return f"{TITLES[aggregation]} {format(value, '.1%' if aggregation == 'share' else '.3g')}"


def rarity(percentile: npt.ArrayLike) -> np.ndarray:
    """The N in "1 in N tokens is this strong": at least 1, NaN where the percentile is unknown.

    Args:
        percentile: as in `rank_features`, 0 to 100, of any shape.
    """
    share = np.asarray(percentile, dtype=float) / 100
    return np.where(share >= 1, _UNKNOWN_CORPUS_RARITY, 1 / (1 - np.where(share >= 1, 0, share)))


def rounded(value: float, digits: int = 2) -> float:
    """A number rounded to `digits` significant digits."""
    return float(f"{value:.{digits}g}")


def one_in(percentile: float) -> str:
    """The rarity in words, such as `1 in 12,000`; empty if the percentile is unknown."""
    if math.isnan(percentile):
        return ""
    if percentile >= 100:
        return "never seen before"
    value = rounded(float(rarity(percentile)))
    if value >= 1e6:
        return f"1 in {value / 1e6:g} million"
    decimals = 0 if value >= 10 or value.is_integer() else 1
    return f"1 in {value:,.{decimals}f}"
