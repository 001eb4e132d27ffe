"""Tab: the strongest features of all layers side by side."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from feature_tracker.charts.comparison import plot_comparison
from feature_tracker.page.clicks import show_feature_chart
from feature_tracker.page.state import RankBy, Scene
from feature_tracker.tracing.rows import marked_labels

_MEASURED: dict[RankBy, str] = {
    "activation": "Layers differ in the scale of their activations; rank by percentile to compare them fairly.",
    "percentile": "The higher a bar, the rarer so strong an activation is for the feature.",
}


def show(scene: Scene) -> None:
    """Draw the tab."""
    show_feature_chart(
        plot_comparison(
            scene.ranked,
            colours=scene.colours,
            by=scene.settings.by,
            aggregation=scene.settings.aggregation,
            selected=scene.feature,
        ),
        key="comparison",
        name="layer-comparison",
        alt="Bars of the strongest features in groups by rank, one bar a layer",
    )
    st.caption(
        "Each group holds one feature a layer, the first of each layer in the first group. They are different "
        "features. Faded bars have an unreliable label. " + _MEASURED[scene.settings.by]
    )
    table = side_by_side(scene.ranked)
    st.dataframe(
        table,
        hide_index=True,
        key="comparison_table",
        column_config={name: st.column_config.TextColumn(width="medium") for name in table.columns[1:]},
    )


def side_by_side(ranked: pd.DataFrame) -> pd.DataFrame:
    """One row a rank, one column a layer: the labels, `?` after the unreliable ones."""
    rank = ranked.groupby("layer").cumcount() + 1
    table = pd.DataFrame({"Rank": rank, "layer": ranked["layer"], "label": marked_labels(ranked)})
    wide = table.pivot(index="Rank", columns="layer", values="label").fillna("")
    wide.columns = [f"Layer {layer}" for layer in wide.columns]
    return wide.reset_index()
