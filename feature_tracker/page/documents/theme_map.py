"""View: themes against documents."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from feature_tracker.charts.documents import MOST_COLUMNS, plot_map
from feature_tracker.page.clicks import show_word_chart
from feature_tracker.page.documents.cabinet import Cabinet, choose_document
from feature_tracker.page.documents.subject import Subject


def show(cabinet: Cabinet, topic: Subject | None) -> None:
    """Draw the map; with a topic, its row is the first and orders the documents."""
    documents = cabinet.documents
    names = [theme.name for theme in cabinet.themes]
    values = cabinet.values
    has_groups = documents["group"].notna().any()
    orders = ["Date", *(["Group"] if has_groups else []), *([] if topic is None else ["How much"])]
    by = st.segmented_control(
        "Documents ordered by", orders, default=orders[0], required=True, key=f"map_order_{len(orders)}"
    )
    if topic is not None:
        names, values = [topic.name, *names], np.column_stack([cabinet.measured(topic.features), values])
    dates = pd.to_datetime(documents["date"])
    when = ["" if pd.isna(day) else f"{day:%Y-%m-%d}" for day in dates]
    group = documents["group"].fillna("").astype(str)
    if by == "How much":
        order = np.argsort(-values[:, 0], kind="stable")
    else:
        keys = pd.DataFrame({"date": dates, **({"group": group} if by == "Group" else {})})
        order = keys.sort_values(["group", "date"] if by == "Group" else ["date"], kind="stable").index.to_numpy()
    said = [" ".join(filter(None, pair)) for pair in zip(group, when, strict=True)]

    def choose(rows: list[int]) -> None:
        choose_document(int(order[rows[-1]]) if rows else None)

    figure = plot_map(
        values[order], names, documents["name"].iloc[order].tolist(), [said[row] for row in order],
        ticks=_ticks(by, order, when, group),
        against=cabinet.against,
    )  # fmt: skip
    show_word_chart(
        figure, key=f"map_{by}_{abs(hash(topic))}", name="map", alt="Themes against documents", choose=choose
    )
    shared = (
        "; documents share columns, of which a click opens the one with most of it" if len(order) > MOST_COLUMNS else ""
    )
    st.caption(
        f"The darker, the further a theme lies above {cabinet.against}. Click a cell to open its document{shared}."
    )


def _ticks(by: str, order: np.ndarray, when: list[str], group: pd.Series) -> dict[int, str]:
    """What stands below the map: the first and last day, where each group begins, or most and least."""
    if by == "How much":
        return {0: "most", len(order) - 1: "least"}
    if by == "Group":
        ordered = group.iloc[order].tolist()
        return {row: name for row, name in enumerate(ordered) if row == 0 or name != ordered[row - 1]}
    dated = [row for row, document in enumerate(order) if when[document]]
    return {row: when[order[row]] for row in (dated[0], dated[-1])} if dated else {}
