"""The strongest features of one layer as horizontal bars."""

from __future__ import annotations

from html import unescape

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from feature_tracker.charts.measure import one_in, ranking_title, ranking_values, tick_format
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

_LABEL_WIDTH = 42  # characters per line, two lines; at 12 pixels they leave half of a 600-pixel chart to the bars
_EXCERPT_WIDTH = 48  # characters of the line under them
_BAR_HEIGHT = 48  # pixels, room for a label of two lines and an excerpt
_WORD_WIDTH = 12  # characters of a peak word
_CHARACTER_WIDTH = 6.6 / 260  # of a character in an end text, as a share of the plot's width in a 600-pixel chart
_MOST_END_TEXT = 0.82  # largest share of the plot's width that is reserved for the text at a bar's end


def plot_layer(
    ranked: pd.DataFrame,
    *,
    layer: int,
    colour: str,
    by: RankBy = "distinctiveness",
    aggregation: Aggregation = "max",
    selected: int | None = None,
) -> go.Figure:
    """Horizontal bars of one layer's features, the first row on top; a bar's length is what ranks them.

    Args:
        ranked: one layer's rows of `rank_features`.
        colour: colour of the layer.
        by: what the features are ranked by. Each bar ends with its peak word, and under `rarity` also with that.
        aggregation: how the activations were aggregated.
        selected: index of the feature to outline.
    """
    if ranked.empty:
        return empty_figure(f"No feature of layer {layer} passes the filters.")
    reliable = ranked["reliable"].to_numpy(dtype=bool)
    rows = list(range(len(ranked)))
    values = ranking_values(ranked, by)
    if by == "rarity":
        values = np.log10(values.clip(min=1.0))
    end_texts = _end_texts(ranked, by)
    text_shares = [min(_CHARACTER_WIDTH * len(unescape(text)), _MOST_END_TEXT) for text in end_texts]
    ends = [value / (1 - share) for value, share in zip(values, text_shares, strict=True)]  # of bar and text together
    figure = go.Figure(
        go.Bar(
            x=values,
            y=rows,
            orientation="h",
            marker={
                "color": [with_alpha(colour, 1.0 if ok else UNRELIABLE_ALPHA) for ok in reliable],
                "line": {"color": colour, "width": [3 if f == selected else 0 for f in ranked["feature"]]},
                "cornerradius": 3,
            },
            text=end_texts,
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
    tick_texts = [
        f"{f'<b>{name}</b>' if f == selected else name}<br><i>{plotly_text(shorten(excerpt, _EXCERPT_WIDTH))}</i>"
        for name, excerpt, f in zip(names, ranked["peak_excerpt"], ranked["feature"], strict=True)
    ]
    figure.update_yaxes(
        tickvals=rows, ticktext=tick_texts, range=[len(rows) - 0.5, -0.5], automargin=True, showgrid=False
    )
    figure.update_xaxes(
        title={"text": ranking_title(by, aggregation), "standoff": 8},
        tickformat=tick_format(by, aggregation),
        range=[0, max(ends) or 1],
        nticks=5,
        automargin=True,
        fixedrange=True,
    )
    if by == "rarity":
        powers = list(range(int(max(values)) + 1))
        figure.update_xaxes(tickvals=powers, ticktext=[f"{10**power:,}" for power in powers])
    return finish(
        figure,
        height=_BAR_HEIGHT * len(rows) + 84,
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


def _end_texts(ranked: pd.DataFrame, by: RankBy) -> list[str]:
    """The text at each bar's end: the peak word, and its rarity where that ranks the features."""
    words = [f"“{plotly_text(shorten(str(word), _WORD_WIDTH))}”" for word in ranked["peak_word"]]
    if by != "rarity":
        return words
    rarities = [
        one_in(rarity, at_least=bool(least))
        for rarity, least in zip(ranked["rarity"], ranked["is_rarest"], strict=True)
    ]
    return [f"{word} · {rarity}" if rarity else word for word, rarity in zip(words, rarities, strict=True)]
