"""Charts on the page, with their PNG download, and the clicks that choose a feature or words in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go
import streamlit as st
from streamlit.elements.lib.streamlit_plotly_theme import GRAY_90

from feature_tracker.charts.theme import download_config
from feature_tracker.page import state


def show_chart(figure: go.Figure, *, key: str, name: str, alt: str) -> None:
    """Show a chart that cannot be clicked.

    Args:
        key: its Streamlit key.
        name: of the downloaded PNG, without suffix.
        alt: description for screen readers.
    """
    st.plotly_chart(_readable(figure), key=key, config=download_config(name), alt=alt)


def show_feature_chart(figure: go.Figure, *, key: str, name: str, alt: str) -> None:
    """Show a chart in which a click on a bar or node chooses its feature; its `customdata` is [layer, index]."""

    def take(points: list[dict[str, Any]]) -> None:
        clicked = points[-1].get("customdata") if points else None
        if clicked is not None:  # a second click on a bar deselects it for Plotly; the feature stays chosen
            layer, index = clicked
            state.choose_feature(int(layer), int(index))

    _show_clickable(figure, key=key, name=name, alt=alt, take=take, mode="points")


def show_node_chart(figure: go.Figure, *, key: str, name: str, alt: str, choose: Callable[[int], None]) -> None:
    """Show a chart in which a click chooses a node; its `customdata` is [number]."""

    def take(points: list[dict[str, Any]]) -> None:
        clicked = points[-1].get("customdata") if points else None
        if clicked is not None:
            choose(int(clicked[0]))

    _show_clickable(figure, key=key, name=name, alt=alt, take=take, mode="points")


def show_word_chart(figure: go.Figure, *, key: str, name: str, alt: str, choose: Callable[[list[int]], None]) -> None:
    """Show a chart in which clicks on cells choose their columns, a second click none; `customdata` is [column]."""

    def take(points: list[dict[str, Any]]) -> None:
        columns = sorted({int(point["customdata"][0]) for point in points if point.get("customdata") is not None})
        choose(columns)

    _show_clickable(figure, key=key, name=name, alt=alt, take=take, mode=("points", "box"))


def _show_clickable(
    figure: go.Figure, *, key: str, name: str, alt: str, take: Callable[[list[dict[str, Any]]], None], mode: Any
) -> None:
    def changed() -> None:
        take(st.session_state[key]["selection"]["points"])

    st.plotly_chart(
        _readable(figure), key=key, on_select=changed, selection_mode=mode, config=download_config(name), alt=alt
    )


def _readable(figure: go.Figure) -> go.Figure:
    """Set text in the stronger of Streamlit's greys, which follow the theme: the weaker has only 3.7:1 on white."""
    axis: dict[str, Any] = {"tickfont": {"color": GRAY_90}, "title": {"font": {"color": GRAY_90}}}
    figure.update_layout(font={"color": GRAY_90}, hoverlabel={"font": {"color": GRAY_90}})
    for kind in ("scatter", "bar"):  # else a click on one fades the text at all others
        figure.update_traces(unselected={"textfont": {"color": GRAY_90}}, selector={"type": kind})
    return figure.update_xaxes(**axis).update_yaxes(**axis)
