"""Tab: the strongest features of all layers side by side."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from charts.comparison import plot_comparison
from tracing.rows import marked_labels
from views.clicks import show_feature_chart
from views.state import Scene


def show(scene: Scene) -> None:
    """Draw the tab."""
    show_feature_chart(
        plot_comparison(scene.ranked, colours=scene.colours, measure=scene.settings.by, selected=scene.feature),
        key="comparison",
        name="layer-comparison",
        alt="Bars of the strongest features in groups by rank, one bar a layer",
    )
    note = "Each group holds one feature a layer: the strongest of each layer first. They are different features."
    if scene.settings.by == "activation":
        note += " Late layers have larger activations throughout; rank by percentile to compare layers fairly."
    st.caption(note)
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
