"""Tab: the strongest features of each layer, as bars and as a table."""

from __future__ import annotations

import streamlit as st

from charts.bars import MEASURE_TITLES, plot_layer
from charts.theme import shorten
from labels.spreadsheet import to_csv
from views.clicks import show_feature_chart
from views.state import Scene

_COLUMNS = {
    "layer": "Layer",
    "feature": "Feature",
    "label": "Label",
    "activation": "Activation",
    "percentile": "Percentile",
    "peak_word": "Peak word",
    "f1": "F1",
    "f1_always_yes": "F1 of guessing",
    "precision": "Precision",
    "recall": "Recall",
    "balanced_accuracy": "Balanced accuracy",
    "reliable": "Reliable",
    "mark": "Why not",
    "specialization_index": "Specialization",
    "specialization": "Specialization, raw",
    "density": "Density",
}

HELP = {
    "Percentile": "Where the feature's largest activation here lies among its own activations in a large body of text.",
    "F1": "How well the label predicts, on text it was not made from, where the feature fires.",
    "F1 of guessing": "F1 of always guessing that it fires, on the sample that the label was scored on.",
    "Precision": "Of the words the label points at, the share on which the feature fires.",
    "Recall": "Of the words on which the feature fires, the share the label points at.",
    "Balanced accuracy": "Mean of the shares of firing and silent words judged right. Guessing scores 0.5.",
    "Reliable": "The label's F1 beats guessing on the same sample.",
    "Why not": "What speaks against a label that is not reliable.",
    "Specialization": "From −1, fires on general text only, to +1, fires on finance text only.",
    "Specialization, raw": "Mean activation a token on finance text minus the same on general text.",
    "Density": "Share of the tokens of a large body of text on which the feature fires.",
    "Peak word": "Where in your text it fires most strongly.",
}
_CHART_WIDTH = 512  # two beside each other on a laptop's screen
_FORMATS = {
    "Activation": "%.3f",
    "Percentile": "%.1f",
    "F1": "%.2f",
    "F1 of guessing": "%.2f",
    "Precision": "%.2f",
    "Recall": "%.2f",
    "Balanced accuracy": "%.2f",
    "Specialization": "%+.2f",
    "Specialization, raw": "%+.4f",
    "Density": "percent",
}


def show(scene: Scene) -> None:
    """Draw the tab."""
    st.caption(
        "Longer bars fire more strongly. Pale bars with a question mark have an unreliable label: its F1 does not beat "
        "guessing, or it has none. Click a bar to choose its feature."
    )
    selected = scene.feature
    # Charts of a fixed width stand side by side where there is room and below each other where there is none.
    with st.container(horizontal=True, gap="medium"):
        for layer in scene.settings.layers:
            rows = scene.ranked[scene.ranked["layer"] == layer]
            with st.container(width=_CHART_WIDTH, gap=None):
                st.markdown(f"**Layer {layer}** :small[:gray[{MEASURE_TITLES[scene.settings.by].lower()}]]")
                show_feature_chart(
                    plot_layer(
                        rows,
                        colour=scene.colours[layer],
                        measure=scene.settings.by,
                        selected=selected.index if selected.layer == layer else None,
                    ),
                    key=f"bars_{layer}",
                    name=f"top-features-layer-{layer}",
                    alt=f"Bars of the strongest features of layer {layer}",
                )
    table = scene.ranked[list(_COLUMNS)].rename(columns=_COLUMNS)
    table["Peak word"] = [shorten(word, 40) for word in table["Peak word"]]
    st.dataframe(
        table,
        hide_index=True,
        key="top_table",
        column_config={
            name: st.column_config.NumberColumn(help=HELP.get(name), format=form) for name, form in _FORMATS.items()
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
        data=lambda: to_csv(scene.ranked),
        file_name="top-features.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )
