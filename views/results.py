"""What is shown of a traced text: its figures, the shared selection, and the open tab."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st

from charts.rows import Row, feature_of, rows_of
from charts.theme import layer_colours
from sae.feature import Feature
from tracing.rank import UNMEASURED, rank_features
from views import circuit, comparison, correlations, evolution, heatmap, network, state, top_features, words
from views.engine import Engine
from views.errors import shown_errors
from views.families import explain_label
from views.plain import plain
from views.state import Analysis, Scene, Settings

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
"""The views, in the order of their tabs."""


def show_results(analysis: Analysis, engine: Engine, settings: Settings) -> None:
    """Draw everything below the text box. Only the open tab computes anything."""
    if st.session_state[state.TEXT] != analysis.trace.tokens.text:
        st.info("The text in the box has changed. What follows belongs to the text analyzed before: press Analyze.")
    _show_figures(analysis, engine)
    if not settings.layers:
        st.warning("No layer is chosen. Choose at least one in the sidebar.")
        return
    scene = _scene(analysis, engine, settings)
    _show_chosen_words(scene)
    if scene.ranked.empty:
        st.warning("No feature passes the filters. Lower the minimum F1 or choose more layers in the sidebar.")
        return
    scene = _choose_feature(scene)
    with shown_errors("explaining the label"):
        explain_label(scene)
    for tab, (title, show) in zip(st.tabs(list(_TABS), key="view", on_change="rerun"), _TABS.items(), strict=True):
        if tab.open:
            with tab, shown_errors(f"drawing {title}"):
                show(scene)


def _scene(analysis: Analysis, engine: Engine, settings: Settings) -> Scene:
    if not engine.labels.has_quantiles:
        st.caption(UNMEASURED)
        settings = replace(settings, by="activation")
    chosen = state.chosen_words()
    words_chosen = None if chosen is None else np.asarray(chosen, dtype=np.int64)
    ranked = rank_features(
        analysis.trace,
        engine.labels,
        layers=settings.layers,
        top=settings.top,
        aggregation=settings.aggregation,
        by=settings.by,
        hide_always_on=settings.hide_always_on,
        min_f1=settings.min_f1,
        positions=words_chosen,
    )
    return Scene(analysis, engine, settings, ranked, layer_colours(engine.bundle.layers), None, words_chosen)


def _show_figures(analysis: Analysis, engine: Engine) -> None:
    trace = analysis.trace
    n_windows = len(trace.tokens.window_starts)
    with st.container(horizontal=True, gap="medium"):
        st.metric("Tokens", f"{trace.n_tokens:,}", help="Words and parts of words, as the model reads them.")
        st.metric(
            "Windows",
            f"{n_windows:,}",
            help=f"The model reads {engine.bundle.window - 1:,} tokens at a time. Longer text is read in several "
            "windows; nothing is left out.",
        )
        st.metric("Layers", f"{len(trace.layers)}", help="Depths of the model at which its features are read.")
        st.metric("Seconds", f"{analysis.seconds:.2f}", help="Time the model took to read the text.")


def _show_chosen_words(scene: Scene) -> None:
    if scene.words is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        excerpt = words.excerpt(scene.analysis.trace.token_texts, scene.words, width=80)
        n = len(scene.words)
        st.markdown(f"**Ranked by {n:,} chosen token{'s' if n > 1 else ''}:** {plain(excerpt)}", width="stretch")
        st.button(
            "Use the whole text", icon=":material/close:", on_click=state.choose_words, args=(None,), key="clear_words"
        )


def _choose_feature(scene: Scene) -> Scene:
    """Draw the selector of the one feature that all views share."""
    labels = {tuple(feature_of(row)): _option(row) for row in rows_of(scene.ranked)}
    chosen = state.chosen_feature()
    if chosen is not None and chosen not in labels:
        if chosen[0] in scene.settings.layers:  # stays chosen though it isn't among the top here
            feature = Feature(*chosen)
            label, reliable = scene.engine.labels.name(feature), scene.engine.labels.is_reliable(feature)
            shown = {"layer": chosen[0], "feature": chosen[1], "label": label, "reliable": reliable}
            labels = {chosen: _option(shown)} | labels
        else:
            chosen = None
    if chosen is None:
        chosen = next(iter(labels))
    options = list(labels)
    st.session_state["feature_box"] = chosen

    def take() -> None:
        taken = st.session_state["feature_box"]
        if taken in labels:  # a browser that is a run behind sends an old option, which Streamlit passes on as its text
            state.choose_feature(*taken)

    st.selectbox(
        "Chosen feature",
        options,
        key="feature_box",
        format_func=lambda option: labels.get(option, str(option)),
        on_change=take,
        help="All views point at this feature. A click on a bar or a node chooses it too. A question mark after a "
        "label means that it is unreliable.",
    )
    return Scene(
        scene.analysis, scene.engine, scene.settings, scene.ranked, scene.colours, Feature(*chosen), scene.words
    )


def _option(row: Row) -> str:
    return f"{feature_of(row)} · {row['label']}{'' if row['reliable'] else ' ?'}"
