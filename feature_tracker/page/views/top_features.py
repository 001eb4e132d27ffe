"""Tab: the strongest features of each layer, as bars and as a table."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from feature_tracker.charts.bars import plot_layer
from feature_tracker.charts.measure import TITLES, rarity, rounded
from feature_tracker.charts.theme import shorten
from feature_tracker.labels.spreadsheet import to_csv
from feature_tracker.page.clicks import show_feature_chart
from feature_tracker.page.state import RankBy, Scene

_COLUMNS = {
    "layer": "Layer",
    "feature": "Feature",
    "label": "Label",
    "activation": "Activation",
    "percentile": "Percentile",
    "one_in": "One in",
    "peak_word": "Peak word",
    "f1": "F1",
    "f1_always_yes": "F1 of guessing",
    "precision": "Precision",
    "recall": "Recall",
    "balanced_accuracy": "Balanced accuracy",
    "n_positive": "Firing examples",
    "n_negative": "Silent examples",
    "n_unanswered": "Unanswered",
    "reliable": "Reliable",
    "mark": "Why not",
    "specialization_index": "Specialization",
    "specialization": "Specialization, raw",
    "density": "Density",
}

HELP = {
    "Percentile": "Where the feature's largest activation here lies among its own activations in a large body of text.",
    "One in": "The feature is as strong as its strongest activation here on one word in so many.",
    "F1": "How well the label predicts, on text it was not made from, where the feature fires.",
    "F1 of guessing": "F1 of always guessing that it fires, on the sample that the label was scored on.",
    "Precision": "Of the words the label points at, the share on which the feature fires.",
    "Recall": "Of the words on which the feature fires, the share the label points at.",
    "Balanced accuracy": "Mean of the shares of firing and silent words judged right. Guessing scores 0.5.",
    "Firing examples": "Words on which the feature fires, in the sample that the label was scored on.",
    "Silent examples": "Words on which it doesn't, in the same sample.",
    "Unanswered": "Questions that the judge gave no answer to; they enter no score.",
    "Reliable": "The label's F1 beats guessing on the same sample.",
    "Why not": "What speaks against a label that is not reliable.",
    "Specialization": "From −1, fires on general text only, to +1, fires on finance text only.",
    "Specialization, raw": "Mean activation a token on finance text minus the same on general text.",
    "Density": "Share of the tokens of a large body of text on which the feature fires.",
    "Peak word": "Where in your text it fires most strongly.",
}
_CHART_WIDTH = 512  # two beside each other on a laptop's screen
_FORMATS = {
    "Percentile": "%.2f",
    "One in": "localized",
    "F1": "%.2f",
    "F1 of guessing": "%.2f",
    "Precision": "%.2f",
    "Recall": "%.2f",
    "Balanced accuracy": "%.2f",
    "Firing examples": "localized",
    "Silent examples": "localized",
    "Unanswered": "localized",
    "Specialization": "%+.2f",
    "Specialization, raw": "%+.4f",
    "Density": "percent",
}


_ORDER: dict[RankBy, str] = {
    "activation": "Longer bars fire more strongly; the word at a bar's end is where the feature fires most.",
    "percentile": "Ordered by how unusual the strongest activation is for the feature: “rates” · 1 in 12,000 means on "
    "the word rates, and so strongly on one word in 12,000 of a large body of text.",
}


def show(scene: Scene) -> None:
    """Draw the tab."""
    settings, selected = scene.settings, scene.feature
    st.caption(
        f"{_ORDER[settings.by]} Faded bars with a question mark have an unreliable label: its F1 does not beat "
        "guessing, or it has none. Click a bar to choose its feature."
    )
    # Charts of a fixed width stand side by side where there is room and below each other where there is none.
    with st.container(horizontal=True, gap="medium"):
        for layer in settings.layers:
            with st.container(width=_CHART_WIDTH, gap=None):
                show_feature_chart(
                    plot_layer(
                        scene.ranked[scene.ranked["layer"] == layer],
                        layer=layer,
                        colour=scene.colours[layer],
                        by=settings.by,
                        aggregation=settings.aggregation,
                        selected=selected.index if selected.layer == layer else None,
                    ),
                    key=f"bars_{layer}",
                    name=f"top-features-layer-{layer}",
                    alt=f"Bars of the strongest features of layer {layer}",
                )
    activation = TITLES[settings.aggregation]
    formats = {activation: "percent" if settings.aggregation == "share" else "%.3f"} | _FORMATS
    st.dataframe(
        table_of(scene.ranked, activation),
        hide_index=True,
        key="top_table",
        placeholder="",
        column_config={
            name: st.column_config.NumberColumn(help=HELP.get(name), format=form) for name, form in formats.items()
        }
        | {
            "Label": st.column_config.TextColumn(width="large"),
            "Peak word": st.column_config.TextColumn(help=HELP["Peak word"]),
            "Reliable": st.column_config.CheckboxColumn(help=HELP["Reliable"]),
            "Why not": st.column_config.TextColumn(help=HELP["Why not"]),
        },
    )
    st.download_button(
        "Download as CSV",
        data=partial(to_csv, scene.ranked),
        file_name="top-features.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def table_of(ranked: pd.DataFrame, activation: str) -> pd.DataFrame:
    """Rows of `rank_features` under the names that are shown.

    Args:
        activation: name of the column of activations.
    """
    rare = [rounded(value) for value in rarity(ranked["percentile"])]
    shown = ranked.assign(one_in=rare, peak_word=[shorten(word, 40) for word in ranked["peak_word"]])
    return shown[list(_COLUMNS)].rename(columns=_COLUMNS | {"activation": activation})
