"""The strongest features of one layer as horizontal bars."""

from __future__ import annotations

from html import unescape

import pandas as pd
import plotly.graph_objects as go

from feature_tracker.charts.measure import TITLES, one_in, tick_format
from feature_tracker.charts.theme import (
    FONT,
    UNRELIABLE_ALPHA,
    empty_figure,
    feature_hover,
    finish,
    plotly_text,
    shorten,
    stacked_label,
    unfaded,
    with_alpha,
)
from feature_tracker.tracing.rank import Aggregation, RankBy
from feature_tracker.tracing.rows import features_of, rows_of

_LABEL_WIDTH = 32  # characters a line, two lines; at 12 pixels they leave half of a 480-pixel chart to the bars
_BAR_HEIGHT = 38
_WORD_WIDTH = 12  # characters of a peak word
_CHARACTER = 6.6 / 195  # width of one at a bar's end, of the plot in a chart of 420 pixels
_MOST_TEXT = 0.82  # of the plot that what stands at a bar's end may take from it


def plot_layer(
    ranked: pd.DataFrame,
    *,
    layer: int,
    colour: str,
    by: RankBy = "activation",
    aggregation: Aggregation = "max",
    selected: int | None = None,
) -> go.Figure:
    """Bars of one layer's features, as long as their activation, the first row on top.

    Args:
        ranked: one layer's rows of `rank_features`.
        colour: the layer's.
        by: what they are ranked by. Each bar ends with its peak word, under `percentile` also with how rare so strong
            an activation is.
        aggregation: what the activation is.
        selected: feature index to be outlined.
    """
    if ranked.empty:
        return empty_figure(f"No feature of layer {layer} passes the filters.")
    reliable = ranked["reliable"].to_numpy(dtype=bool)
    places = list(range(len(ranked)))
    values = ranked["activation"].to_numpy(dtype=float)
    ends = _ends(ranked, by)
    lengths = [len(unescape(end)) for end in ends]
    room = [value / (1 - min(_CHARACTER * n, _MOST_TEXT)) for value, n in zip(values, lengths, strict=True)]
    figure = go.Figure(
        go.Bar(
            x=values,
            y=places,
            orientation="h",
            marker={
                "color": [with_alpha(colour, 1.0 if ok else UNRELIABLE_ALPHA) for ok in reliable],
                "line": {"color": colour, "width": [3 if f == selected else 0 for f in ranked["feature"]]},
                "cornerradius": 3,
            },
            text=ends,
            textposition="outside",
            textfont={"size": 11},
            cliponaxis=False,
            customdata=[list(feature) for feature in features_of(ranked)],
            hovertext=[feature_hover(row, aggregation) for row in rows_of(ranked)],
            hovertemplate="%{hovertext}<extra></extra>",
            **unfaded(1),
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
    figure.update_xaxes(
        title={"text": TITLES[aggregation], "standoff": 8},
        tickformat=tick_format(aggregation),
        range=[0, max(room)],
        nticks=5,
        automargin=True,
        fixedrange=True,
    )
    return finish(
        figure,
        height=_BAR_HEIGHT * len(places) + 84,
        bargap=0.25,
        title={
            "text": f"Layer {layer}",
            "font": {"family": FONT, "size": 15},
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 6},
        },
        margin={"l": 8, "r": 24, "t": 32, "b": 8},
    )


def _ends(ranked: pd.DataFrame, by: RankBy) -> list[str]:
    """What stands at the bars' ends."""
    words = [f"“{plotly_text(shorten(str(word), _WORD_WIDTH))}”" for word in ranked["peak_word"]]
    if by == "activation":
        return words
    rare = [one_in(percentile) for percentile in ranked["percentile"]]
    return [f"{word} {'· ' * bool(how)}{how}" for word, how in zip(words, rare, strict=True)]
