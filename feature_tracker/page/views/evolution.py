"""Tab: the chosen feature's lineage across the layers."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from feature_tracker.charts.evolution import plot_lineage
from feature_tracker.features.lineage import lineage
from feature_tracker.labels.table import LabelTable
from feature_tracker.page.clicks import show_chart
from feature_tracker.page.state import Scene
from feature_tracker.tracing.rows import features_of


def show(scene: Scene) -> None:
    """Draw the tab."""
    line = with_labels(lineage(scene.analysis.trace, scene.tracker.saes, scene.feature), scene.tracker.labels)
    show_chart(
        plot_lineage(line, colours=scene.colours, chosen_layer=scene.feature.layer),
        key="evolution",
        name=f"evolution-L{scene.feature.layer}-F{scene.feature.index}",
        alt="Activation, specialization, cosine and correlation of one feature's lineage over the layers",
    )
    st.caption(
        "The star is the chosen feature. Towards both ends, each point is the next layer's feature most like it: the "
        "one whose direction in the model is nearest (cosine) and which moves most like it over these words (r)."
    )
    table = line[["layer", "feature", "label", "f1", "activation", "specialization_index", "cosine", "r"]]
    st.dataframe(
        table.set_axis(["Layer", "Feature", "Label", "F1", "Activation", "Specialization", "Cosine", "r"], axis=1),
        hide_index=True,
        key="evolution_table",
        placeholder="",
        column_config={
            "Label": st.column_config.TextColumn(width="large"),
            "F1": st.column_config.NumberColumn(format="%.2f"),
            "Activation": st.column_config.NumberColumn(format="%.3f"),
            "Specialization": st.column_config.NumberColumn(format="%+.2f"),
            "Cosine": st.column_config.NumberColumn(format="%.2f", help="Of the decoder directions: 1 is the same."),
            "r": st.column_config.NumberColumn(format="%+.2f", help="Correlation with its neighbour over this text."),
        },
    )


def with_labels(line: pd.DataFrame, labels: LabelTable) -> pd.DataFrame:
    """A lineage with each feature's `label, f1, reliable, specialization_index`."""
    features = features_of(line)
    rows = [labels.find(feature) for feature in features]
    unverified = labels.unverified
    return line.assign(
        label=[str(row["label"]) for row in rows],
        f1=[float(row["f1"]) for row in rows],
        reliable=[labels.is_reliable(feature) for feature in features],
        specialization_index=[
            float("nan") if unverified.get(tuple(feature), False) else float(row["specialization_index"])
            for feature, row in zip(features, rows, strict=True)
        ],
    )
