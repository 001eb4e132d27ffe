"""A heat map of features against words: where in the text each feature fires."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from feature_tracker.charts.theme import (
    MUTED,
    axis_label,
    empty_figure,
    finish,
    number,
    plotly_text,
    shorten,
    unfaded,
    with_alpha,
)
from feature_tracker.feature import Feature
from feature_tracker.tracing.rows import feature_of, rows_of

_ROW_HEIGHT = 20
_LABEL_WIDTH = 38  # characters; with the feature's number, two fifths of a 720-pixel chart
_COLUMN_WIDTH = 14  # characters of a word under its column
_UNCOUNTED = "not counted: an attention sink, or the text was cut here"
_ZERO_WIDTH = "\u200b\u200c\u2060"  # zero-width space, zero-width non-joiner, word joiner


def plot_heatmap(
    ranked: pd.DataFrame,
    values: np.ndarray,
    columns: Sequence[str],
    *,
    colours: Mapping[int, str],
    words: Sequence[str] | None = None,
    chosen: Collection[int] = (),
    selected: Feature | None = None,
) -> go.Figure:
    """One row per feature and one column per word or stretch of text, in the colour of the feature's layer.

    The strongest cell of each row has full colour, so that faint and strong features can both be read; the hover gives
    the number. An invisible marker lies over each cell, because Plotly reports clicks and box selections on markers
    only. Its `customdata` is [column].

    Args:
        ranked: rows of `rank_features`, in the order of the rows.
        values: (n_rows, n_columns) activations; NaN leaves a cell empty.
        columns: the text of each column.
        colours: by layer.
        words: where columns are single tokens, the whole word of each, for the hover.
        chosen: columns of the chosen words, which get a frame.
        selected: feature whose label is bold.
    """
    if ranked.empty or not len(columns):
        return empty_figure("No feature passes the filters.")
    figure = go.Figure()
    names = _column_names(columns)
    rows = _row_positions(ranked["layer"].to_numpy())
    peak = np.fmax.reduce(values, axis=1, keepdims=True)
    shares = np.divide(values, peak, out=np.zeros_like(values, dtype=float), where=peak > 0)
    for layer in sorted(ranked["layer"].unique()):
        within = ranked["layer"].to_numpy() == layer
        colour = colours[int(layer)]
        figure.add_heatmap(
            x=names,
            y=rows[within],
            z=shares[within],
            zmin=0,
            zmax=1,
            colorscale=[[0, with_alpha(colour, 0.05)], [1, with_alpha(colour, 1)]],
            showscale=False,
            hoverinfo="skip",
            xgap=1,
            ygap=1,
            name=f"Layer {layer}",
        )
    figure.add_trace(_cell_markers(ranked, values, _readings(columns, words or columns), names, rows))
    for first, last in _runs(chosen):
        figure.add_vrect(x0=first - 0.5, x1=last + 0.5, line={"color": MUTED, "width": 2})
    _label_axes(figure, ranked, names, rows, selected)
    height = int(_ROW_HEIGHT * (rows[-1] + 1)) + 110
    return finish(figure, height=height, dragmode="pan", selectdirection="h")


def _runs(columns: Collection[int]) -> list[tuple[int, int]]:
    """First and last column of each run of adjacent columns."""
    ordered = np.array(sorted(columns), dtype=np.int64)
    groups = np.split(ordered, np.flatnonzero(np.diff(ordered) > 1) + 1) if len(ordered) else []
    return [(int(group[0]), int(group[-1])) for group in groups]


def _row_positions(layers: np.ndarray) -> np.ndarray:
    """The y coordinate of each row, with a gap of half a row where the layer changes."""
    breaks = np.concatenate([[0], np.diff(layers) != 0])
    return np.arange(len(layers)) + 0.5 * np.cumsum(breaks)


def _cell_markers(
    ranked: pd.DataFrame, values: np.ndarray, readings: Sequence[str], names: Sequence[str], rows: np.ndarray
) -> go.Scatter:
    n_rows, n_columns = values.shape
    heads = [
        f"<b>{axis_label(row['label'], reliable=row['reliable'], width=60)}</b><br>{feature_of(row)}"
        for row in rows_of(ranked)
    ]
    return go.Scatter(
        x=list(names) * n_rows,
        y=np.repeat(rows, n_columns),
        mode="markers",
        marker={"symbol": "square", "size": 12, "opacity": 0, "color": "#000000"},
        **unfaded(0),
        customdata=np.tile(np.arange(n_columns), n_rows)[:, None].tolist(),
        hovertext=[
            f"{heads[row]}<br>{readings[column]}<br>Activation {number(values[row, column], '.3g', _UNCOUNTED)}"
            for row in range(n_rows)
            for column in range(n_columns)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )


def _readings(columns: Sequence[str], words: Sequence[str]) -> list[str]:
    """The text of each column as hovers quote it, with the whole word where it is a part of one."""
    quoted = [[f"“{plotly_text(shorten(text, 60))}”" for text in texts] for texts in (columns, words)]
    return [text if text == word else f"{text} in {word}" for text, word in zip(*quoted, strict=True)]


def _column_names(columns: Sequence[str]) -> list[str]:
    """The text under each column, made unique by trailing zero-width characters.

    Plotly skips names that don't fit only on a category axis, and categories have to be distinct.
    """
    return [
        plotly_text(shorten(text, _COLUMN_WIDTH) or "␣")
        + "".join(_ZERO_WIDTH[(column // 3**digit) % 3] for digit in range(5))  # base 3: up to 243 columns
        for column, text in enumerate(columns)
    ]


def _label_axes(
    figure: go.Figure, ranked: pd.DataFrame, names: Sequence[str], rows: np.ndarray, selected: Feature | None
) -> None:
    labels = []
    for row in rows_of(ranked):
        name = f"{feature_of(row)} {axis_label(row['label'], reliable=row['reliable'], width=_LABEL_WIDTH)}"
        labels.append(f"<b>{name}</b>" if feature_of(row) == selected else name)
    figure.update_yaxes(
        tickvals=rows,
        ticktext=labels,
        tickfont={"size": 11},
        range=[rows[-1] + 0.5, -0.5],
        automargin=True,
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    figure.update_xaxes(
        type="category",
        categoryorder="array",
        categoryarray=list(names),
        tickangle=-60,
        tickfont={"size": 10},
        range=[-0.5, len(names) - 0.5],
        automargin=True,
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
