"""The chosen document: what it is, what stands out in it, the chosen feature, and the way to its own analysis."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.passages import beginning
from feature_tracker.charts.documents import plot_standing
from feature_tracker.charts.theme import shorten
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import KEYS
from feature_tracker.page import state
from feature_tracker.page.archives import file_name, open_archive
from feature_tracker.page.clicks import show_feature_chart
from feature_tracker.page.documents.cabinet import Cabinet, chosen_document
from feature_tracker.page.documents.subject import Subject
from feature_tracker.page.errors import plain
from feature_tracker.page.feature_card import show_card
from feature_tracker.tracker import Tracker

_BEGINNING = 400  # characters
_ERROR = "document_error"


def show(cabinet: Cabinet, topic: Subject | None) -> None:
    """Draw the chosen document, and the chosen feature beside it."""
    document = chosen_document()
    feature = _feature(cabinet, topic)
    if document is None or document >= len(cabinet.documents):
        if feature is not None:
            st.markdown(f"**{plain(cabinet.name(feature))}** :small[:gray[{feature}]]")
            show_card(feature, cabinet.tracker, None)
        return
    show_head(cabinet.archive, cabinet.tracker, document)
    left, right = st.columns([3, 2], gap="medium")
    rows = _standing(cabinet, document)
    if feature is None and len(rows):
        feature = Feature(int(rows["layer"].iloc[0]), int(rows["feature"].iloc[0]))
    with left:
        show_feature_chart(
            plot_standing(rows, against=cabinet.against, selected=feature),
            key="document_bars",
            name="document",
            alt="What stands out in the chosen document",
        )
    with right:
        if feature is not None:
            st.markdown(f"**{plain(cabinet.name(feature))}** :small[:gray[{feature}]]")
            show_card(feature, cabinet.tracker, None)


def show_head(archive: Archive, tracker: Tracker, document: int) -> None:
    """Draw what a document is, its first words, and the button that analyzes it."""
    row = archive.documents.iloc[document]
    facts = [
        "" if pd.isna(row["date"]) else str(row["date"]),
        "" if pd.isna(row["group"]) else plain(str(row["group"])),
        f"{row['n_tokens']:,} tokens",
        plain(file_name(str(row["source"]))),
    ]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"##### {plain(shorten(str(row['name']), 90))}", width="stretch")
            _offer_analysis(archive, tracker, document, int(row["n_tokens"]))
        st.caption(" · ".join(filter(None, facts)) + (f"  \n{plain(str(row['notes']))}" if row["notes"] else ""))
        text = archive.texts([document])[document]
        st.markdown(f":small[{plain(shorten(' '.join(text[: 2 * _BEGINNING].split()), _BEGINNING))}]")
        if st.session_state.get(_ERROR):
            st.error(plain(st.session_state.pop(_ERROR)), icon=":material/error:")


def _offer_analysis(archive: Archive, tracker: Tracker, document: int, n_tokens: int) -> None:
    longest = tracker.bundle.max_tokens
    # Streamlit keeps what a button refers to: a folder, and not the archive's tables.
    st.button(
        "Analyze this document" if n_tokens <= longest else f"Analyze its first {longest:,} tokens",
        type="primary",
        icon=":material/search_insights:",
        key="analyze_document",
        on_click=_analyze,
        args=(archive.folder, document, longest),
        help=None if n_tokens <= longest else f"At most {longest:,} tokens are analyzed at once.",
    )


def _analyze(folder: Path, document: int, longest: int) -> None:
    try:
        archive = open_archive(folder)
        state.analyze_next(beginning(archive, document, longest))
    except TrackerError as error:
        st.session_state[_ERROR] = str(error)


def _feature(cabinet: Cabinet, topic: Subject | None) -> Feature | None:
    """The feature that was clicked, if the archive has it, else the topic's first."""
    chosen = state.chosen_feature()
    n_latents = cabinet.archive.manifest.n_latents
    if chosen is not None and chosen[1] < n_latents.get(chosen[0], 0):
        return Feature(*chosen)
    return topic.features[0] if topic else None


def _standing(cabinet: Cabinet, document: int) -> pd.DataFrame:
    """What stands out in a document, the highest first, with labels."""
    standing = cabinet.standing.of(document)
    features = [cabinet.archive.features[column] for column in standing.column]
    rows = pd.DataFrame(features, columns=KEYS).assign(score=standing.score)
    known = cabinet.tracker.labels.describe(pd.MultiIndex.from_frame(rows[KEYS])).reset_index(drop=True)
    return rows.join(known[["label", "reliable"]])
