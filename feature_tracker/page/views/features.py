"""View: the top features of each layer, as bars and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from feature_tracker.charts.bars import plot_layer
from feature_tracker.charts.measure import TITLES, chance_text, rounded
from feature_tracker.charts.theme import shorten
from feature_tracker.labels.columns import SHOWN, Column, names
from feature_tracker.labels.csv_files import to_csv
from feature_tracker.page import state
from feature_tracker.page.clicks import show_feature_chart
from feature_tracker.page.components.download import offer_download
from feature_tracker.page.state import Scene
from feature_tracker.page.tables import column_settings, show_table
from feature_tracker.tracing.rank import Aggregation, RankBy
from feature_tracker.tracing.rows import features_of

_ACTIVATION = Column("activation", "number", "activation", "How strongly the feature fires in your text.", format=".3f")
_ON_THIS_TEXT = (
    Column(
        "distinctiveness", "number", "activation",
        "How far your text makes the feature fire beyond ordinary text, in standard deviations of passages of its "
        "length.",
        "Distinctiveness", "+.1f",
    ),
    Column(
        "rarity", "number", "activation",
        "Of so many ordinary passages of this length, one makes the feature peak as high.",
        "Peak: one passage in", ",.0f",
    ),
    _ACTIVATION,
    Column("peak_word", "text", "activation", "The word on which the feature fires most strongly.", "Peak word"),
    Column("peak_excerpt", "text", "activation", "That word among its neighbours.", "Where it peaks"),
)  # fmt: skip
_RELIABLE = Column(
    "reliable", "choice", "score", "Whether the label's F1 beats guessing on the same sample.", "Reliable"
)
_INSERTED_BEFORE = {"f1": _ON_THIS_TEXT, "mark": (_RELIABLE,)}
_COLUMNS = [shown for column in SHOWN for shown in (*_INSERTED_BEFORE.get(column.name, ()), column)]
_CHART_WIDTH = 640  # fits twice side by side on a laptop's screen

_BARS: dict[RankBy, str] = {
    "activation": "Longer bars mark stronger activations.",
    "distinctiveness": "A bar is as long as the text makes its feature fire beyond ordinary text, in standard "
    "deviations of ordinary passages of this length.",
    "rarity": "A bar is as long as its feature's peak is rare: “1 in 1,200” means that one ordinary passage of this "
    "length in 1,200 peaks as high.",
}


def show(scene: Scene) -> None:
    """Draw the view."""
    settings, selected = scene.settings, scene.feature
    st.caption(
        f"{_BARS[settings.by]} The word at its end is where the feature peaks. A faded bar with a question mark has an "
        "unreliable label: its F1 does not beat guessing, or it has no F1. Click a bar or a row to choose its feature."
    )
    # Charts of a fixed width stand side by side where there is room, else one below the other.
    with st.container(horizontal=True, gap="medium"):
        for layer in settings.layers:
            rows = scene.ranked[scene.ranked["layer"] == layer]
            with st.container(width=_CHART_WIDTH, gap=None):
                show_feature_chart(
                    plot_layer(
                        rows,
                        layer=layer,
                        colour=scene.colours[layer],
                        by=settings.by,
                        aggregation=settings.aggregation,
                        selected=selected.index if selected.layer == layer else None,
                    ),
                    key=f"bars_{layer}",
                    name=f"top-features-layer-{layer}",
                    alt=f"The features of layer {layer} that stand out most, as bars",
                )
                if settings.by == "distinctiveness" and rows["chance"].notna().any():
                    st.caption(
                        f"Ordinary text of this length would put {chance_text(float(rows['chance'].max()))} features "
                        f"of layer {layer} as high as the last of these {len(rows)}."
                    )
    columns = page_columns(settings.aggregation)
    features = features_of(scene.ranked)

    def choose_row() -> None:
        rows = st.session_state["top_table"].selection.rows
        if rows and rows[0] < len(features):
            state.choose_feature(*features[rows[0]])

    show_table(
        table_of(scene.ranked, columns),
        key="top_table",
        placeholder="",
        on_select=choose_row,
        selection_mode="single-row",
        column_config=column_settings(columns)
        | {_RELIABLE.title: st.column_config.CheckboxColumn(help=_RELIABLE.help)},
    )
    offer_download(
        "Download as CSV",
        partial(to_csv, scene.ranked),
        file_name="top-features.csv",
        mime="text/csv",
        key="features_csv",
    )


def page_columns(aggregation: Aggregation) -> list[Column]:
    """The table's columns in order; the title of the activation names the aggregation."""
    activation = replace(
        _ACTIVATION, title=TITLES[aggregation], format=".1%" if aggregation == "share" else _ACTIVATION.format
    )
    return [activation if column is _ACTIVATION else column for column in _COLUMNS]


def table_of(ranked: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """Rows of `rank_features` with the columns' titles; columns in which nothing is known are left out."""
    rarity = [rounded(value) for value in ranked["rarity"]]
    table = ranked.assign(rarity=rarity, peak_word=[shorten(word, 40) for word in ranked["peak_word"]])
    known = [column for column in columns if not table[column.name].replace("", np.nan).isna().all()]
    return table[names(known)].set_axis([column.title for column in known], axis=1)
