"""Views: the documents as a table, by how much they are about something; and those that are unlike the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from feature_tracker.archive.standing_out import UNUSUAL, Standing
from feature_tracker.charts.documents import HIGHEST
from feature_tracker.charts.theme import shorten
from feature_tracker.page.documents.cabinet import Cabinet, choose_document
from feature_tracker.page.documents.subject import Subject
from feature_tracker.page.errors import plain
from feature_tracker.page.tables import show_table

_LABELS = 3  # that are told of a document
_MOST_ODD = 30
_NEARLY_ALL = 0.999


def show(cabinet: Cabinet, topic: Subject | None) -> None:
    """Draw the table of documents, those first that are most about the topic."""
    table = pd.DataFrame(_who(cabinet))
    settings: dict[str, Any] = {}
    if topic is None:
        dates = pd.to_datetime(cabinet.documents["date"])
        order = dates.sort_values(ascending=False, kind="stable", na_position="last").index.to_numpy()
        st.caption("Newest first. Choose a row to see what stands out in its document, and to analyze it.")
    else:
        about = cabinet.measured(topic.features)
        order = np.argsort(-about, kind="stable")
        n = int((about > UNUSUAL).sum())
        st.markdown(
            f"**{n:,} of {len(about):,} documents** stand out in **{plain(shorten(topic.name, 80))}**: by more than "
            f"{UNUSUAL:g} standard deviations above {cabinet.against}."
        )
        table["How much"] = np.round(about, 1)
        along = cabinet.along(topic.features)
        table["From start to end"] = np.round(along, 3).tolist()
        settings["How much"] = st.column_config.NumberColumn(
            format="%.1f",
            help=f"By how many standard deviations what was chosen lies above {cabinet.against}, all together.",
        )
        settings["From start to end"] = st.column_config.BarChartColumn(
            y_min=0,
            y_max=float(np.quantile(along, _NEARLY_ALL)) or 1.0,  # of all documents, so that rows can be compared
            help="Where in the document it is, from its first words at the left to its last at the right.",
        )
    table["What stands out"] = _told(cabinet, cabinet.standing, len(table))
    settings["What stands out"] = st.column_config.TextColumn(width="large")
    if cabinet.themes:
        table["Themes"] = np.round(np.clip(cabinet.values, 0, HIGHEST), 1).tolist()
        names = " · ".join(shorten(theme.name, 40) for theme in cabinet.themes)
        settings["Themes"] = st.column_config.BarChartColumn(
            y_min=0,
            y_max=HIGHEST,
            help=f"How much of each theme of these documents is in this one, from left to right: {plain(names)}",
        )
    _show(cabinet, table, order, settings, key=f"documents_{abs(hash(topic))}")


def show_odd(cabinet: Cabinet, _topic: Subject | None) -> None:
    """Draw the documents that are most unlike the archive's others."""
    with st.spinner("Comparing every document with the others …"):
        odd = cabinet.odd()
    order = np.argsort(-odd.score, kind="stable")[:_MOST_ODD]
    if not len(order) or odd.score[order[0]] <= 0:
        st.info("No document differs from the others.")
        return
    table = pd.DataFrame(_who(cabinet))
    table["How unlike"] = np.round(odd.score, 1)
    table["What it has more of than the others"] = _told(cabinet, odd.features, len(table))
    median = float(np.median(odd.score))
    st.caption(
        f"The {len(order)} documents that are most unlike the others. An ordinary document of this archive has "
        f"{median:.1f}. A short document counts as unlike only where its few words can't be chance."
    )
    settings = {
        "How unlike": st.column_config.ProgressColumn(
            format="%.1f",
            min_value=0.0,
            max_value=float(odd.score.max()),
            help="By how many standard deviations over all documents its five most unusual features stand higher, "
            "on average.",
        ),
        "What it has more of than the others": st.column_config.TextColumn(width="large"),
    }
    _show(cabinet, table, order, settings, key="odd_documents")


def _show(cabinet: Cabinet, table: pd.DataFrame, order: np.ndarray, settings: dict[str, Any], *, key: str) -> None:
    def choose_row() -> None:
        rows = st.session_state[key].selection.rows
        choose_document(int(order[rows[0]]) if rows and rows[0] < len(order) else None)

    show_table(
        table.iloc[order],
        key=key,
        on_select=choose_row,
        selection_mode="single-row",
        height=420 if len(order) > 11 else "auto",
        column_config={"Document": st.column_config.TextColumn(width="medium", pinned=True), **settings},
        placeholder="",
        alt="The documents",
    )


def _who(cabinet: Cabinet) -> dict[str, Any]:
    """Names, dates and groups, as far as there are any."""
    documents = cabinet.documents
    columns: dict[str, Any] = {"Document": documents["name"]}
    for name in ("date", "group"):
        if documents[name].notna().any():
            columns[name.capitalize()] = documents[name]
    return columns


def _told(cabinet: Cabinet, standing: Standing, n_documents: int) -> list[str]:
    """The labels of what stands out most in each document."""
    told: list[list[str]] = [[] for _ in range(n_documents)]
    labels = {int(column): cabinet.label(int(column)) for column in np.unique(standing.column)}
    for document, column in zip(standing.document.tolist(), standing.column.tolist(), strict=True):
        names = told[document]
        if len(names) < _LABELS and labels[column] not in names:
            names.append(labels[column])
    return [" · ".join(names) for names in told]
