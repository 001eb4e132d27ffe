"""Part of the view that finds features: from sentences with something in them and sentences without it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from feature_tracker.compare.examples import SIGNIFICANT, Found
from feature_tracker.labels.csv_files import to_csv
from feature_tracker.page import state
from feature_tracker.page.components.download import offer_download
from feature_tracker.page.errors import shown_errors
from feature_tracker.page.pool import progress_bar
from feature_tracker.page.state import Scene
from feature_tracker.page.tables import show_table
from feature_tracker.tracing.rows import features_of

WITH, WITHOUT = "examples_with", "examples_without"
KEPT = (WITH, WITHOUT)
"""Keys whose values stay while other views are open."""
_MOST_ROWS = 50


@dataclass(frozen=True)
class SessionFound:
    """What was found in a session, with the examples that it was found from."""

    examples: tuple[str, str]
    found: Found


def show(scene: Scene) -> None:
    """Draw the boxes for examples, and what was found from them."""
    left, right = st.columns(2, gap="medium")
    with left:
        with_it = st.text_area("Sentences with it, one a line", key=WITH, height=160)
    with right:
        without_it = st.text_area("Sentences without it, otherwise alike, one a line", key=WITHOUT, height=160)
    if st.button("Find what tells them apart", type="primary", icon=":material/troubleshoot:", key="examples_run"):
        with shown_errors("finding features from examples"), progress_bar() as report:
            found = scene.tracker.find(with_it.splitlines(), without_it.splitlines(), progress=report)
            st.session_state[state.FOUND] = SessionFound((with_it, without_it), found)
    stored: SessionFound | None = st.session_state.get(state.FOUND)
    if stored is None:
        st.caption(
            "Ten of either side are enough for a subject that words show, such as wages or lawsuits. A stance, such as "
            "for or against higher rates, takes several hundred."
        )
        return
    if stored.examples != (with_it, without_it):
        st.info("The examples have changed. The results below are for those before; press the button to update them.")
    _show_found(stored.found)


def _show_found(found: Found) -> None:
    n = len(found.significant)
    sides = f"{found.n_with} examples with it and {found.n_without} without"
    if n:
        st.markdown(f"**{n:,} feature{'' if n == 1 else 's'}** tell{'s' if n == 1 else ''} {sides} apart.")
    else:
        st.markdown(
            f"**Nothing found for sure**: among so many features, one would tell {sides} apart as well by chance. "
            "These come closest; more examples would tell."
        )
    rows = found.significant if n else found.features.head(10)
    rows = rows.head(_MOST_ROWS)
    features = features_of(rows)

    def choose_row() -> None:
        chosen = st.session_state["examples_table"].selection.rows
        if chosen and chosen[0] < len(features):
            state.choose_feature(*features[chosen[0]])

    show_table(
        _table(rows),
        key="examples_table",
        on_select=choose_row,
        selection_mode="single-row",
        column_config={
            "Label": st.column_config.TextColumn(width="large"),
            "AUC": st.column_config.NumberColumn(
                format="%.2f",
                help="How often an example with it makes the feature fire more strongly than one without; below 0.5 "
                "where it fires more without.",
            ),
            "p": st.column_config.NumberColumn(
                format="%.3f",
                help="Share of shuffles of the sides in which any feature separates them as well. "
                f"{SIGNIFICANT} or less counts.",
            ),
            "F1": st.column_config.NumberColumn(format="%.2f", help="Of the label."),
        },
    )
    offer_download(
        "Download as CSV",
        lambda: to_csv(found.features),
        file_name="features-from-examples.csv",
        mime="text/csv",
        key="examples_download",
    )


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    interval = [f"{low:.2f} to {high:.2f}" for low, high in zip(rows["low"], rows["high"], strict=True)]
    return pd.DataFrame(
        {
            "Feature": [str(feature) for feature in features_of(rows)],
            "Label": rows["label"].tolist(),
            "AUC": rows["auc"].to_numpy(),
            "95 % interval": interval,
            "p": rows["p"].to_numpy(),
            "Fires on": rows["words"].tolist(),
            "F1": rows["f1"].to_numpy(),
        }
    )
