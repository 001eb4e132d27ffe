"""The strongest features of all layers side by side."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from charts.bars import MEASURE_TITLES, Measure
from charts.theme import empty_figure, feature_hover, finish, with_alpha
from sae.feature import Feature
from tracing.rows import features_of, rows_of

_UNRELIABLE_ALPHA = 0.4


def plot_comparison(
    ranked: pd.DataFrame,
    *,
    colours: Mapping[int, str],
    measure: Measure = "activation",
    selected: Feature | None = None,
) -> go.Figure:
    """Bars in groups by rank: each layer's strongest feature in the first group, the second in the next.

    Features of different layers have nothing in common but their rank; which they are stands in the hover.

    Args:
        ranked: rows of `rank_features`.
        colours: one a layer.
        measure: what the height of a bar stands for.
    """
    if ranked.empty:
        return empty_figure("No feature passes the filters.")
    figure = go.Figure()
    for layer in sorted(ranked["layer"].unique().tolist()):
        rows = ranked.loc[ranked["layer"] == layer]
        features = features_of(rows)
        colour = colours[layer]
        figure.add_bar(
            name=f"Layer {layer}",
            x=list(range(1, len(rows) + 1)),
            y=rows[measure].to_numpy(dtype=float),
            marker={
                "color": [with_alpha(colour, 1.0 if ok else _UNRELIABLE_ALPHA) for ok in rows["reliable"]],
                "line": {
                    "color": colour,
                    "width": [3 if feature == selected else 0 for feature in features],
                },
            },
            customdata=[list(feature) for feature in features],
            hovertext=[feature_hover(row) for row in rows_of(rows)],
            hovertemplate="%{hovertext}<extra></extra>",
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
        )
    figure.update_xaxes(title="Rank within the layer", dtick=1, showgrid=False, fixedrange=True)
    figure.update_yaxes(title=MEASURE_TITLES[measure], rangemode="tozero", automargin=True, fixedrange=True)
    return finish(
        figure,
        height=420,
        barmode="group",
        bargap=0.25,
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"l": 8, "r": 16, "t": 40, "b": 8},
    )
