"""The strongest features of all layers side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from feature_tracker.charts.measure import RARITY_TITLE, TITLES, rarity, tick_format
from feature_tracker.charts.theme import UNRELIABLE_ALPHA, empty_figure, feature_hover, finish, unfaded, with_alpha
from feature_tracker.feature import Feature
from feature_tracker.tracing.rank import Aggregation, RankBy
from feature_tracker.tracing.rows import features_of, rows_of


def plot_comparison(
    ranked: pd.DataFrame,
    *,
    colours: Mapping[int, str],
    by: RankBy = "activation",
    aggregation: Aggregation = "max",
    selected: Feature | None = None,
) -> go.Figure:
    """Bars grouped by rank: the first group holds each layer's strongest feature, the next the second strongest.

    Features in a group have only their rank in common. The hover says which feature a bar shows.

    Args:
        ranked: rows of `rank_features`.
        colours: by layer.
        by: how the features are ranked, and what a bar's height shows: under `percentile` the rarity, on a logarithmic
            axis, else the activation.
        aggregation: how the activations were aggregated.
        selected: feature to outline.
    """
    if ranked.empty:
        return empty_figure("No feature passes the filters.")
    heights = rarity(ranked["percentile"]) if by == "percentile" else ranked["activation"].to_numpy(dtype=float)
    figure = go.Figure()
    for layer in sorted(ranked["layer"].unique().tolist()):
        within = (ranked["layer"] == layer).to_numpy()
        rows = ranked.loc[within]
        features = features_of(rows)
        colour = colours[layer]
        figure.add_bar(
            name=f"Layer {layer}",
            x=list(range(1, len(rows) + 1)),
            y=heights[within],
            marker={
                "color": [with_alpha(colour, 1.0 if ok else UNRELIABLE_ALPHA) for ok in rows["reliable"]],
                "line": {"color": colour, "width": [3 if feature == selected else 0 for feature in features]},
            },
            customdata=[list(feature) for feature in features],
            hovertext=[feature_hover(row, aggregation) for row in rows_of(rows)],
            hovertemplate="%{hovertext}<extra></extra>",
            legendgroup=f"{layer}",
            showlegend=False,
            **unfaded(1),
        )
        # An empty trace for the legend, which would show the bars' trace as faded as its first bar.
        figure.add_scatter(
            name=f"Layer {layer}",
            x=[None],
            y=[None],
            mode="markers",
            marker={"symbol": "square", "size": 12, "color": colour},
            legendgroup=f"{layer}",
        )
    figure.update_xaxes(title="Rank within the layer", dtick=1, showgrid=False, fixedrange=True)
    figure.update_yaxes(automargin=True, fixedrange=True)
    if by == "percentile":
        _rarity_axis(figure, heights)
    else:
        figure.update_yaxes(title=TITLES[aggregation], tickformat=tick_format(aggregation), rangemode="tozero")
    return finish(
        figure,
        height=420,
        barmode="group",
        bargap=0.25,
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"l": 8, "r": 16, "t": 40, "b": 8},
    )


def _rarity_axis(figure: go.Figure, heights: np.ndarray) -> None:
    finite = heights[np.isfinite(heights)]
    top = float(np.log10(max(finite.max(initial=0.0), 10.0)))
    ticks = [10**power for power in range(1, int(top + 1e-9) + 1)]  # 1e-9: log10 may fall just short of a whole power
    figure.update_yaxes(
        title=RARITY_TITLE,
        type="log",
        range=[0, 1.03 * top],
        tickvals=ticks,
        ticktext=[f"1 in {tick:,}" for tick in ticks],
    )
