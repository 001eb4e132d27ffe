"""View: what sets two groups of documents, or two periods, apart."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from feature_tracker.archive.groups import GroupComparison, compare_groups
from feature_tracker.archive.selection import FEWEST
from feature_tracker.charts.documents import plot_apart
from feature_tracker.feature import Feature
from feature_tracker.labels.columns import KEYS
from feature_tracker.labels.csv_files import to_csv
from feature_tracker.page import state
from feature_tracker.page.archives import key_of
from feature_tracker.page.clicks import show_feature_chart
from feature_tracker.page.components.download import offer_download
from feature_tracker.page.documents.cabinet import Cabinet
from feature_tracker.page.documents.subject import Subject
from feature_tracker.page.errors import plain
from feature_tracker.tracing.rows import features_of

_FIRST, _SECOND = "apart_first", "apart_second"
_OTHERS = "All others"
_QUARTER = ", quarter "
_MOST_BARS = 20
_MOST_QUARTERS = 12
_LARGE = 20  # documents; of two smaller sets hardly any difference is sure


def show(cabinet: Cabinet, _topic: Subject | None) -> None:
    """Draw the choice of two sets of documents, and the features that set them apart."""
    sets = sets_of(cabinet.documents)
    if not sets:
        st.info(
            "These documents have neither groups nor dates, so there is nothing to compare. `feature-tracker corpus "
            "run --help` tells how to give them some."
        )
        return
    names = list(sets)
    first_at_first, second_at_first = _at_first(sets)
    with st.container(horizontal=True):
        first = st.selectbox(
            "These documents", names, index=names.index(first_at_first), key=_FIRST, persist_state="page"
        )
        others = [_OTHERS, *(name for name in names if name != first)]
        second = st.selectbox(
            "against", others, index=others.index(second_at_first) if second_at_first in others else 0,
            key=_SECOND, persist_state="page",
        )  # fmt: skip
    chosen = sets[first]
    other = ~chosen if second == _OTHERS or second not in sets else sets[second] & ~chosen
    if not other.any():
        st.info(f"Every document is in {plain(first)}.")
        return
    with st.spinner("Comparing the documents …"):
        compared = _compared(key_of(cabinet.archive), chosen.tobytes(), other.tobytes(), _cabinet=cabinet)
    _show_compared(cabinet, compared, first, second)


def _show_compared(cabinet: Cabinet, compared: GroupComparison, first: str, second: str) -> None:
    rows = shown_rows(cabinet, compared)
    against = second.lower() if second == _OTHERS else plain(second)
    n_first = f"{compared.n_first:,} document{'' if compared.n_first == 1 else 's'}"
    sides = f"{plain(first)} ({n_first}) from {against} ({compared.n_second:,})"
    if rows.empty:
        st.markdown(f"**Nothing sets {sides} apart for sure.**")
    else:
        n = len(rows)
        st.markdown(f"**{n:,} feature{'' if n == 1 else 's'}** set{'s' if n == 1 else ''} {sides} apart.")
        selected = state.chosen_feature()
        show_feature_chart(
            plot_apart(
                rows.head(_MOST_BARS), first=first, second=second, selected=Feature(*selected) if selected else None
            ),
            key="apart_bars",
            name="what-sets-them-apart",
            alt=f"Features that are higher in {first} or in {second}",
        )
        more = f" The {_MOST_BARS} surest are shown." if n > _MOST_BARS else ""
        st.caption(
            "Of one document of each side, the bar tells how often that of its side has more of it; half the time is "
            f"no difference.{more} Click a bar to see where its feature fires."
        )
    for note in compared.notes:
        st.caption(plain(note))
    offer_download(
        "Download as CSV",
        partial(to_csv, compared.features),
        file_name="what-sets-them-apart.csv",
        mime="text/csv",
        key="apart_csv",
    )


def shown_rows(cabinet: Cabinet, compared: GroupComparison) -> pd.DataFrame:
    """The features that set the groups apart and pass the page's filters, with their labels."""
    rows = compared.apart
    shown = cabinet.shown_features
    rows = rows[np.array([feature in shown for feature in features_of(rows)], dtype=bool)].reset_index(drop=True)
    known = cabinet.tracker.labels.describe(pd.MultiIndex.from_frame(rows[KEYS])).reset_index(drop=True)
    return rows.join(known[["label", "reliable"]])


def sets_of(documents: pd.DataFrame) -> dict[str, np.ndarray]:
    """(n_documents,) bool of each set that may be compared, by name: groups, years and the last quarters."""
    sets = {
        str(group): (documents["group"] == group).to_numpy() for group in sorted(documents["group"].dropna().unique())
    }
    dates = pd.to_datetime(documents["date"])
    for code, most in (("Q", _MOST_QUARTERS), ("Y", None)):
        periods = dates.dt.to_period(code)
        for period in sorted(periods.dropna().unique(), reverse=True)[:most]:
            name = f"{period.year}{_QUARTER}{period.quarter}" if code == "Q" else str(period.year)
            sets.setdefault(name, (periods == period).to_numpy())
    return {name: chosen for name, chosen in sets.items() if not chosen.all()}


def _at_first(sets: dict[str, np.ndarray]) -> tuple[str, str]:
    """The last quarter against the one before it where both are large, else the first large set against all others."""
    quarters = [name for name in sets if _QUARTER in name]
    if len(quarters) > 1 and all(sets[name].sum() >= _LARGE for name in quarters[:2]):
        return quarters[0], quarters[1]
    return next((name for name, chosen in sets.items() if chosen.sum() >= FEWEST), next(iter(sets))), _OTHERS


@st.cache_resource(max_entries=8, show_spinner=False)
def _compared(key: tuple[str, int, int], first: bytes, second: bytes, _cabinet: Cabinet) -> GroupComparison:
    sides = (np.frombuffer(side, dtype=bool) for side in (first, second))
    return compare_groups(_cabinet.archive, *sides)
