"""Names and formats for the numbers of a ranking."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from feature_tracker.tracing.rank import Aggregation, RankBy

TITLES: dict[Aggregation, str] = {
    "max": "Activation",
    "mean": "Mean activation",
    "sum": "Summed activation",
    "share": "Share of words",
}
"""Titles of an axis or a column of aggregated activations."""

RANKING_TITLES: dict[RankBy, str] = {
    "distinctiveness": "Standard deviations above ordinary text",
    "rarity": "One passage in so many peaks as high",
}
"""Titles of an axis of what features are ranked by, where that isn't the activation."""


def ranking_title(by: RankBy, aggregation: Aggregation) -> str:
    """Title of an axis of what features are ranked by."""
    return RANKING_TITLES.get(by) or TITLES[aggregation]


def ranking_values(ranked: pd.DataFrame, by: RankBy) -> np.ndarray:
    """(n,) what the rows of `rank_features` are ranked by; 0 where it is unknown or below ordinary text."""
    return np.nan_to_num(ranked[by].to_numpy(dtype=float), nan=0.0).clip(min=0.0)


def tick_format(by: RankBy, aggregation: Aggregation) -> str:
    """Tick format, in Plotly's notation, for an axis of what features are ranked by."""
    return ".0%" if by == "activation" and aggregation == "share" else ""


def activation_text(value: float, aggregation: Aggregation = "max") -> str:
    """A feature's aggregated activation in words: `Mean activation 1.52`."""
    return f"{TITLES[aggregation]} {format(value, '.1%' if aggregation == 'share' else '.3g')}"


def rounded(value: float, digits: int = 2) -> float:
    """A number rounded to `digits` significant digits."""
    return float(f"{value:.{digits}g}")


def one_in(rarity: float, *, at_least: bool = False) -> str:
    """A rarity in words, such as `1 in 12,000`, or `1 in ≥12,000` for a lower limit; empty if it is unknown."""
    if math.isnan(rarity):
        return ""
    value = rounded(rarity)
    sign = "≥" if at_least else ""
    if value >= 1e6:
        return f"1 in {sign}{value / 1e6:g} million"
    decimals = 0 if value >= 10 or value.is_integer() else 1
    return f"1 in {sign}{value:,.{decimals}f}"


def chance_text(expected: float) -> str:
    """A number that chance would give, in words: `about 12`, `under 0.1`; empty if it is unknown."""
    if math.isnan(expected):
        return ""
    return "under 0.1" if expected < 0.1 else f"about {expected:,.{0 if expected >= 10 else 1}f}"
