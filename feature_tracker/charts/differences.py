"""Differences of features between two texts, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from feature_tracker.charts.theme import MUTED, finish, plotly_text, stacked_label, unfaded
from feature_tracker.feature import Feature
from feature_tracker.tracing.rows import features_of

_LABEL_WIDTH = 48  # characters per line
_ROW_HEIGHT = 40  # pixels


def plot_differences(rows: pd.DataFrame, *, colours: Mapping[int, str], selected: Feature | None) -> go.Figure:
    """A point for each feature's difference, a line for its interval, the first row on top.

    Args:
        rows: of `Comparison.features`, with `label` and `reliable`.
        colours: by layer.
        selected: feature to outline.
    """
    features, places = features_of(rows), list(range(len(rows)))
    difference = rows["difference"].to_numpy()
    figure = go.Figure(
        go.Scatter(
            x=difference,
            y=places,
            mode="markers",
            marker={
                "size": 11,
                "color": [colours[feature.layer] for feature in features],
                "line": {"color": "#E8B004", "width": [3 if feature == selected else 0 for feature in features]},
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": rows["high"].to_numpy() - difference,
                "arrayminus": difference - rows["low"].to_numpy(),
                "color": MUTED,
            },
            customdata=[list(feature) for feature in features],
            hovertext=[
                f"{plotly_text(str(label))} ({feature})<br>{value:+.3f} per token, {low:+.3f} to {high:+.3f}"
                for feature, label, value, low, high in zip(
                    features, rows["label"], difference, rows["low"], rows["high"], strict=True
                )
            ],
            hovertemplate="%{hovertext}<extra></extra>",
            **unfaded(1),
        )
    )
    names = [
        stacked_label(str(label), reliable=bool(ok), width=_LABEL_WIDTH)
        for label, ok in zip(rows["label"], rows["reliable"], strict=True)
    ]
    figure.update_yaxes(tickvals=places, ticktext=names, range=[len(places) - 0.5, -0.5], automargin=True)
    figure.update_xaxes(
        title={"text": "Less in the second text — more"}, zeroline=True, automargin=True, fixedrange=True
    )
    return finish(figure, height=_ROW_HEIGHT * len(places) + 70)
