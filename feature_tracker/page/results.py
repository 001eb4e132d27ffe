"""The page below the text box: what stands out, the marked text beside the chosen feature, and the open view."""

from __future__ import annotations

from dataclasses import replace
from weakref import ref

import numpy as np
import pandas as pd
import streamlit as st

from feature_tracker.charts.theme import layer_colours
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.page import state
from feature_tracker.page.circuit import question as circuit_question
from feature_tracker.page.components.download import offer_download
from feature_tracker.page.errors import plain, shown_errors
from feature_tracker.page.feature_card import show_card
from feature_tracker.page.pool import evicted_error
from feature_tracker.page.report import report
from feature_tracker.page.sidebar import read_form_setting, read_view_settings
from feature_tracker.page.state import Analysis, Scene, Settings
from feature_tracker.page.views import (
    circuit,
    compare,
    examples,
    features,
    find,
    heatmap,
    inside,
    layers,
    links,
    steer,
    themes,
    words,
)
from feature_tracker.reading import language_note
from feature_tracker.tracing.rank import possible_ranking
from feature_tracker.tracing.rows import features_of, marked_labels
from feature_tracker.tracing.themes import Theme
from feature_tracker.tracker import Tracker

_TABS = {
    "Features": features.show,
    "Inside": inside.show,
    "Layers": layers.show,
    "Heatmap": heatmap.show,
    "Links": links.show,
    "Circuit": circuit.show,
    "Compare": compare.show,
    "Steer": steer.show,
    "Find": find.show,
}

TITLES = tuple(_TABS)
"""Titles of the views, in the order of their tabs."""

KEPT = (
    heatmap.MODE,
    *circuit_question.KEPT,
    inside.TRIAL,
    compare.OTHER,
    compare.ORDER,
    find.QUERY,
    find.BY,
    *examples.KEPT,
    *steer.KEYS,
)
"""Keys of widgets whose values stay while they are not on the page."""


def show_results(analysis: Analysis, tracker: Tracker, settings: Settings) -> None:
    """Draw everything below the text box. Only the open tab's view is computed."""
    state.keep_widget_values(*KEPT)
    trace = analysis.trace
    if st.session_state[state.TEXT] != trace.tokens.text:
        st.info(
            "The text in the box has changed. The results below are for the text analyzed before; press Analyze to "
            "update them."
        )
    note = language_note(trace.tokens.text)
    if note:
        st.caption(plain(note))
    if not settings.layers:
        st.warning("No layer is chosen. Choose at least one in the sidebar.")
        return
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader("What stands out", anchor=False, width="content", help=_help(analysis, tracker))
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            settings = read_form_setting(settings)
            report_place = st.container(width="content")
    by, note = possible_ranking(settings.by, tracker.labels)
    settings = replace(settings, by=by)
    if note:
        st.caption(note)
    places = [st.container() for _ in range(3)]
    settings = read_view_settings(settings)
    chosen = state.chosen_positions()
    positions = None if chosen is None else np.asarray(chosen, dtype=np.int64)
    ranked = settings.rank(tracker, trace, positions)
    if ranked.empty:
        st.warning(
            "No feature passes the filters. Lower the minimum F1, show numbers, punctuation and grammar, or choose "
            "more layers in the sidebar."
        )
        return
    found = themes.themes_of(trace, tracker, settings)
    with places[2]:
        text_column, card_column = st.columns([3, 2], gap="medium")
    with card_column:
        feature, theme = _choose_feature(ranked, found, tracker, settings)
        show_card(feature, tracker, theme)
    scene = Scene(
        analysis, tracker, settings, ranked, layer_colours(tracker.bundle.layers), feature, found, theme, positions
    )
    with report_place:
        _offer_report(scene)
    with places[0], shown_errors("drawing what stands out"):
        themes.show(scene)
    if positions is not None:
        with places[1]:
            _show_chosen_positions(analysis, positions)
    with text_column, shown_errors("drawing the text"):
        words.show(scene)
    for tab, (title, show) in zip(
        st.tabs(list(_TABS), key=state.VIEW, on_change="rerun", bind="query-params"), _TABS.items(), strict=True
    ):
        if tab.open:
            with tab, shown_errors(f"drawing {title}"):
                show(scene)


def _offer_report(scene: Scene) -> None:
    # Streamlit keeps what a button refers to, which must keep neither a model nor an earlier text in memory.
    weak_tracker, weak_analysis = ref(scene.tracker), ref(scene.analysis)
    settings, feature, of_theme = scene.settings, scene.feature, scene.theme is not None

    def made() -> bytes:
        tracker, analysis = weak_tracker(), weak_analysis()
        if tracker is None:
            raise evicted_error()
        if analysis is None:
            raise TrackerError("This analysis is no longer on the page. Analyze the text again for its report.")
        return report(analysis, tracker, settings, feature, of_theme=of_theme)

    offer_download(
        "Report",
        made,
        file_name="what-stands-out.html",
        mime="text/html",
        key="report",
        help="Themes, marked text, features, settings, versions and hashes in one HTML file. It holds your text.",
    )


def _help(analysis: Analysis, tracker: Tracker) -> str:
    trace = analysis.trace
    n_windows = len(trace.tokens.window_starts)
    read = f"{trace.n_tokens:,} tokens (words and parts of words), read in {analysis.seconds:.1f} s"
    if n_windows > 1:
        read += (
            f" in {n_windows:,} windows of {tracker.bundle.window - 1:,}. Every token is read; the first token of each "
            "later window is left out of rankings and correlations, because the model reads it without what precedes it"
        )
    return (
        "Features of all layers that fire on the same words are one theme, named by the feature whose label tells it "
        "best. “1 in 1,400 passages” means: of 1,400 ordinary passages of this length, one makes the feature fire or "
        f"peak as much. {read}. {plain(' '.join(tracker.sae_notes))}"
    )


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


def _choose_feature(
    ranked: pd.DataFrame, found: list[Theme], tracker: Tracker, settings: Settings
) -> tuple[Feature, Theme | None]:
    """Draw the selector of the feature that all views share, and return the chosen one, and the theme if it is one."""
    labels = {
        tuple(feature): _option(feature, label)
        for feature, label in zip(features_of(ranked), marked_labels(ranked), strict=True)
    }
    chosen, as_theme = state.chosen_feature(), state.is_theme()
    if chosen is not None and not _exists(chosen, tracker):
        st.warning(f"This page was opened for L{chosen[0]}/F{chosen[1]}, which this bundle doesn't have.")
        chosen = None
    if chosen is None and found and state.chosen_positions() is None:
        chosen, as_theme = tuple(found[0].features[0]), True
    if chosen is not None and chosen not in labels:  # stays chosen, though not among the top features now
        feature = Feature(*chosen)
        mark = "" if tracker.labels.is_reliable(feature) else " ?"
        labels = {chosen: _option(feature, tracker.labels.name(feature) + mark)} | labels
    if chosen is None or chosen[0] not in settings.layers:
        chosen = next(key for key in labels if key[0] in settings.layers)
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
        help="All views highlight this feature. You can also choose one by clicking a theme, a bar, a row or a node. A "
        "question mark after a label means that the label is unreliable.",
    )
    theme = next((theme for theme in found if tuple(theme.features[0]) == chosen), None) if as_theme else None
    return Feature(*chosen), theme


def _exists(feature: tuple[int, int], tracker: Tracker) -> bool:
    layer, index = feature
    return layer in tracker.saes and index < tracker.saes[layer].n_latents


def _option(feature: Feature, label: str) -> str:
    return f"{feature} · {label}"
