"""The page below the text box: counts, the chosen feature and words, and the open tab."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from feature_tracker.charts.theme import layer_colours
from feature_tracker.feature import Feature
from feature_tracker.page import state
from feature_tracker.page.errors import plain, shown_errors
from feature_tracker.page.feature_card import show_card
from feature_tracker.page.state import Analysis, Scene, Settings
from feature_tracker.page.views import (
    circuit,
    comparison,
    correlations,
    evolution,
    heatmap,
    network,
    top_features,
    words,
)
from feature_tracker.tracing.rank import UNMEASURED
from feature_tracker.tracing.rows import features_of, marked_labels
from feature_tracker.tracker import Tracker

_TABS = {
    "Top features": top_features.show,
    "Layer comparison": comparison.show,
    "Heatmap": heatmap.show,
    "Words": words.show,
    "Correlations": correlations.show,
    "Network": network.show,
    "Circuit": circuit.show,
    "Evolution": evolution.show,
}

TITLES = tuple(_TABS)
"""Titles of the views, in the order of their tabs."""


def show_results(analysis: Analysis, tracker: Tracker, settings: Settings) -> None:
    """Draw everything below the text box. Only the open tab's view is computed."""
    state.keep_widget_values("view", heatmap.MODE, circuit.AMOUNT)
    if st.session_state[state.TEXT] != analysis.trace.tokens.text:
        st.info(
            "The text in the box has changed. The results below are for the text analyzed before; press Analyze to "
            "update them."
        )
    _show_counts(analysis, tracker)
    if not settings.layers:
        st.warning("No layer is chosen. Choose at least one in the sidebar.")
        return
    if not tracker.labels.has_quantiles:
        st.caption(UNMEASURED)
        settings = replace(settings, by="activation")
    chosen = state.chosen_positions()
    positions = None if chosen is None else np.asarray(chosen, dtype=np.int64)
    if positions is not None:
        _show_chosen_positions(analysis, positions)
    ranked = settings.rank(tracker, analysis.trace, positions)
    if ranked.empty:
        st.warning(
            "No feature passes the filters. Lower the minimum F1, show numbers, punctuation and grammar, or choose "
            "more layers in the sidebar."
        )
        return
    feature = _choose_feature(ranked, tracker, settings)
    show_card(feature, tracker)
    scene = Scene(analysis, tracker, settings, ranked, layer_colours(tracker.bundle.layers), feature, positions)
    for tab, (title, show) in zip(st.tabs(list(_TABS), key="view", on_change="rerun"), _TABS.items(), strict=True):
        if tab.open:
            with tab, shown_errors(f"drawing {title}"):
                show(scene)


def _show_counts(analysis: Analysis, tracker: Tracker) -> None:
    trace = analysis.trace
    n_windows = len(trace.tokens.window_starts)
    read = f"**{trace.n_tokens:,} tokens** (words and parts of words), read in {analysis.seconds:.1f} s"
    if n_windows > 1:
        read += (
            f" in {n_windows:,} windows of {tracker.bundle.window - 1:,}. Every token is read; the first token of each "
            "later window is left out of rankings and correlations, because the model reads it without what precedes it"
        )
    st.caption(f"{read}. Features come from {len(trace.layers)} layers of the model.")


def _show_chosen_positions(analysis: Analysis, positions: np.ndarray) -> None:
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        excerpt = words.excerpt(analysis.trace.tokens, positions, width=80)
        tokens = "1 chosen token" if len(positions) == 1 else f"{len(positions):,} chosen tokens"
        st.markdown(f"**Ranked by {tokens}:** {plain(excerpt)}", width="stretch")
        st.button(
            "Use the whole text",
            icon=":material/close:",
            on_click=state.choose_positions,
            args=(None,),
            key="clear_words",
        )


def _choose_feature(ranked: pd.DataFrame, tracker: Tracker, settings: Settings) -> Feature:
    """Draw the selector of the feature that all views share, and return the chosen one."""
    labels = {
        tuple(feature): _option(feature, label)
        for feature, label in zip(features_of(ranked), marked_labels(ranked), strict=True)
    }
    chosen = state.chosen_feature()
    if chosen is not None and chosen not in labels and chosen[0] in settings.layers:
        feature = Feature(*chosen)  # stays chosen, though not among the top features now
        mark = "" if tracker.labels.is_reliable(feature) else " ?"
        labels = {chosen: _option(feature, tracker.labels.name(feature) + mark)} | labels
    if chosen is None or chosen not in labels:
        chosen = next(iter(labels))
    st.session_state["feature_box"] = chosen

    def choose() -> None:
        option = st.session_state["feature_box"]
        if option in labels:  # a browser that is a run behind sends an old option, which Streamlit passes on as text
            state.choose_feature(*option)

    st.selectbox(
        "Chosen feature",
        list(labels),
        key="feature_box",
        format_func=lambda option: labels.get(option, str(option)),
        on_change=choose,
        help="All views highlight this feature. You can also choose one by clicking a bar or a node. A question mark "
        "after a label means that the label is unreliable.",
    )
    return Feature(*chosen)


def _option(feature: Feature, label: str) -> str:
    return f"{feature} · {label}"
