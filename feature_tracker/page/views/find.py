"""View: find features by words, by meaning or from examples, whether or not they fire in this text."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from feature_tracker.charts.scatter import plot_features
from feature_tracker.errors import TrackerError
from feature_tracker.labels.columns import BY_NAME, KEYS
from feature_tracker.labels.search import search_meaning, search_words
from feature_tracker.page import state
from feature_tracker.page.clicks import show_feature_chart
from feature_tracker.page.errors import plain
from feature_tracker.page.state import Scene
from feature_tracker.page.tables import column_settings, show_table
from feature_tracker.page.views import examples
from feature_tracker.tracing.rows import features_of

QUERY, BY = "find_query", "find_by"
_BY_WORDS, _BY_MEANING, _BY_EXAMPLES = "Words", "Meaning", "Examples"
_MOST_BY_MEANING = 50
_COLUMNS = ("layer", "feature", "label", "kind", "f1", "f1_strong", "specialization_index", "density")


def show(scene: Scene) -> None:
    """Draw the view."""
    by = st.segmented_control(
        "Find features by",
        [_BY_WORDS, _BY_MEANING, _BY_EXAMPLES],
        default=_BY_WORDS,
        required=True,
        key=BY,
        help="Words: labels, details and top words that hold all of them. Meaning: labels and details that say "
        "something near it. Examples: what tells sentences with something from sentences without it.",
    )
    if by == _BY_EXAMPLES:
        examples.show(scene)
        return
    query = st.text_input("Find a feature", key=QUERY, placeholder="loans, supply chain, central bank raises rates …")
    frame = scene.tracker.labels.frame
    frame = frame[frame.index.get_level_values("layer").isin(scene.settings.layers)]
    frame = frame[_passes(scene, frame)]
    try:
        found = _search(frame, query.strip(), by == _BY_MEANING)
    except TrackerError as error:
        st.info(plain(str(error)))
        return
    if found.empty:
        st.info("No feature's label, detail or top words hold all of these. Use fewer words, or search by meaning.")
        return
    described = scene.tracker.labels.describe(found).reset_index()
    features = features_of(described)
    here = [scene.analysis.trace.column(feature)[scene.analysis.trace.counted].max(initial=0.0) for feature in features]
    columns = [BY_NAME[name] for name in _COLUMNS if not described[name].replace("", np.nan).isna().all()]
    table = described[[column.name for column in columns]].set_axis([column.title for column in columns], axis=1)

    def choose_row() -> None:
        rows = st.session_state["find_table"].selection.rows
        if rows and rows[0] < len(features):
            state.choose_feature(*features[rows[0]])

    show_table(
        table.assign(**{"Peak in this text": here}),
        key="find_table",
        on_select=choose_row,
        selection_mode="single-row",
        height=400 if len(table) > 10 else "auto",
        column_config=column_settings(columns)
        | {
            "Peak in this text": st.column_config.NumberColumn(
                format="%.1f", help="The feature's largest activation in the analyzed text; 0 where it is silent."
            )
        },
    )
    show_feature_chart(
        plot_features(described, colours=scene.colours, selected=scene.feature),
        key="find_scatter",
        name="features",
        alt="F1 of the labels found against how financial their features are",
    )
    st.caption(
        "Click a row or a dot to choose its feature. To the right are features that fire on finance text alone, to the "
        "left those of general text."
    )


def _passes(scene: Scene, frame: pd.DataFrame) -> pd.Series:
    kinds = sorted({str(kind) for kind in frame["kind"] if kind}) if "kind" in frame else []
    with st.container(horizontal=True, gap="large"):
        chosen = st.multiselect("Kinds", kinds, key="find_kinds", placeholder="all") if kinds else []
        low, high = st.slider("Specialization", -1.0, 1.0, (-1.0, 1.0), 0.1, key="find_specialization")
    passes = pd.Series(True, index=frame.index)
    if scene.settings.min_f1 > 0:
        passes &= frame["f1"] >= scene.settings.min_f1
    if chosen:
        passes &= frame["kind"].isin(chosen)
    if (low, high) != (-1.0, 1.0):
        passes &= frame["specialization_index"].between(low, high)
    return passes


def _search(frame: pd.DataFrame, query: str, by_meaning: bool) -> pd.MultiIndex:
    """The features found, best first; all if there is no query."""
    scores = search_meaning(frame, query).head(_MOST_BY_MEANING) if by_meaning and query else search_words(frame, query)
    return pd.MultiIndex.from_tuples(scores.index.tolist(), names=KEYS)
