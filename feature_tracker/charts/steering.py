"""How probable next words are, by strength of steering."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from feature_tracker.charts.theme import finish, layer_colours, plotly_text, shorten, with_alpha

_HEIGHT = 260  # pixels


def plot_sweep(sweep: pd.DataFrame) -> go.Figure:
    """A line for each word over the strengths, named at its end.

    Args:
        sweep: what `steering.sweep.sweep` returns.
    """
    figure = go.Figure()
    words = list(dict.fromkeys(sweep["word"]))
    # Lines often end near each other, and their names stand apart where every second one is below its line.
    ends = sweep.groupby("word", sort=False)["probability"].last().rank(method="first")
    for word, colour in zip(words, layer_colours(range(len(words))).values(), strict=True):
        rows = sweep[sweep["word"] == word]
        name = plotly_text(shorten(word, 20))
        figure.add_scatter(
            x=rows["strength"].to_numpy(),
            y=rows["probability"].to_numpy(),
            mode="lines+markers+text",
            line={"color": with_alpha(colour, 0.6), "width": 2},
            marker={"color": colour, "size": 7},
            text=[*[""] * (len(rows) - 1), name],
            textposition="bottom right" if ends[word] % 2 else "top right",
            hovertext=[f"{name}: {value:.2%}" for value in rows["probability"]],
            hovertemplate="%{hovertext} at strength %{x}<extra></extra>",
            cliponaxis=False,
        )
    figure.update_xaxes(title="Strength", tickvals=sorted(set(sweep["strength"])), fixedrange=True, automargin=True)
    figure.update_yaxes(title="Probability", tickformat=".0%", rangemode="tozero", fixedrange=True, automargin=True)
    return finish(figure, height=_HEIGHT, margin={"l": 8, "r": 120, "t": 8, "b": 8})
