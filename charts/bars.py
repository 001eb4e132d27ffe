"""The strongest features of one layer as horizontal bars."""

from __future__ import annotations

from typing import Literal

import pandas as pd
import plotly.graph_objects as go

from charts.theme import empty_figure, feature_hover, finish, stacked_label, with_alpha
from tracing.rows import features_of, rows_of

Measure = Literal["activation", "percentile"]

MEASURE_TITLES: dict[str, str] = {"activation": "Activation", "percentile": "Percentile"}

_LABEL_WIDTH = 32  # characters a line, two lines; at 12 pixels they leave half of a 480-pixel chart to the bars
_BAR_HEIGHT = 38
_UNRELIABLE_ALPHA = 0.4


def plot_layer(
    ranked: pd.DataFrame, *, colour: str, measure: Measure = "activation", selected: int | None = None
) -> go.Figure:
    """Bars of one layer's features, the first row on top.

    Args:
        ranked: one layer's rows of `rank_features`.
        colour: the layer's.
        measure: what the length of a bar stands for.
        selected: feature index to be outlined.
    """
    if ranked.empty:
        return empty_figure("No feature of this layer passes the filters.")
    reliable = ranked["reliable"].to_numpy(dtype=bool)
    places = list(range(len(ranked)))
    figure = go.Figure(
        go.Bar(
            x=ranked[measure].to_numpy(dtype=float),
            y=places,
            orientation="h",
            marker={
                "color": [with_alpha(colour, 1.0 if ok else _UNRELIABLE_ALPHA) for ok in reliable],
                "line": {"color": colour, "width": [3 if f == selected else 0 for f in ranked["feature"]]},
                "cornerradius": 3,
            },
            customdata=[list(feature) for feature in features_of(ranked)],
            hovertext=[feature_hover(row) for row in rows_of(ranked)],
            hovertemplate="%{hovertext}<extra></extra>",
            # A click chooses a feature; the outline shows it, so Plotly's own fading stays out.
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
        )
    )
    names = [
        stacked_label(str(label), reliable=bool(ok), width=_LABEL_WIDTH)
        for label, ok in zip(ranked["label"], reliable, strict=True)
    ]
    chosen = [f"<b>{name}</b>" if f == selected else name for name, f in zip(names, ranked["feature"], strict=True)]
    figure.update_yaxes(
        tickvals=places, ticktext=chosen, range=[len(places) - 0.5, -0.5], automargin=True, showgrid=False
    )
    figure.update_xaxes(rangemode="tozero", automargin=True, fixedrange=True)
    return finish(figure, height=_BAR_HEIGHT * len(places) + 36, bargap=0.25)
