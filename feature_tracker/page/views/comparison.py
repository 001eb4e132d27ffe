"""View: the top features of all layers side by side."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from feature_tracker.charts.comparison import plot_comparison
from feature_tracker.page.clicks import show_feature_chart
from feature_tracker.page.state import Scene
from feature_tracker.tracing.rank import RankBy
from feature_tracker.tracing.rows import marked_labels

_BARS: dict[RankBy, str] = {
    "activation": "Activations differ in scale between layers; rank by percentile to compare layers fairly.",
    "percentile": "Higher bars mark rarer activations: fewer words of a large body of text make the feature fire this "
    "strongly.",
}


def show(scene: Scene) -> None:
    """Draw the view."""
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
        alt="Bars of the top features in groups by rank, one bar per layer",
    )
    st.caption(
        "Each group holds the features of one rank, one per layer; these are different features. Faded bars have an "
        f"unreliable label. {_BARS[scene.settings.by]}"
    )
    st.dataframe(
        side_by_side(scene.ranked),
        hide_index=True,
        key="comparison_table",
        column_config={
            _layer_title(layer): st.column_config.TextColumn(width="medium") for layer in scene.settings.layers
        },
    )


def side_by_side(ranked: pd.DataFrame) -> pd.DataFrame:
    """Labels by rank: one row per rank, one column per layer, and `?` after unreliable labels."""
    rank = ranked.groupby("layer").cumcount() + 1
    table = pd.DataFrame({"Rank": rank, "layer": ranked["layer"], "label": marked_labels(ranked)})
    wide = table.pivot(index="Rank", columns="layer", values="label").fillna("")
    return wide.rename(columns=_layer_title).rename_axis(columns=None).reset_index()


def _layer_title(layer: int) -> str:
    return f"Layer {layer}"
