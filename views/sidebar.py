"""The settings beside the page; moving one recomputes from the kept trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import streamlit as st

from views.state import Aggregation, RankBy, Settings

_AGGREGATIONS: dict[Aggregation, str] = {
    "max": "Strongest word",
    "mean": "Average over words",
    "sum": "Sum over words",
    "share": "Share of words it fires on",
}
_RANKINGS: dict[RankBy, str] = {"activation": "Activation", "percentile": "Percentile"}


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
            key="layers",
            help="Depth in the model, counted from 0. Early layers know words, late layers what comes next.",
        )
        by = st.segmented_control(
            "Rank by",
            get_args(RankBy),
            default="activation",
            required=True,
            format_func=_RANKINGS.__getitem__,
            help="Activation: how strongly a feature fires. Percentile: how unusual that is for this feature, compared "
            "with its own activations in a large body of text; it brings out what is special about your text.",
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
    return Settings(threshold, top, tuple(sorted(chosen or [])), aggregation or "max", by or "activation", hide, min_f1)
