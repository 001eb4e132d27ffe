"""Tab: pairs of features of different layers that rise and fall together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from charts.rows import features_of
from circuits.correlation import correlate
from views.state import Scene
from views.top_features import to_csv


def links(scene: Scene) -> pd.DataFrame:
    """Rows of `correlate` between the features shown, with |r| at the threshold or above, strongest first."""
    pairs = correlate(scene.analysis.trace, features_of(scene.ranked))
    kept = pairs[pairs["r"].abs() >= scene.settings.threshold]
    return kept.sort_values("r", key=np.abs, ascending=False, ignore_index=True)


def show(scene: Scene) -> None:
    """Draw the tab."""
    found = links(scene)
    if found.empty:
        st.info(
            "No pair of the features shown correlates this much over the words of this text. Lower the correlation "
            "threshold or show more features; in a very short text no pair has enough words to be measured."
        )
        return
    table = describe(found, scene.ranked)
    st.caption(
        f"{len(table):,} pair{'s' if len(table) > 1 else ''} of features in different layers, over the words of the "
        "whole text. A correlation is not a cause: both may follow the same words."
    )
    st.dataframe(
        table,
        hide_index=True,
        key="correlation_table",
        height=560 if len(table) > 14 else "auto",
        column_config={
            "r": st.column_config.NumberColumn(
                format="%+.2f", help="Pearson's correlation over the tokens: +1 together, −1 opposite."
            ),
            "Tokens": st.column_config.NumberColumn(help="Tokens on which at least one of the two fires."),
            "Label": st.column_config.TextColumn(width=330),
            "Deeper label": st.column_config.TextColumn(width=330),
        },
    )
    st.download_button(
        "Download as CSV",
        data=lambda: to_csv(table),
        file_name="correlations.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def describe(found: pd.DataFrame, ranked: pd.DataFrame) -> pd.DataFrame:
    """Pairs with both labels in each row, `?` after the unreliable ones."""
    marked = ranked["label"].astype(str).where(ranked["reliable"], ranked["label"].astype(str) + " ?")
    names = dict(zip(features_of(ranked), marked, strict=True))
    sources = features_of(found.rename(columns={"source_layer": "layer", "source_feature": "feature"}))
    targets = features_of(found.rename(columns={"target_layer": "layer", "target_feature": "feature"}))
    return pd.DataFrame(
        {
            "r": found["r"].to_numpy(),
            "From": [str(feature) for feature in sources],
            "Label": [names[feature] for feature in sources],
            "To": [str(feature) for feature in targets],
            "Deeper label": [names[feature] for feature in targets],
            "Tokens": found["n_either"].to_numpy(),
        }
    )
