"""View: the top features of each layer, as bars and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from feature_tracker.charts.bars import plot_layer
from feature_tracker.charts.measure import TITLES, rarity, rounded
from feature_tracker.charts.theme import shorten
from feature_tracker.labels.columns import SHOWN, Column, names
from feature_tracker.labels.csv_files import to_csv
from feature_tracker.page.clicks import show_feature_chart
from feature_tracker.page.state import Scene
from feature_tracker.page.tables import column_settings
from feature_tracker.tracing.rank import Aggregation, RankBy

_ACTIVATION = Column("activation", "number", "activation", "How strongly the feature fires in your text.", format=".3f")
_ON_THIS_TEXT = (
    _ACTIVATION,
    Column(
        "percentile", "number", "activation",
        "Percentile of the feature's largest activation here among its activations in a large body of text.",
        "Percentile", ".2f",
    ),
    Column(
        "one_in", "number", "activation",
        "Rarity of the largest activation here: it fires this strongly on 1 in N words of a large body of text.",
        "One in", ",.0f",
    ),
    Column("peak_word", "text", "activation", "The word on which the feature fires most strongly.", "Peak word"),
)  # fmt: skip
_RELIABLE = Column(
    "reliable", "choice", "score", "Whether the label's F1 beats guessing on the same sample.", "Reliable"
)
_INSERTED_BEFORE = {"f1": _ON_THIS_TEXT, "mark": (_RELIABLE,)}
_COLUMNS = [shown for column in SHOWN for shown in (*_INSERTED_BEFORE.get(column.name, ()), column)]
_CHART_WIDTH = 512  # fits twice side by side on a laptop's screen

_BARS: dict[RankBy, str] = {
    "activation": "Longer bars mark stronger activations. The word at a bar's end is where the feature peaks.",
    "percentile": "The rarest activations come first; a bar's length is the activation. “rates” · 1 in 12,000 means: "
    "the feature peaks on “rates”, and fires this strongly on 1 word in 12,000 of a large body of text.",
}


def show(scene: Scene) -> None:
    """Draw the view."""
    settings, selected = scene.settings, scene.feature
    st.caption(
        f"{_BARS[settings.by]} A faded bar with a question mark has an unreliable label: its F1 does not beat "
        "guessing, or it has no F1. Click a bar to choose its feature."
    )
    # Charts of a fixed width stand side by side where there is room, else one below the other.
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
    columns = page_columns(settings.aggregation)
    st.dataframe(
        table_of(scene.ranked, columns),
        hide_index=True,
        key="top_table",
        placeholder="",
        column_config=column_settings(columns)
        | {_RELIABLE.title: st.column_config.CheckboxColumn(help=_RELIABLE.help)},
    )
    st.download_button(
        "Download as CSV",
        data=partial(to_csv, scene.ranked),
        file_name="top-features.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def page_columns(aggregation: Aggregation) -> list[Column]:
    """The table's columns in order; the title of the activation names the aggregation."""
    activation = replace(
        _ACTIVATION, title=TITLES[aggregation], format=".1%" if aggregation == "share" else _ACTIVATION.format
    )
    return [activation if column is _ACTIVATION else column for column in _COLUMNS]


def table_of(ranked: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """Rows of `rank_features` with the columns' titles; columns in which nothing is known are left out."""
    one_in = [rounded(value) for value in rarity(ranked["percentile"])]
    table = ranked.assign(one_in=one_in, peak_word=[shorten(word, 40) for word in ranked["peak_word"]])
    known = [column for column in columns if not table[column.name].replace("", np.nan).isna().all()]
    return table[names(known)].set_axis([column.title for column in known], axis=1)
