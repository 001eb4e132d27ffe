"""Many documents: themes against documents, themes over dates, what sets groups apart, what stands out in one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from feature_tracker.charts.theme import (
    FONT,
    NEGATIVE,
    POSITIVE,
    UNRELIABLE_ALPHA,
    empty_figure,
    finish,
    plotly_text,
    shorten,
    stacked_label,
    unfaded,
    with_alpha,
    wrapped,
)
from feature_tracker.feature import Feature
from feature_tracker.tracing.rows import Row, feature_of, features_of, rows_of

MOST_COLUMNS = 160
"""Columns of a map; more documents share columns."""
HIGHEST = 6.0
"""Standard deviations of full colour, or of a bar's full height: beyond, nobody needs to tell cells apart."""
_LABEL_WIDTH = 30  # characters a line, two lines
_ROW_HEIGHT = 40
_LINES = (POSITIVE, "#B98700", "#16A085", "#C46FB0", NEGATIVE)


def plot_map(
    values: np.ndarray, themes: list[str], names: list[str], when: list[str], *, ticks: Mapping[int, str], against: str
) -> go.Figure:
    """Themes against documents: the darker, the further a theme lies above `against` in a document.

    More than `MOST_COLUMNS` documents share columns with their neighbors; a cell then shows their mean. An invisible
    marker lies over each cell, because Plotly reports clicks on markers only; its `customdata` is [document], the one
    of the cell in which the theme stands out most, as a row of `values`.

    Args:
        values: (n_documents, n_themes) standard deviations, the documents in the order in which they are drawn.
        themes: names.
        names: of the documents.
        when: what is said of each document beside its name, such as its date; may be empty.
        ticks: what stands below some documents, by row of `values`.
    """
    if not len(names) or not len(themes):
        return empty_figure("Nothing stands out in these documents.")
    pieces = np.array_split(np.arange(len(names)), min(len(names), MOST_COLUMNS))
    means = np.stack([values[piece].mean(axis=0) for piece in pieces])
    strongest = np.stack([piece[values[piece].argmax(axis=0)] for piece in pieces])
    heads = [_span(piece, names, when) for piece in pieces]
    columns, rows = np.meshgrid(np.arange(len(pieces)), np.arange(len(themes)))
    figure = go.Figure(
        go.Heatmap(
            z=means.T,
            zmin=0,
            zmax=HIGHEST,
            colorscale=[[0, with_alpha(POSITIVE, 0.04)], [1, with_alpha(POSITIVE, 1)]],
            showscale=False,
            hoverinfo="skip",
            xgap=1 if len(pieces) <= 80 else 0,
            ygap=2,
        )
    )
    figure.add_scatter(
        x=columns.ravel(),
        y=rows.ravel(),
        mode="markers",
        marker={"symbol": "square", "size": 10, "opacity": 0, "color": "#000000"},
        **unfaded(0),
        customdata=strongest.T.reshape(-1, 1).tolist(),
        hovertext=[
            f"<b>{wrapped(theme)}</b><br>{head}<br>{means[column, row]:+.1f} standard deviations from {against}"
            for row, theme in enumerate(themes)
            for column, head in enumerate(heads)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    figure.update_yaxes(
        tickvals=list(range(len(themes))),
        ticktext=[stacked_label(theme, reliable=True, width=_LABEL_WIDTH) for theme in themes],
        range=[len(themes) - 0.5, -0.5],
        automargin=True,
        fixedrange=True,
        showgrid=False,
        zeroline=False,
    )
    column_of = {int(row): column for column, piece in enumerate(pieces) for row in piece}
    figure.update_xaxes(
        tickvals=[column_of[row] for row in ticks],
        ticktext=[plotly_text(shorten(tick, 24)) for tick in ticks.values()],
        range=[-0.5, len(pieces) - 0.5],
        ticklabelposition="outside",
        fixedrange=True,
        showgrid=False,
        zeroline=False,
    )
    return finish(figure, height=_ROW_HEIGHT * len(themes) + 48, margin={"l": 8, "r": 48, "t": 8, "b": 8})


def _span(piece: np.ndarray, names: list[str], when: list[str]) -> str:
    """What a column is of, for hovers."""
    first, last = piece[0], piece[-1]
    if len(piece) == 1:
        return " · ".join(filter(None, [plotly_text(shorten(names[first], 60)), plotly_text(when[first])]))
    between = f", {plotly_text(when[first])} to {plotly_text(when[last])}" if when[first] and when[last] else ""
    return f"{len(piece):,} documents{between}"


def plot_over_time(series: Mapping[str, pd.DataFrame], *, against: str) -> go.Figure:
    """Themes over dates: a line each, with its 95 % intervals over documents.

    Args:
        series: by theme, rows `period, n_documents, mean, low, high`; see `archive.trends.by_period`.
    """
    if not series or all(rows.empty for rows in series.values()):
        return empty_figure("No document has a date.")
    periods = sorted({period for rows in series.values() for period in rows["period"]})
    figure = go.Figure()
    for number, (name, rows) in enumerate(series.items()):
        colour = _LINES[number % len(_LINES)]
        figure.add_scatter(
            x=rows["period"],
            y=rows["mean"],
            mode="lines+markers",
            name=plotly_text(shorten(name, 60)),
            line={"color": colour, "width": 2},
            marker={"color": colour, "size": 6},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": rows["high"] - rows["mean"],
                "arrayminus": rows["mean"] - rows["low"],
                "thickness": 1,
                "width": 3,
            },
            hovertext=[_period_hover(name, row) for row in rows_of(rows)],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    figure.update_xaxes(
        type="category", categoryorder="array", categoryarray=periods, nticks=12, automargin=True, fixedrange=True
    )
    figure.update_yaxes(
        title={"text": f"Standard deviations<br>above {against}"}, automargin=True, fixedrange=True, zeroline=True
    )
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    return finish(figure, height=360, showlegend=len(series) > 1, legend=legend)


def _period_hover(name: str, row: Row) -> str:
    low, high = row["low"], row["high"]
    interval = "too few for an interval" if np.isnan(low) else f"95 % interval {low:+.2f} to {high:+.2f}"
    return (
        f"<b>{wrapped(name)}</b><br>{row['period']}, {row['n_documents']:,} documents<br>{row['mean']:+.2f}; {interval}"
    )


def plot_apart(rows: pd.DataFrame, *, first: str, second: str, selected: Feature | None) -> go.Figure:
    """What sets two groups of documents apart: bars to the right where the first has more of a feature.

    A bar's length is how often, of one document of each group, that of its side stands higher; it begins at one half.

    Args:
        rows: of `archive.groups.GroupComparison.features`, with `label` and `reliable`.
        first: name of the first group.
        second: of the second.
        selected: feature to outline.
    """
    if rows.empty:
        return empty_figure("Nothing sets them apart for sure.")
    rows = rows.sort_values("auc", ascending=False, kind="stable")
    auc = rows["auc"].to_numpy(dtype=float)
    features = features_of(rows)
    colours = [POSITIVE if value > 0.5 else NEGATIVE for value in auc]
    figure = go.Figure(
        go.Bar(
            x=auc - 0.5,
            base=0.5,
            y=list(range(len(rows))),
            orientation="h",
            marker={
                "color": [
                    with_alpha(colour, 1.0 if ok else UNRELIABLE_ALPHA)
                    for colour, ok in zip(colours, rows["reliable"], strict=True)
                ],
                "line": {"color": colours, "width": [3 if feature == selected else 0 for feature in features]},
                "cornerradius": 3,
            },
            customdata=[list(feature) for feature in features],
            hovertext=[_apart_hover(row, first, second) for row in rows_of(rows)],
            hovertemplate="%{hovertext}<extra></extra>",
            **unfaded(1),
        )
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[
            stacked_label(str(label), reliable=bool(ok), width=42)
            for label, ok in zip(rows["label"], rows["reliable"], strict=True)
        ],
        range=[len(rows) - 0.5, -0.5],
        automargin=True,
        showgrid=False,
        fixedrange=True,
    )
    reach = max(0.1, float(np.abs(auc - 0.5).max())) * 1.05
    figure.update_xaxes(
        tickformat=".0%", range=[max(0.0, 0.5 - reach), min(1.0, 0.5 + reach)], nticks=7, fixedrange=True
    )
    figure.add_vline(x=0.5, line={"width": 1, "color": with_alpha("#8A8F98", 1)})
    for x, anchor, name in ((0, "left", f"← more in {second}"), (1, "right", f"more in {first} →")):
        figure.add_annotation(
            text=plotly_text(shorten(name, 40)), x=x, xanchor=anchor, xref="paper", y=1, yanchor="bottom", yref="paper",
            showarrow=False, font={"family": FONT, "size": 12},
        )  # fmt: skip
    return finish(figure, height=34 * len(rows) + 72, bargap=0.25, margin={"l": 8, "r": 16, "t": 28, "b": 8})


def _apart_hover(row: Row, first: str, second: str) -> str:
    lines = [
        f"<b>{wrapped(str(row['label']))}</b>",
        str(feature_of(row)),
        f"Higher in a document of {plotly_text(shorten(first, 40))}: {row['auc']:.0%} of pairs",
        f"q {row['q']:.2g} (false discoveries among features as sure)",
        f"Mean activation {row['first_mean']:.3g} and {row['second_mean']:.3g}, index {row['index']:+.2f}",
    ]
    return "<br>".join(lines)


def plot_standing(rows: pd.DataFrame, *, against: str, selected: Feature | None) -> go.Figure:
    """What stands out in one document, as bars; a click on one chooses its feature.

    Args:
        rows: `layer, feature, label, reliable, score`, the highest first.
        against: what the document is compared with.
        selected: feature to outline.
    """
    if rows.empty:
        return empty_figure("Nothing stands out in this document.")
    features = features_of(rows)
    figure = go.Figure(
        go.Bar(
            x=rows["score"],
            y=list(range(len(rows))),
            orientation="h",
            marker={
                "color": [with_alpha(POSITIVE, 1.0 if ok else UNRELIABLE_ALPHA) for ok in rows["reliable"]],
                "line": {"color": POSITIVE, "width": [3 if feature == selected else 0 for feature in features]},
                "cornerradius": 3,
            },
            customdata=[list(feature) for feature in features],
            hovertext=[
                f"<b>{wrapped(str(label))}</b><br>{feature}<br>{score:+.1f} standard deviations above {against}"
                for label, feature, score in zip(rows["label"], features, rows["score"], strict=True)
            ],
            hovertemplate="%{hovertext}<extra></extra>",
            **unfaded(1),
        )
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[
            stacked_label(str(label), reliable=bool(ok), width=42)
            for label, ok in zip(rows["label"], rows["reliable"], strict=True)
        ],
        range=[len(rows) - 0.5, -0.5],
        automargin=True,
        showgrid=False,
        fixedrange=True,
    )
    figure.update_xaxes(title={"text": f"Standard deviations<br>above {against}"}, nticks=5, fixedrange=True)
    return finish(figure, height=34 * len(rows) + 56, bargap=0.25)
