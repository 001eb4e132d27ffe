"""Charts of one feature: its label's scores by strength of firing, and its activations in a large body of text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from feature_tracker.charts.theme import MUTED, empty_figure, finish, with_alpha
from feature_tracker.labels.columns import QUANTILES

STRATA = {
    "recall_0_10": "top 10 %",
    "recall_10_30": "to 30 %",
    "recall_30_60": "to 60 %",
    "recall_60_100": "the rest",
}
"""Columns of the label table and the firings that they are about, by falling strength."""
_HEIGHT = 230  # pixels
_ABOVE = (1.0, 0.5, 0.1, 0.01)
"""Shares of a feature's firings above 0, `q50`, `q90` and `q99`."""


def plot_recall(row: Mapping[str, Any], *, colour: str) -> go.Figure:
    """How many of the feature's firings a reader of the label alone recognized, by strength.

    Args:
        row: of the label table, with the columns `STRATA`.
        colour: of the feature's layer.
    """
    recall = [float(row.get(name, math.nan)) for name in STRATA]
    if all(map(math.isnan, recall)):
        return empty_figure("Nobody has judged this label yet.")
    figure = go.Figure(
        go.Scatter(
            x=list(STRATA.values()),
            y=recall,
            mode="lines+markers+text",
            line={"color": with_alpha(colour, 0.6), "width": 2},
            marker={"color": colour, "size": 9},
            text=[f"{value:.0%}" for value in recall],
            textposition="top center",
            hoverinfo="skip",
            cliponaxis=False,
        )
    )
    figure.update_yaxes(range=[0, 1.15], tickformat=".0%", tickvals=[0, 0.5, 1], fixedrange=True, automargin=True)
    figure.update_xaxes(title="Firings by strength", fixedrange=True, automargin=True, range=[-0.4, len(STRATA) - 0.6])
    return finish(figure, height=_HEIGHT)


def plot_activations(row: Mapping[str, Any], here: float, *, colour: str) -> go.Figure:
    """The share of a large body of text's tokens on which the feature fires at least so strongly.

    Args:
        row: of the label table, with its density and quantiles.
        here: the feature's largest activation in this text, drawn as a vertical line.
        colour: of the feature's layer.
    """
    knots = [float(row[name]) for name in QUANTILES]
    density = float(row["density"])
    if not np.isfinite([*knots, density]).all() or density <= 0:
        return empty_figure("This feature's activations were not measured on a large body of text.")
    n_tokens = np.nansum([row["finance_tokens"], row["general_tokens"]])
    rarest = 1 / n_tokens if n_tokens > 0 else _ABOVE[-1] * density / 100
    figure = go.Figure(
        go.Scatter(
            x=[0.0, *knots],
            y=[*(density * share for share in _ABOVE), min(rarest, _ABOVE[-1] * density)],
            mode="lines+markers",
            line={"color": with_alpha(colour, 0.6), "width": 2},
            marker={"color": colour, "size": 7},
            hovertemplate="Activation %{x:.3g} or more on %{y:.2~%} of tokens<extra></extra>",
        )
    )
    figure.add_vline(
        x=here,
        line={"color": MUTED, "width": 2, "dash": "dash"},
        annotation_text="this text's peak",
        annotation_position="top left" if here > knots[-1] / 2 else "top right",
    )
    powers = range(0, math.ceil(-math.log10(rarest)) + 1, 2)
    figure.update_yaxes(
        type="log",
        tickvals=[10.0**-power for power in powers],
        ticktext=[f"1 in {10**power:,}" for power in powers],
        title="Tokens",
        fixedrange=True,
        automargin=True,
    )
    figure.update_xaxes(
        title="Activation, at least", range=[0, 1.1 * max(knots[-1], here)], fixedrange=True, automargin=True
    )
    return finish(figure, height=_HEIGHT + 40, margin={"l": 8, "r": 16, "t": 28, "b": 8})
