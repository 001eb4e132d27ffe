"""Many documents: which are about something, what sets some apart, which is the odd one, what changed over time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from feature_tracker.archive.archive import Archive
from feature_tracker.bundles.bundle import Bundle
from feature_tracker.page.archives import choose_archive, file_name, show_how_to
from feature_tracker.page.documents import apart, card, find, over_time, subject, theme_map
from feature_tracker.page.documents.cabinet import choose_document, chosen_document, open_cabinet
from feature_tracker.page.errors import plain, shown_errors
from feature_tracker.page.pool import progress_bar, wait_for_tracker
from feature_tracker.page.sidebar import read_form_setting
from feature_tracker.page.state import Settings
from feature_tracker.page.tables import show_table
from feature_tracker.tracker import Tracker

TITLES = ("Find documents", "What sets them apart", "Odd ones out", "Over time", "Map")
"""Titles of the views, in the order of their tabs."""
_OPEN = "documents_open"
_CHOICE_WIDTH = 300  # pixels


def show_documents(bundle: Bundle, settings: Settings) -> None:
    """Draw the choice of an archive and the views of it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width=_CHOICE_WIDTH):
            archive = choose_archive()
        if archive is not None:
            st.markdown(summary(archive), width="stretch")
            settings = read_form_setting(settings)
    if archive is None:
        show_how_to()
        return
    with progress_bar() as report:
        tracker = wait_for_tracker(bundle, report, retry=True)
    if st.session_state.get(_OPEN) != str(archive.folder):  # a document's number means another one in another archive
        st.session_state[_OPEN] = str(archive.folder)
        choose_document(None)
    with shown_errors("drawing the documents"):
        _show_archive(archive, tracker, settings)
    _show_unread(archive)


def _show_archive(archive: Archive, tracker: Tracker, settings: Settings) -> None:
    if not archive.n_parts or archive.documents.empty:
        st.info("No document is in this archive yet. Its run may be under way: look again later.")
        return
    if archive.manifest.fingerprint != tracker.fingerprint:
        _show_without_features(archive, tracker)
        return
    if not settings.layers:
        st.warning("No layer is chosen. Choose at least one in the sidebar.")
        return
    with st.spinner("Looking through the documents …", show_time=False):
        cabinet = open_cabinet(archive, tracker, settings)
    if cabinet.against != "ordinary text":
        st.caption(
            "What stands out is told against the archive's other documents: this label table does not know how much "
            "each feature fires in ordinary text."
        )
    topic = subject.choose_subject(cabinet)
    shows = (find.show, apart.show, find.show_odd, over_time.show, theme_map.show)
    for tab, title, show in zip(
        st.tabs(list(TITLES), key="documents_view", on_change="rerun", bind="query-params"), TITLES, shows, strict=True
    ):
        if tab.open:
            with tab, shown_errors(f"drawing {title}"):
                show(cabinet, topic)
    with shown_errors("drawing the document"):
        card.show(cabinet, topic)


def summary(archive: Archive) -> str:
    """What is in an archive, as Markdown."""
    documents = archive.documents
    parts = [f"**{len(documents):,} document{'' if len(documents) == 1 else 's'}**"]
    dates = pd.to_datetime(documents["date"]).dropna()
    if len(dates):
        parts.append(f"{dates.min():%B %Y} to {dates.max():%B %Y}")
    groups = documents["group"].dropna().unique()
    if len(groups):
        parts.append(f"{len(groups):,} group{'' if len(groups) == 1 else 's'}")
    parts.append(f"{documents['n_tokens'].sum():,} tokens")
    if not (archive.folder / "statistics.parquet").exists():
        parts.append("its run has not ended yet; more may come")
    return " · ".join(parts)


def _show_unread(archive: Archive) -> None:
    if not archive.n_parts:
        return
    unread = archive.dataset("unread").to_table().to_pandas()
    unread["source"] = unread["source"].map(file_name)
    if unread.empty:
        return
    with st.expander(f"{len(unread):,} document{' was' if len(unread) == 1 else 's were'} not read"):
        show_table(unread.set_axis(["Document", "File", "Why"], axis=1), key="unread")


def _show_without_features(archive: Archive, tracker: Tracker) -> None:
    """The documents of an archive whose features the page has no labels for."""
    name = archive.manifest.bundle
    same = name == tracker.bundle.name
    st.warning(
        f"This archive was made with other SAEs of the bundle {plain(name)} than the page has open, so its features "
        "are other ones and have no labels here. Run the documents again to ask about them."
        if same
        else f"This archive was made with the bundle {plain(name)}, and the page has {plain(tracker.bundle.name)} "
        f"open. Labels belong to a bundle's own features: choose {plain(name)} in the sidebar to ask about these "
        "documents."
    )
    documents = archive.documents
    table = documents[["name", "date", "group", "n_tokens"]].set_axis(["Document", "Date", "Group", "Tokens"], axis=1)

    def choose_row() -> None:
        rows = st.session_state["plain_documents"].selection.rows
        choose_document(int(rows[0]) if rows else None)

    show_table(
        table.dropna(axis=1, how="all"),
        key="plain_documents",
        on_select=choose_row,
        selection_mode="single-row",
        column_config={"Tokens": st.column_config.NumberColumn(format="localized")},
        placeholder="",
    )
    chosen = chosen_document()
    if chosen is not None and chosen in np.arange(len(documents)):
        card.show_head(archive, tracker, chosen)
