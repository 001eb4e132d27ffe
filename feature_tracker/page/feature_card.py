"""What is known of the chosen feature: its label in detail, how far to trust it, and sentences in which it fires."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import streamlit as st

from feature_tracker.archive.passages import strongest_excerpts
from feature_tracker.charts.theme import shorten
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labelling.examples import examples_path, load_examples, parse_marks, read_sentences
from feature_tracker.labels.table import LabelTable
from feature_tracker.page import state
from feature_tracker.page.archives import archive_of
from feature_tracker.page.errors import plain
from feature_tracker.tracing.themes import Theme
from feature_tracker.tracker import Tracker

_STRONG_TENTHS, _WEAK_TENTHS = 5, 2
"""Words at or above these tenths of a feature's maximum are marked strongly or weakly; others are left as they are."""


def show_card(feature: Feature, tracker: Tracker, theme: Theme | None) -> None:
    """Draw the chosen feature's detail, scores and example sentences, and the other features of its theme."""
    row = tracker.labels.describe(pd.MultiIndex.from_tuples([tuple(feature)])).iloc[0]
    said = tracker.labels.frame.reindex(columns=["detail", "top_words"], fill_value="")
    detail, top_words = ("", "")
    if tuple(feature) in said.index:
        detail, top_words = (str(said.at[tuple(feature), name]) for name in ("detail", "top_words"))
    with st.container(border=True):
        if detail:
            st.markdown(plain(detail))
        st.caption(" · ".join(filter(None, [_trust(row), row["kind"], _beside(str(row["label"]), top_words)])))
        st.button(
            "What feeds it?",
            key="card_what_feeds",
            type="tertiary",
            icon=":material/account_tree:",
            on_click=state.ask_what_feeds,
            help="Opens the view Circuit with this question.",
        )
        _show_examples(feature, tracker)
        _show_own_documents(feature, tracker)
        if theme is not None and len(theme.features) > 1:
            _show_members(theme, tracker)


def _show_members(theme: Theme, tracker: Tracker) -> None:
    with st.expander(f"{len(theme.features) - 1} more features of this theme"):
        for member in theme.features[1:]:
            show_feature_button(member, tracker.labels, key="member")


def show_feature_button(feature: Feature, labels: LabelTable, *, key: str, measure: str = "") -> None:
    """Draw a line that chooses a feature.

    Args:
        key: first part of its Streamlit key; the feature is the other.
        measure: what comes before the feature's name.
    """
    name = plain(shorten(str(labels.name(feature)), 100))
    st.button(
        " · ".join(filter(None, [measure, str(feature), name])),
        key=f"{key}_{feature}",
        type="tertiary",
        on_click=state.choose_feature,
        args=tuple(feature),
    )


def _trust(row: pd.Series) -> str:
    """How far a label can be trusted, in words."""
    if math.isnan(row["f1"]):
        return "your own label" if row["reliable"] else "label not scored"
    scores = f"label F1 {row['f1']:.2f}"
    if not math.isnan(row["f1_strong"]):
        scores += f" ({row['f1_strong']:.2f} on strong firings, {row['f1_uniform']:.2f} on all alike)"
    if not row["reliable"]:
        scores += ", no better than guessing"
    if row["judge"]:
        scores += f", judged by {plain(str(row['judge']))} on {plain(str(row['date']))}"
    return scores


def _beside(label: str, top_words: str) -> str:
    """The top words beside a label that was written."""
    return plain(top_words) if top_words and top_words != label else ""


def _show_examples(feature: Feature, tracker: Tracker) -> None:
    path = examples_path(tracker.bundle)
    if not path.exists():
        return
    try:
        sentences, examples = _load(str(path))
    except TrackerError as error:
        st.caption(plain(str(error)))
        return
    if tuple(feature) not in examples.index:
        return
    with st.expander("Example sentences, from strong to weak"):
        rows = examples.loc[[tuple(feature)]]
        columns = (rows[name].tolist() for name in ("sentence", "share", "marks"))
        for number, share, marks in zip(*columns, strict=True):
            marked = _marked(sentences[number], parse_marks(marks))
            st.markdown(f"{marked} :small[:gray[{share:.0%} of the maximum]]")


def _show_own_documents(feature: Feature, tracker: Tracker) -> None:
    """The sentences of the analyst's own documents in which the feature fires most, read once they are asked for."""
    archive = archive_of(tracker)
    if archive is None:
        return
    own = st.expander("In your documents, where it fires most", key="own_documents", on_change="rerun")
    if not own.open:
        return
    with own:
        excerpts = strongest_excerpts(archive, feature)
        if not excerpts:
            st.caption(
                "It fires in none of them."
                if (archive.folder / "excerpts.parquet").exists()
                else "They are chosen when the archive's run ends, and it has not ended yet."
            )
        for excerpt in excerpts:
            name = plain(shorten(str(archive.documents["name"].iat[excerpt.document]), 60))
            st.markdown(f"{_marked(excerpt.text, excerpt.marks)} :small[:gray[{name}]]")


@st.cache_resource(show_spinner=False)
def _load(path: str) -> tuple[list[str], pd.DataFrame]:
    sentences = read_sentences()
    return sentences, load_examples(Path(path), sentences)


def _marked(sentence: str, marks: list[tuple[int, int, int]]) -> str:
    """A sentence as Markdown, with the words marked on which the feature fires; neighbours share a mark."""
    runs: list[tuple[int, int, bool]] = []  # start, end, whether strong
    for start, end, tenths in marks:
        if tenths < _WEAK_TENTHS:
            continue
        strong = tenths >= _STRONG_TENTHS
        if runs and runs[-1][2] == strong and not sentence[runs[-1][1] : start].strip():
            runs[-1] = (runs[-1][0], end, strong)
        else:
            runs.append((start, end, strong))
    parts, last = [], 0
    for start, end, strong in runs:
        words = plain(sentence[start:end])
        parts += [plain(sentence[last:start]), f":orange-background[{f'**{words}**' if strong else words}]"]
        last = end
    return "".join([*parts, plain(sentence[last:])])
