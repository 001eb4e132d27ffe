"""What the page knows of an open archive, computed once for all sessions that see the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.passages import along_documents
from feature_tracker.archive.prominent import Prominent, combined_values, prominent_themes
from feature_tracker.archive.standing_out import Odd, Standing, odd_ones, ordinary_text, stands_out
from feature_tracker.archive.themes import Theme
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import KEYS
from feature_tracker.page.archives import key_of
from feature_tracker.page.state import Settings
from feature_tracker.tracing.distinctive import OrdinaryPassages
from feature_tracker.tracing.rank import passes_filters
from feature_tracker.tracker import Tracker

_CHOSEN = "document"


@dataclass(frozen=True, eq=False)
class Cabinet:
    """An open archive whose features the page's tracker knows.

    Attributes:
        archive: the archive.
        tracker: the opened bundle, whose SAEs the archive was made with.
        settings: the sidebar's, which choose the features that are shown.
        key: changes when the archive, the labels or the shown features do.
        ordinary: how much features fire in ordinary text, by column.
        shown: (n_features,) bool, the features that pass the filters.
        standing: what stands out in each document, against ordinary text or else against the other documents.
        against: `ordinary text` or `the other documents`.
        themes: what stands out in most documents, the commonest first.
        values: (n_documents, n_themes) how much.
    """

    archive: Archive
    tracker: Tracker
    settings: Settings
    key: tuple[object, ...]
    ordinary: OrdinaryPassages
    shown: np.ndarray
    standing: Standing
    against: str
    themes: list[Theme]
    values: np.ndarray

    @property
    def documents(self) -> pd.DataFrame:
        """One row a document; see `archive.schema.DOCUMENTS`."""
        return self.archive.documents

    @property
    def shown_features(self) -> set[Feature]:
        """The features that pass the filters."""
        return {self.archive.features[column] for column in np.flatnonzero(self.shown)}

    def label(self, column: int) -> str:
        """A feature's label, with ` ?` where it is unreliable."""
        return self.name(self.archive.features[column])

    def name(self, feature: Feature) -> str:
        """A feature's label, with ` ?` where it is unreliable."""
        labels = self.tracker.labels
        return labels.name(feature) + ("" if labels.is_reliable(feature) else " ?")

    def odd(self) -> Odd:
        """How unlike the others each document is."""
        return _odd(self.key, self)

    def measured(self, features: Sequence[Feature]) -> np.ndarray:
        """(n_documents,) how much some features together stand out in each document."""
        return _measured(self.key, tuple(features), self)

    def along(self, features: Sequence[Feature]) -> np.ndarray:
        """(n_documents, 20) where in each document they fire."""
        return _along(self.key, tuple(features), self)


def open_cabinet(archive: Archive, tracker: Tracker, settings: Settings) -> Cabinet:
    """Find out what stands out in an archive's documents."""
    index = pd.MultiIndex.from_tuples([tuple(feature) for feature in archive.features], names=KEYS)
    labels = tracker.labels
    described = labels.describe(index)
    shown = passes_filters(
        described, hide_always_on=settings.hide_always_on, min_f1=settings.min_f1, hide_form=settings.hide_form
    ).to_numpy() & np.isin(described.index.get_level_values("layer"), settings.layers)
    key = (*key_of(archive), tracker.fingerprint, hash(tuple(described["label"])), hash(shown.tobytes()))
    ordinary = ordinary_text(archive, labels)
    standing, prominent = _overview(key, _archive=archive, _tracker=tracker, _ordinary=ordinary, _shown=shown)
    against = "ordinary text" if labels.has_passages else "the other documents"
    return Cabinet(archive, tracker, settings, key, ordinary, shown, standing, against, *prominent)


def chosen_document() -> int | None:
    """Number of the document whose card is open."""
    return st.session_state.get(_CHOSEN)


def choose_document(document: int | None) -> None:
    """Open a document's card."""
    st.session_state[_CHOSEN] = document


@st.cache_resource(max_entries=4, show_spinner=False)
def _overview(
    key: tuple[object, ...], _archive: Archive, _tracker: Tracker, _ordinary: OrdinaryPassages, _shown: np.ndarray
) -> tuple[Standing, Prominent]:
    if _tracker.labels.has_passages:
        standing = stands_out(_archive, _ordinary, _shown)
    else:
        standing = odd_ones(_archive, _ordinary, _shown).features
    directions = {layer: sae.decoder.float().cpu().numpy() for layer, sae in _tracker.saes.items()}
    return standing, prominent_themes(_archive, standing, _ordinary, _tracker.labels, directions)


@st.cache_resource(max_entries=4, show_spinner=False)
def _odd(key: tuple[object, ...], _cabinet: Cabinet) -> Odd:
    return odd_ones(_cabinet.archive, _cabinet.ordinary, _cabinet.shown)


@st.cache_resource(max_entries=32, show_spinner=False)
def _measured(key: tuple[object, ...], features: tuple[Feature, ...], _cabinet: Cabinet) -> np.ndarray:
    return combined_values(_cabinet.archive, _cabinet.ordinary, [features])[:, 0]


@st.cache_resource(max_entries=8, show_spinner=False)
def _along(key: tuple[object, ...], features: tuple[Feature, ...], _cabinet: Cabinet) -> np.ndarray:
    return along_documents(_cabinet.archive, features)
