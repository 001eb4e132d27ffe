"""What the analyst looks for in the documents: themes of the archive, or features whose labels hold some words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from feature_tracker.charts.theme import shorten
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.search import search_meaning, search_words
from feature_tracker.page.documents.cabinet import Cabinet
from feature_tracker.page.errors import plain

_QUERY, _THEMES = "documents_query", "documents_themes"
_OFFERED, _CHOSEN_AT_FIRST = 10, 4
_AS_GOOD = 0.6  # of the best score; what holds the words in its detail only has less
_WIDTH = 44  # characters


class Subject(NamedTuple):
    """What is looked for.

    Attributes:
        name: in words.
        features: that together tell how much of it is in a document.
    """

    name: str
    features: tuple[Feature, ...]


def choose_subject(cabinet: Cabinet) -> Subject | None:
    """Draw the search box and the choice of what it finds; `None` where nothing is looked for."""
    query = st.text_input(
        "Which documents are about …",
        key=_QUERY,
        persist_state="page",
        placeholder="layoffs, loan losses, interest rates, lawsuits …",
        help="Words of labels; where no label holds them, labels that say something near it. Or choose from the themes "
        "below, which stand out in most of these documents.",
    ).strip()
    if query:
        return _choose_found(cabinet, query)
    themes = cabinet.themes
    if not themes:
        return None
    titles = _unlike([shorten(theme.name, _WIDTH) for theme in themes], [theme.features[0] for theme in themes])
    chosen = st.pills(
        "Themes of these documents",
        list(range(len(themes))),
        selection_mode="multi",
        key=f"{_THEMES}_{abs(hash(tuple(titles)))}",
        persist_state="page",
        format_func=lambda number: plain(titles[number]) if number < len(titles) else "",
        help="Features that stand out in most documents; those that go together are one theme, named by the most "
        "reliable label.",
    )
    picked = [themes[number] for number in chosen if number < len(themes)]
    if not picked:
        return None
    return Subject(" + ".join(theme.name for theme in picked), _members(theme.features for theme in picked))


def _choose_found(cabinet: Cabinet, query: str) -> Subject | None:
    frame = cabinet.tracker.labels.frame
    shown = cabinet.shown_features
    frame = frame[np.array([key in shown for key in frame.index], dtype=bool)]
    found = search_words(frame, query)
    near = ""
    if found.empty:
        try:
            found = search_meaning(frame, query).head(_OFFERED)
        except TrackerError:  # the package isn't there
            found = pd.Series(dtype=float)
        near = "No label holds these words; these say something near it. "
    if found.empty:
        st.info("No label holds these words. Use fewer words, or others.")
        return None
    best = _best_first(cabinet, found)[:_OFFERED]
    features = [feature for feature, _ in best]
    likely = sum(score >= _AS_GOOD * best[0][1] for _, score in best)
    titles = _unlike([shorten(cabinet.name(feature), _WIDTH) for feature in features], features)
    chosen = st.pills(
        f"{near}Labels found",
        list(range(len(features))),
        selection_mode="multi",
        default=list(range(1 if near else min(_CHOSEN_AT_FIRST, likely))),
        key=f"documents_found_{abs(hash((query, *features)))}",
        format_func=lambda number: plain(titles[number]) if number < len(titles) else "",
        help="What the documents are searched for. Take away what you don't mean.",
    )
    picked = [features[number] for number in chosen if number < len(features)]
    return Subject(query, tuple(picked)) if picked else None


def _best_first(cabinet: Cabinet, found: pd.Series) -> list[tuple[Feature, float]]:
    """The features found with their scores, the best first; of like ones those that stand out in a document."""
    labels = cabinet.tracker.labels
    standing = {cabinet.archive.features[column] for column in np.unique(cabinet.standing.column)}
    keys = found.index.tolist()
    scores = [(Feature(*key), float(score)) for key, score in zip(keys, found, strict=True)]
    return sorted(scores, key=lambda one: (-one[1], one[0] not in standing, not labels.is_reliable(one[0])))


def _unlike(names: Sequence[str], features: Sequence[Feature]) -> list[str]:
    """Names that differ from each other: Streamlit tells options apart by their text."""
    return [
        f"{name} ({feature})" if names.count(name) > 1 else name for name, feature in zip(names, features, strict=True)
    ]


def _members(groups: Iterable[Sequence[Feature]]) -> tuple[Feature, ...]:
    return tuple(dict.fromkeys(feature for group in groups for feature in group))
