"""One feature's lineage across the layers."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from feature_tracker.charts.theme import MUTED, empty_figure, finish, number, stacked_label, with_alpha, wrapped
from feature_tracker.labels.columns import BY_NAME
from feature_tracker.tracing.rows import Row, feature_of, rows_of

_LABEL_WIDTH = 10  # characters per line: five such columns fit into 350 pixels
_ROWS = (
    ("activation", "Activation", ".3g"),
    ("specialization_index", BY_NAME["specialization_index"].title, BY_NAME["specialization_index"].format),
    ("cosine", "Cosine", ".2f"),
    ("r", "Correlation r", "+.2f"),
)


def plot_lineage(lineage: pd.DataFrame, *, colours: Mapping[int, str], chosen_layer: int) -> go.Figure:
    """Activation, specialization, cosine and r of a feature's lineage: four panels over one axis of layers.

    Args:
        lineage: what `features.lineage.lineage` returns, with `label`, `reliable` and `specialization_index` joined.
        colours: by layer.
        chosen_layer: layer of the feature from which the lineage starts.
    """
    if lineage.empty:
        return empty_figure("This feature has no lineage.")
    x = list(range(len(lineage)))
    figure = make_subplots(
        rows=len(_ROWS), cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.34, 0.22, 0.22, 0.22]
    )
    hovers = [_hover(row) for row in rows_of(lineage)]
    for row, (column, title, _) in enumerate(_ROWS, start=1):
        values = lineage[column].to_numpy(dtype=float)
        figure.add_scatter(
            x=x,
            y=values,
            mode="lines",
            line={"color": with_alpha(MUTED, 0.6), "width": 2},
            hoverinfo="skip",
            connectgaps=True,
            row=row,
            col=1,
        )
        figure.add_scatter(
            x=x,
            y=values,
            mode="markers",
            marker={
                "size": [16 if layer == chosen_layer else 11 for layer in lineage["layer"]],
                "opacity": 1,
                "symbol": ["star" if layer == chosen_layer else "circle" for layer in lineage["layer"]],
                "color": [colours[int(layer)] for layer in lineage["layer"]],
            },
            hovertext=hovers,
            hovertemplate="%{hovertext}<extra></extra>",
            row=row,
            col=1,
        )
        figure.update_yaxes(
            title={"text": title, "font": {"size": 11}}, automargin=True, fixedrange=True, row=row, col=1
        )
    figure.update_yaxes(rangemode="tozero", row=1, col=1)
    figure.update_yaxes(range=[-1.1, 1.1], row=2, col=1)
    figure.update_yaxes(range=[-0.1, 1.1], row=3, col=1)
    figure.update_yaxes(range=[-1.1, 1.1], row=4, col=1)
    names = [
        f"Layer {row['layer']}<br>"
        + stacked_label(str(row["label"]), reliable=bool(row["reliable"]), width=_LABEL_WIDTH, lines=3)
        for row in rows_of(lineage)
    ]
    figure.update_xaxes(range=[-0.4, len(x) - 0.6], fixedrange=True)
    figure.update_xaxes(
        tickvals=x, ticktext=names, tickangle=0, tickfont={"size": 10}, automargin=True, row=len(_ROWS), col=1
    )
    return finish(figure, height=640)


def _hover(row: Row) -> str:
    lines = [f"<b>{wrapped(str(row['label']))}</b>", str(feature_of(row))]
    lines += [f"{title} {number(float(row[column]), form, 'none')}" for column, title, form in _ROWS]
    return "<br>".join(lines)
