"""All features of a table by how financial they are and how far their labels can be trusted."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from feature_tracker.charts.theme import empty_figure, finish, plotly_text, stated, unfaded, with_alpha, wrapped
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import BY_NAME
from feature_tracker.tracing.rows import Row, feature_of, features_of, rows_of


def plot_features(described: pd.DataFrame, *, colours: Mapping[int, str], selected: Feature | None) -> go.Figure:
    """F1 of each label against the feature's specialization index, coloured by layer.

    Args:
        described: rows of `LabelTable.describe` with `layer` and `feature` as columns. Features without F1 or without
            specialization are left out.
        colours: by layer.
        selected: feature to outline.
    """
    known = described.dropna(subset=["f1", "specialization_index"])
    if known.empty:
        return empty_figure("None of these features has both an F1 and a specialization.")
    figure = go.Figure()
    for layer, rows in known.groupby("layer"):
        colour = colours[int(str(layer))]
        features = features_of(rows)
        figure.add_scatter(
            name=f"Layer {layer}",
            x=rows["specialization_index"],
            y=rows["f1"],
            mode="markers",
            marker={
                "size": 9,
                "color": with_alpha(colour, 0.6),
                "line": {"color": "#E8B004", "width": [3 if feature == selected else 0 for feature in features]},
            },
            customdata=[list(feature) for feature in features],
            hovertext=[_hover(row) for row in rows_of(rows)],
            hovertemplate="%{hovertext}<extra></extra>",
            **unfaded(1),
        )
    figure.update_xaxes(title=BY_NAME["specialization_index"].title, range=[-1.08, 1.08], fixedrange=True)
    figure.update_yaxes(title="F1 of the label", range=[0, 1.05], fixedrange=True, automargin=True)
    return finish(
        figure,
        height=420,
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"l": 8, "r": 16, "t": 40, "b": 8},
    )


def _hover(row: Row) -> str:
    lines = [f"<b>{wrapped(str(row['label']))}</b>", plotly_text(str(feature_of(row)))]
    return "<br>".join([*lines, stated(row, "f1"), stated(row, "specialization_index")])
