"""Themes against layers: where in the model each theme stands out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from feature_tracker.charts.measure import one_in
from feature_tracker.charts.theme import empty_figure, finish, plotly_text, stacked_label, unfaded, with_alpha, wrapped
from feature_tracker.feature import Feature
from feature_tracker.tracing.rows import Row, feature_of, features_of, rows_of

_LABEL_WIDTH = 30  # characters per line, three lines
_ROW_HEIGHT = 54  # pixels
_SMALLEST, _LARGEST = 10.0, 30.0  # pixels across
_HUGE = 1e4  # passages: the largest dot


def plot_theme_layers(members: pd.DataFrame, *, colours: Mapping[int, str], selected: Feature | None) -> go.Figure:
    """One row per theme and one column per layer; a dot is the layer's most unusual feature of the theme.

    Its size is the logarithm of how many passages it takes to see one as unusual, which can be compared between layers;
    activations can't.

    Args:
        members: one row per feature of a theme: `theme`, its number from 0, `theme_label`, `layer`, `feature`, `label`
            and `one_in`.
        colours: by layer.
        selected: feature to outline.
    """
    if members.empty:
        return empty_figure("No theme stands out.")
    strongest = members.sort_values("one_in", ascending=False, kind="stable").drop_duplicates(["theme", "layer"])
    layers = sorted(colours)
    size = np.log(strongest["one_in"].clip(1, _HUGE)) / np.log(_HUGE)
    features = features_of(strongest)
    figure = go.Figure(
        go.Scatter(
            x=[layers.index(layer) for layer in strongest["layer"]],
            y=strongest["theme"],
            mode="markers",
            marker={
                "size": (_SMALLEST + (_LARGEST - _SMALLEST) * size).tolist(),
                "color": [with_alpha(colours[feature.layer], 0.85) for feature in features],
                "line": {
                    "color": [colours[feature.layer] for feature in features],
                    "width": [4 if feature == selected else 0 for feature in features],
                },
            },
            customdata=[list(feature) for feature in features],
            hovertext=[_hover(row) for row in rows_of(strongest)],
            hovertemplate="%{hovertext}<extra></extra>",
            **unfaded(0.85),
        )
    )
    themes = members.drop_duplicates("theme").sort_values("theme")
    figure.update_xaxes(
        tickvals=list(range(len(layers))),
        ticktext=[f"Layer {layer}" for layer in layers],
        range=[-0.5, len(layers) - 0.5],
        side="top",
        fixedrange=True,
    )
    figure.update_yaxes(
        tickvals=themes["theme"].tolist(),
        ticktext=[
            stacked_label(str(label), reliable=True, width=_LABEL_WIDTH, lines=3) for label in themes["theme_label"]
        ],
        range=[len(themes) - 0.5, -0.5],
        automargin=True,
        fixedrange=True,
    )
    return finish(figure, height=_ROW_HEIGHT * len(themes) + 60)


def _hover(row: Row) -> str:
    lines = [f"<b>{wrapped(str(row['label']))}</b>", plotly_text(str(feature_of(row)))]
    return "<br>".join([*lines, f"{one_in(float(row['one_in']))} passages makes it stand out as much"])
