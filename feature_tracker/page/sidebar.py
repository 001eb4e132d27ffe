"""The settings beside the page; moving one recomputes from the kept trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

import streamlit as st

from feature_tracker.bundles.bundle import Bundle, load_bundle
from feature_tracker.bundles.choice import bundle_names, opening_bundle
from feature_tracker.bundles.missing import labels_note, missing_parts
from feature_tracker.bundles.settings import Environment
from feature_tracker.errors import TrackerError
from feature_tracker.page.plain import plain
from feature_tracker.page.state import LAYERS, Aggregation, RankBy, Settings, forget_analysis

_AGGREGATIONS: dict[Aggregation, str] = {
    "max": "Strongest word",
    "mean": "Average over words",
    "sum": "Sum over words",
    "share": "Share of words it fires on",
}
_RANKINGS: dict[RankBy, str] = {"activation": "Activation", "percentile": "Percentile"}


def choose_bundle() -> Bundle:
    """Draw the choice of bundles, say which one this is, and return it.

    Raises:
        TrackerError: it can't be read.
    """
    opening = opening_bundle()
    with st.sidebar:
        names = bundle_names()
        titles = bundle_titles(names)
        name = st.selectbox(
            "Model, SAEs and labels",
            names,
            index=names.index(opening.name),
            key="bundle",
            format_func=titles.__getitem__,
            on_change=forget_analysis,
            help="What belongs together is a bundle. Your own opens by itself once all its parts are there; "
            "docs/bundles.md says how to add one.",
        )
        if opening.lacking and name == opening.name:
            st.warning(
                f"The built-in model is shown because your bundle {plain(Environment().user_bundle)} is not complete. "
                f"{plain(opening.lacking)}"
            )
        bundle = load_bundle(name)
        note = labels_note(bundle)
        if note and not missing_parts(bundle):
            st.info(plain(note))
    return bundle


def bundle_titles(names: Sequence[str]) -> dict[str, str]:
    """What each bundle is called in the list: no two alike, for Streamlit tells options apart by their text."""
    titles = {}
    for name in names:
        try:
            titles[name] = load_bundle(name).title
        except TrackerError:  # said in full once it is chosen
            titles[name] = name
    counts = Counter(titles.values())
    return {name: title if counts[title] == 1 else f"{title} ({name})" for name, title in titles.items()}


def read_settings(layers: Sequence[int]) -> Settings:
    """Draw the sidebar and return what it is set to.

    Args:
        layers: those the bundle has SAEs for.
    """
    with st.sidebar:
        st.subheader("Features")
        top = st.slider("Number of top features", 5, 20, 10, help="How many features each layer shows.")
        chosen = st.pills(
            "Layers",
            list(layers),
            selection_mode="multi",
            default=list(layers),
            key=LAYERS,
            help="Depth in the model, counted from 0. Early layers know words, late layers what comes next.",
        )
        by = st.segmented_control(
            "Rank by",
            get_args(RankBy),
            default="percentile",
            required=True,
            format_func=_RANKINGS.__getitem__,
            help="Percentile: how rarely the feature fires as strongly as here in a large body of text; it brings out "
            "what is special about your text. Activation: how strongly it fires; the same few features lead in most "
            "texts.",
        )
        aggregation = st.selectbox(
            "A feature's activation is its",
            get_args(Aggregation),
            format_func=_AGGREGATIONS.__getitem__,
            help="How the activations on single words become one number for the text.",
        )
        st.subheader("Filters")
        min_f1 = st.slider(
            "Minimum F1 of labels",
            0.0,
            1.0,
            0.0,
            0.05,
            help="F1 says how well a label predicts, on text it was not made from, where its feature fires. Labels "
            "that don't beat guessing “always” (0.67 where half the sample fires) are marked with a question mark.",
        )
        hide = st.toggle(
            "Hide always-on features",
            value=True,
            help="Features that fire on more than 80 % of all words say little about a text.",
        )
        st.subheader("Links between layers")
        threshold = st.slider(
            "Correlation threshold",
            0.1,
            0.9,
            0.5,
            0.05,
            help="Correlations and Network show pairs of features whose activations over the words correlate at least "
            "this much, up or down.",
        )
    return Settings(threshold, top, tuple(sorted(chosen or [])), aggregation or "max", by or "percentile", hide, min_f1)
